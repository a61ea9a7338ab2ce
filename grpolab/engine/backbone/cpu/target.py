"""The CPU that loops are compiled for: what LLVM is told about it, how wide it computes, and how a
compiled loop is called. Imported by the loops themselves, so a change here compiles them anew.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from llvmlite import binding

Kind = tuple[str, int] | str
"""Of an argument: an array's element type and number of axes, or a number's letter for `struct`."""


def layout(kinds: tuple[Kind, ...]) -> str:
    """The `struct` format of an argument block: every number in eight bytes, an array as its
    address and shape."""
    return "=" + "".join("d" if kind in ("d", "f") else "q" if isinstance(kind, str)
                         else "q" * (1 + kind[1]) for kind in kinds)  # fmt: skip


def symbol(package: str, name: str, kinds: tuple[Kind, ...]) -> str:
    """The name of the machine code for arguments of these kinds."""
    about = hashlib.sha256(repr((package, name, kinds)).encode()).hexdigest()[:16]
    return f"grpolab_{name.replace('.', '_')}_{about}"


@cache
def cpu() -> tuple[str, str]:
    """LLVM's name of this CPU and its features; empty where LLVM does not know the system."""
    try:
        return binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    except RuntimeError:
        return "", ""


def machine() -> Any:
    """LLVM's target machine for this very CPU."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    name, features = cpu()
    reloc = "static" if target.name.startswith("x86") else "default"  # what the linker can place
    return target.create_target_machine(
        cpu=name, features=features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


def _registers() -> tuple[int, int]:
    """fp32 numbers in a vector register of this CPU, and the number of these registers."""
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
"""Outputs of a panel of weights: loops and the layout of weights are cut to it."""

ROWS = REGISTERS // 4
"""Rows of a tile: as many as the registers hold beside a panel's weights."""
