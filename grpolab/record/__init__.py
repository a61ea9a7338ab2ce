"""A recorded run: the vocabulary of events, their file format, the run directory, and the state
that readers fold from them. The run file is the only thing that engine and viewers share.

Not here: what the numbers mean (`analysis`), checkpoints (`engine`). Loads no torch.
"""
