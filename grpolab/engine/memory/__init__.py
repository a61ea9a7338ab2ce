"""Who owns how many bytes, by phase: the account that is written into events, what the allocator
says, and what to do when memory runs out.

Not here: the prediction before a model is loaded (`estimate`).
"""
