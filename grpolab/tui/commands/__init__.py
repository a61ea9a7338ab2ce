"""The commands behind `:`, by name.

`model` is what they are called, which match what was typed, and what each does. `screen` is the
dialog in which they are typed.
"""
