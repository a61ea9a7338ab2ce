"""The timeline of a run: bookmarks, checkpoints and changes.

`model` lists the entries and what a rewind would discard, `view` draws them.
Not here: rewinding and forking, which the lab asks of the engine (`tui.lab`).
"""
