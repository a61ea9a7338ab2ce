"""The lab's main screen: header, footer and the six panes, with its actions, time travel and
dialogs.
"""
