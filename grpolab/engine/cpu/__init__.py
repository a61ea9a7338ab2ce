"""The own decoder on a CPU: learning in fp32 with torch, sampling in products and compiled loops.

`backbone.py` is the file to read first.
"""
