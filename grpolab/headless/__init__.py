"""Every command that works without a screen: run, replay, rerun, compare, grade, lists and
reports.

Not here: the command line itself (`cli`, `commands`), anything that computes (`engine`).
"""
