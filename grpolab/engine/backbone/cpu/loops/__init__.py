"""The loops that are compiled for a CPU: plain loops over arrays and pointers, in the subset of
Python that numba compiles. Imported only when something has to be compiled (see `cpu.loop`): the
machine code is cached, and running it takes neither numba nor this package.
"""
