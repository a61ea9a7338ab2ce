"""The own decoder in half precision and in 4 bit: a frozen backbone whose adapters stay apart
from it, for CUDA, and in plain torch operations for any device.

`backbone.py` is the file to read first.
"""
