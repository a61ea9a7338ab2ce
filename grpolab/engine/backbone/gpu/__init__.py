"""Our own decoder in half precision and 4 bit: a frozen backbone with its adapters apart, for CUDA,
and in plain torch operations for any device.

`backbone.py` is the file to read first.
"""
