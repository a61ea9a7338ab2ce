"""What is compiled for a CPU: plain loops over arrays and pointers, in the subset of Python that
numba compiles. Imported only where something has to be compiled anew (see `loop`): the machine
code is kept, and running it takes neither numba nor this package.
"""
