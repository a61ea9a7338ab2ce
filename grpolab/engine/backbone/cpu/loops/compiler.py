"""Machine code of a loop for arguments of given kinds, by numba and LLVM.

A loop's entry point takes one block of eight-byte words, packed as `target.layout` says, unpacks
arrays and numbers from it, and calls the loop.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

from grpolab.engine.backbone.cpu.loops.numbers import OPTIONS, intrinsic
from grpolab.engine.backbone.cpu.target import Kind, machine, symbol

BLOCK = types.CPointer(types.int64)

EVERYWHERE = {"memcpy", "memmove", "memset", "log", "logf", "floor", "floorf"}
"""Symbols that every Python process provides."""

_WORD = ir.IntType(64)


def machine_code(package: str, name: str, kinds: tuple[Kind, ...]) -> bytes:
    """An object file that exports one function, named by `target.symbol`. Raises numba's errors for
    what cannot be compiled, RuntimeError for what would not run without numba."""
    module, _, function = name.rpartition(".")
    whole = ".".join(part for part in (package, module) if part)
    loop = getattr(import_module(whole), function).py_func
    known: dict[str, Any] = {"loop": njit(**OPTIONS, inline="always")(loop)}
    place = 0
    for i, kind in enumerate(kinds):
        known[f"take_{i}"] = _number(place, kind) if isinstance(kind, str) else _array(place, *kind)
        place += 1 if isinstance(kind, str) else 1 + kind[1]
    taken = ", ".join(f"take_{i}(block)" for i in range(len(kinds)))
    exec(f"def entry(block):\n    loop({taken})\n", known)
    entry = njit(**OPTIONS)(known["entry"])
    entry.compile((BLOCK,))
    code = binding.parse_assembly(entry.inspect_llvm((BLOCK,)))
    _close(code, symbol(package, name, kinds))
    return machine().emit_object(code)


def _close(code: Any, name: str) -> None:
    """Export one function only, under this name. Raises RuntimeError where something else would be
    needed at run time."""
    outer = [f for f in code.functions if not f.is_declaration]
    (entry,) = [f for f in outer if f.linkage == binding.Linkage.external]
    for own in [*outer, *code.global_variables]:
        if own is not entry and not own.is_declaration:
            own.linkage = binding.Linkage.internal
    entry.name = name
    wanted = [x.name for x in (*code.functions, *code.global_variables) if x.is_declaration]
    if missing := [w for w in wanted if not w.startswith("llvm.") and w not in EVERYWHERE]:
        raise RuntimeError(f"{name} needs {', '.join(missing)}, which only numba may have")


def _number(place: int, letter: str) -> Any:
    result = {"q": types.int64, "d": types.float64, "f": types.float32}[letter]

    @intrinsic
    def taken(typing, block):
        return result(BLOCK), emit

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        word = _word(b, args[0], place)
        if letter == "q":
            return word
        real = b.bitcast(word, ir.DoubleType())
        return real if letter == "d" else b.fptrunc(real, ir.FloatType())

    return taken


def _array(place: int, typestr: str, axes: int) -> Any:
    element = from_dtype(np.dtype(typestr))
    result = types.Array(element, axes, "C")

    @intrinsic
    def taken(typing, block):
        return result(BLOCK), emit

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        made, data = make_array(result)(context, b), context.get_data_type(element)
        shape = [_word(b, args[0], place + 1 + axis) for axis in range(axes)]
        size = ir.Constant(_WORD, context.get_abi_sizeof(data))
        strides = [size]
        for length in shape[:0:-1]:
            strides.insert(0, b.mul(strides[0], length))
        populate_array(
            made, data=b.inttoptr(_word(b, args[0], place), data.as_pointer()), shape=shape,
            strides=strides, itemsize=size, meminfo=None,
        )  # fmt: skip
        return made._getvalue()

    return taken


def _word(b: Any, block: Any, place: int) -> Any:
    return b.load(b.gep(block, [ir.Constant(_WORD, place)]))
