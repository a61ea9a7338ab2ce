"""How fast the lab is, beside TRL and transformers in the same run.

Commands, not tests: `python -m tests.benchmarks.cpu`, `.gpu` and `.long`. No time is ever asserted;
what pytest collects here are tests of the benchmarks' own arithmetic.
"""
