"""Our own decoder on a CPU. Training: products by torch, in fp32 or bf16, with compiled loops
between them. Sampling: compiled loops alone, in fp32.

`backbone.py` is the file to read first.
"""
