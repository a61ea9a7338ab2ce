"""Products of few rows with weights that are laid out once: what a sampler multiplies by.

A library lays a weight out anew in every product, which takes longer than the product itself where
there are few rows. Here its outputs lie in panels as wide as a handful of vectors, one behind the
other; a tile of some rows by one panel is summed in registers while the panel streams by. (Goto and
van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008, section 4.) Each sum runs
over the inputs in their order: a row comes out the same whatever other rows stand beside it.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from typing import Any

import torch
from llvmlite import binding, ir
from numba import types
from numba.core.errors import TypingError
from torch import Tensor

from grpolab.engine.cpu.numbers import compiled, intrinsic


def _registers() -> tuple[int, int]:
    """Numbers in a vector of this CPU, and rows of a tile: as many as its vector registers hold
    beside a panel's weights, 16 of them, or 32 (AVX-512, and what is no x86)."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 8
    if features.get("avx"):
        return 8, 4
    return 4, 4 if binding.get_process_triple().startswith(("x86", "i686")) else 8


LANES, ROWS = _registers()
VECTORS = 3
WIDTH = LANES * VECTORS
"""Outputs of a panel."""

DEPTH = 256
"""Inputs of a panel that stay in the nearest cache while all rows pass by."""

UNROLLED = 4
"""Inputs without a jump between them."""

_FLOAT, _INDEX, _INT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FUSED = ("contract", "nsz")  # a product and a sum may be one instruction


