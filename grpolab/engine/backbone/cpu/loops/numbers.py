"""What loops are built from: compiler options, pointers, bf16 stored as 16-bit integers, and an
exponential that vectorises.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core.errors import TypingError

F = np.float32

intrinsic: Any = extending.intrinsic  # what it makes has one parameter less than it seems

RULES = {"nsz", "contract", "reassoc", "arcp", "nnan", "ninf"}
"""What LLVM may assume of floats: sums in any order, so that loops use whole vectors; no infinities
or NaNs."""

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": RULES,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""Loops allocate nothing and raise nothing, so their machine code needs nothing from numba."""

loop = njit(**OPTIONS)

inlined = njit(**OPTIONS, forceinline=True)


@intrinsic
def _float(typing, bits):
    def make(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), make


@intrinsic
def _floor(typing, x):
    """Floor as a float: numba's goes through 64-bit integers, which do not vectorise."""

    def make(context, builder, signature, args):
        floor = builder.module.declare_intrinsic("llvm.floor", [ir.FloatType()])
        return builder.call(floor, args)

    return types.float32(types.float32), make


@intrinsic
def place(typing, x, count):
    """A pointer to the element at index `count` of an array; the array must outlive it, as an
    argument does."""
    if x.layout != "C" or x.dtype not in (types.float32, types.uint16):
        raise TypingError(f"places are counted in plain arrays of fp32 or bf16, not in {x}")

    def make(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return types.CPointer(x.dtype)(x, types.int64), make


@intrinsic
def located(typing, address):
    """A pointer to fp32 numbers at an address."""
    result = types.CPointer(types.float32)

    def make(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return result(types.int64), make


@intrinsic
def moved(typing, pointer, count):
    """A pointer advanced by `count` elements."""
    return pointer(pointer, types.int64), lambda c, b, signature, args: b.gep(args[0], [args[1]])


@intrinsic
def get(typing, pointer, count):
    """The element at an offset, fp32 or bf16's bits, as fp32."""

    def make(context, builder, signature, args):
        return _wide(builder, builder.load(builder.gep(args[0], [args[1]])))

    return types.float32(pointer, types.int64), make


@intrinsic
def put(typing, pointer, count, number):
    """Store an fp32 number at an offset, as fp32 or bf16's bits."""

    def make(context, builder, signature, args):
        bits = signature.args[0].dtype == types.uint16
        number = _narrow(builder, args[2]) if bits else args[2]
        builder.store(number, builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.float32), make


@intrinsic
def widen(typing, x):
    """A number as a linear gave it, fp32 or bf16's bits, as fp32."""
    return types.float32(x), lambda context, builder, signature, args: _wide(builder, args[0])


@intrinsic
def narrow(typing, x, like):
    """An fp32 number as the next linear takes it: of `like`'s type. bf16 is rounded to even."""
    if like != types.uint16:
        return types.float32(types.float32, like), lambda c, b, signature, args: args[0]
    return types.uint16(types.float32, like), lambda c, b, signature, args: _narrow(b, args[0])


def _wide(builder: Any, x: Any) -> Any:
    if x.type == ir.FloatType():
        return x
    whole = builder.zext(x, ir.IntType(32))
    return builder.bitcast(builder.shl(whole, ir.Constant(ir.IntType(32), 16)), ir.FloatType())


def _narrow(builder: Any, x: Any) -> Any:
    word = ir.IntType(32)
    bits = builder.bitcast(x, word)
    odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
    up = builder.add(builder.add(bits, ir.Constant(word, 0x7FFF)), odd)
    return builder.trunc(builder.lshr(up, ir.Constant(word, 16)), ir.IntType(16))


LOG2_E = F(1.4426950408889634)
TAYLOR = tuple(F(math.log(2) ** k / math.factorial(k)) for k in range(8))
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7 = TAYLOR


@inlined
def exp(x):
    """eˣ for fp32 x, to some 1e-6 of it; less and more than 2^∓126 are these."""
    y = min(max(x * LOG2_E, F(-126)), F(126))
    whole = _floor(y + F(0.5))
    f = y - whole
    p = _C6 + f * _C7
    p = _C4 + f * (_C5 + f * p)
    p = _C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * p)))
    return p * _float((np.int32(whole) + np.int32(127)) << np.int32(23))
