"""A terminal lab in which a language model learns in front of you, and you change its learning
algorithm meanwhile.
"""

__version__ = "0.1.0"
