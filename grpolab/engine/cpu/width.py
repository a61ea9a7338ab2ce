"""How wide this CPU computes: what its loops, and the panels that weights lie in, are cut to."""

from __future__ import annotations

from llvmlite import binding


def _registers() -> tuple[int, int]:
    """fp32 numbers in a vector of this CPU, and how many vectors it holds."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this system
        return 4, 16
    if features.get("avx512f"):
        return 16, 32
    if features.get("avx"):
        return 8, 16
    return 4, 16 if binding.get_process_triple().startswith(("x86", "i686")) else 32


LANES, REGISTERS = _registers()

VECTORS = 3
WIDTH = LANES * VECTORS
"""Outputs of a panel of weights."""

ROWS = REGISTERS // 4
"""Rows of a tile: as many as the registers hold beside a panel's weights."""
