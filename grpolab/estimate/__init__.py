"""Whether a model fits before it is loaded: its shape from config.json, the memory each owner
will take in each phase, and what this machine has.

Not here: memory as it is measured while a run computes (`engine.memory`). Loads no torch.
"""