def pack(weight: Tensor) -> Tensor:
    """[out, in] -> panels [P, in, WIDTH], fp32. The last one ends with the last output, over what
    the one before it holds; of fewer outputs than a panel has, the rest is zero."""
    outputs, inputs = weight.shape
    if outputs < WIDTH:
        weight = torch.nn.functional.pad(weight, (0, 0, 0, WIDTH - outputs))
    panels = torch.empty(-(-outputs // WIDTH), inputs, WIDTH)
    _lay(weight.float().contiguous().numpy(), panels.numpy())
    return panels


@compiled
def _lay(weight, panels):
    outputs, inputs = weight.shape
    for p in range(panels.shape[0]):
        column = min(p * WIDTH, outputs - WIDTH)
        for i in range(inputs):
            for o in range(WIDTH):
                panels[p, i, o] = weight[column + o, i]


def _tile(rows: int) -> Any:
    """The compiled product of so many rows by one panel."""

    @intrinsic
    def tile(typing, x, x_at, x_row, panels, panel_at, depth, start, start_at, start_row, out,
             out_at, out_row):  # fmt: skip
        """out[r] = start[r] + x[r] · panel, for `rows` rows r and `depth` inputs. Every place is a
        number of elements from its array's begin, every `_row` those from one row to the next."""
        for array in (x, panels, start, out):
            if array.layout != "C" or array.dtype != types.float32:
                raise TypingError(f"a product reads plain fp32 arrays, not {array}")
        number = types.int64
        signature = types.void(
            x, number, number, panels, number, number, start, number, number, out, number, number
        )
        return signature, emit

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        def begin(i: int) -> Any:
            return context.make_array(signature.args[i])(context, b, args[i]).data

        def row_of(array: int, r: int) -> Any:
            at = b.add(args[array + 1], b.mul(args[array + 2], ir.Constant(_INDEX, r)))
            return b.gep(begin(array), [at])

        def vector_at(pointer: Any, place: int) -> Any:
            moved = b.gep(pointer, [ir.Constant(_INDEX, place)])
            return b.bitcast(moved, _VECTOR.as_pointer())

        first = [b.load(vector_at(row_of(6, r), LANES * v), align=4)
                 for r in range(rows) for v in range(VECTORS)]  # fmt: skip
        places = [*(row_of(0, r) for r in range(rows)), b.gep(begin(3), [args[4]])]
        depth = args[5]
        whole = b.and_(depth, ir.Constant(_INDEX, -UNROLLED))
        places, sums = _sum(b, rows, whole, UNROLLED, places, first)
        _, sums = _sum(b, rows, b.sub(depth, whole), 1, places, sums)
        for r in range(rows):
            to = row_of(9, r)
            for v in range(VECTORS):
                b.store(sums[r * VECTORS + v], vector_at(to, LANES * v), align=4)
        return context.get_dummy_value()

    return tile


def _sum(
    b: Any, rows: int, count: Any, unrolled: int, places: list[Any], sums: list[Any]
) -> tuple[list[Any], list[Any]]:
    """The loop over `count` inputs, a multiple of `unrolled`. `places` are pointers to each row's
    and the panel's next; they and the sums [rows · VECTORS] are returned as they are behind it."""
    before = b.block
    test, body, after = (b.append_basic_block() for _ in range(3))
    b.branch(test)
    b.position_at_end(test)
    left = b.phi(_INDEX)
    now, so_far = [b.phi(p.type) for p in places], [b.phi(s.type) for s in sums]
    b.cbranch(b.icmp_signed(">", left, ir.Constant(_INDEX, 0)), body, after)

    b.position_at_end(body)
    found = list(so_far)
    for u in range(unrolled):
        panel = [b.gep(now[-1], [ir.Constant(_INDEX, u * WIDTH + LANES * v)])
                 for v in range(VECTORS)]  # fmt: skip
        weights = [b.load(b.bitcast(p, _VECTOR.as_pointer()), align=4) for p in panel]
        for r in range(rows):
            one = b.load(b.gep(now[r], [ir.Constant(_INDEX, u)]), align=4)
            everywhere = _spread(b, one)
            for v in range(VECTORS):
                by = b.fmul(everywhere, weights[v], flags=_FUSED)
                found[r * VECTORS + v] = b.fadd(found[r * VECTORS + v], by, flags=_FUSED)
    steps = [unrolled] * rows + [unrolled * WIDTH]
    moved = [b.gep(p, [ir.Constant(_INDEX, n)]) for p, n in zip(now, steps, strict=True)]
    fewer = b.sub(left, ir.Constant(_INDEX, unrolled))
    b.branch(test)

    carried = zip([left, *now, *so_far], [count, *places, *sums], [fewer, *moved, *found],
                  strict=True)  # fmt: skip
    for value, at_first, next_time in carried:
        value.add_incoming(at_first, before)
        value.add_incoming(next_time, body)
    b.position_at_end(after)
    return now, so_far


def _spread(b: Any, number: Any) -> Any:
    """A vector of nothing but this number."""
    none = ir.Constant(_VECTOR, ir.Undefined)
    one = b.insert_element(none, number, ir.Constant(_INT, 0))
    return b.shuffle_vector(one, none, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


_all, _half, _one = _tile(ROWS), _tile(ROWS // 2), _tile(1)


@compiled
def multiply(x, panels, bias, out):
    """out = x · weightᵀ + bias. x [n, in], panels as `pack` makes them, bias [1, out], out [n, out]
    with out at least WIDTH."""
    rows, inputs = x.shape
    outputs = out.shape[1]
    for p in range(panels.shape[0]):
        column = min(p * WIDTH, outputs - WIDTH)
        for done in range(0, inputs, DEPTH):
            panel, depth = (p * inputs + done) * WIDTH, min(DEPTH, inputs - done)
            start, start_row = (bias, 0) if done == 0 else (out, outputs)
            r = 0
            while r + ROWS <= rows:
                _all(x, r * inputs + done, inputs, panels, panel, depth,
                     start, r * start_row + column, start_row,
                     out, r * outputs + column, outputs)  # fmt: skip
                r += ROWS
            if r + ROWS // 2 <= rows:
                _half(x, r * inputs + done, inputs, panels, panel, depth,
                      start, r * start_row + column, start_row,
                      out, r * outputs + column, outputs)  # fmt: skip
                r += ROWS // 2
            while r < rows:
                _one(x, r * inputs + done, inputs, panels, panel, depth,
                     start, r * start_row + column, start_row,
                     out, r * outputs + column, outputs)  # fmt: skip
                r += 1
