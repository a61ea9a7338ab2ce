"""How many bytes each owner has in each phase: the account that is written into events, the
allocator's own figures, and what to do when memory runs out.

Not here: the prediction before a model is loaded (`estimate`).
"""
