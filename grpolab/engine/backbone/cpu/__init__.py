"""The own decoder on a CPU. Learning: products by torch, in fp32 or bf16, and compiled loops
around them. Sampling: compiled loops alone, in fp32.

`backbone.py` is the file to read first.
"""
