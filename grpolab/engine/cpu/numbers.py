"""Numbers as compiled loops see them: bf16 kept as 16-bit integers, and an exponential that
vectorises."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import extending, njit, types
from numpy.typing import NDArray
from torch import Tensor

F = np.float32

Array = NDArray[Any]

intrinsic: Any = extending.intrinsic  # what it makes has one parameter less than it seems

RULES = {"nsz", "contract", "reassoc", "arcp", "nnan", "ninf"}
"""What LLVM may assume of floats: sums in any order, so that loops fill whole vectors; logits are
finite."""

compiled = njit(nogil=True, error_model="numpy", fastmath=RULES, cache=True)
"""A loop without the interpreter's lock; its machine code is kept beside the source, or in the
user's cache where that cannot be written."""

inlined = njit(nogil=True, error_model="numpy", fastmath=RULES, forceinline=True)


def array(x: Tensor) -> Array:
    """The same memory for the loops: bf16 as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


@intrinsic
def _bits(typing, x):
    def make(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), make


@intrinsic
def _float(typing, bits):
    def make(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), make


@intrinsic
def widen(typing, x):
    """A number as a linear gave it, fp32 or bf16's bits, as fp32."""
    if x == types.uint16:

        def make(context, builder, signature, args):
            whole = builder.zext(args[0], ir.IntType(32))
            return builder.bitcast(builder.shl(whole, ir.Constant(ir.IntType(32), 16)),
                                   ir.FloatType())  # fmt: skip

        return types.float32(x), make
    return types.float32(types.float32), lambda context, builder, signature, args: args[0]


@intrinsic
def narrow(typing, x, like):
    """An fp32 number as the next linear takes it: of `like`'s type. bf16 is rounded to even."""
    if like != types.uint16:
        return types.float32(types.float32, like), lambda c, b, signature, args: args[0]

    def make(context, builder, signature, args):
        word = ir.IntType(32)
        bits = builder.bitcast(args[0], word)
        odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
        up = builder.add(builder.add(bits, ir.Constant(word, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(up, ir.Constant(word, 16)), ir.IntType(16))

    return types.uint16(types.float32, like), make


_LOG2_E = F(1.4426950408889634)
_TAYLOR = tuple(F(math.log(2) ** k / math.factorial(k)) for k in range(8))
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7 = _TAYLOR


@inlined
def exp(x):
    """eˣ for fp32 x, to some 1e-6 of it; less and more than 2^∓126 are these."""
    y = min(max(x * _LOG2_E, F(-126)), F(126))
    whole = F(math.floor(y + F(0.5)))
    f = y - whole
    p = _C6 + f * _C7
    p = _C4 + f * (_C5 + f * p)
    p = _C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * p)))
    return p * _float((np.int32(whole) + np.int32(127)) << np.int32(23))
