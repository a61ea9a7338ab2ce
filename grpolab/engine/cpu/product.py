"""Products of few rows with weights that are laid out once: what a sampler multiplies by.

A library lays a weight out anew in every product, which takes longer than the product itself where
there are few rows. Here its outputs lie in panels as wide as a handful of vectors, one behind the
other; a tile of some rows by one panel is summed in registers while the panel streams by. (Goto and
van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008, section 4.) Each sum runs
over the inputs in their order: a row comes out the same whatever other rows stand beside it.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.cpu.numbers import compiled, moved, place
from grpolab.engine.cpu.vectors import LANES, REGISTERS, tile

VECTORS = 3
WIDTH = LANES * VECTORS
"""Outputs of a panel."""

ROWS = REGISTERS // 4
"""Rows of a tile: as many as the registers hold beside a panel's weights."""

DEPTH = 256
"""Inputs of a panel that stay in the nearest cache while all rows pass by."""


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


_all, _half, _one = tile(ROWS, VECTORS), tile(ROWS // 2, VECTORS), tile(1, VECTORS)


@compiled
def multiply(x, panels, bias, out):
    """out = x · weightᵀ + bias. x [n, in], panels as `pack` makes them, bias [1, out], out [n, out]
    with out at least WIDTH."""
    rows, inputs = x.shape
    outputs = out.shape[1]
    for p in range(panels.shape[0]):
        column = min(p * WIDTH, outputs - WIDTH)
        for done in range(0, inputs, DEPTH):
            panel, depth = place(panels, (p * inputs + done) * WIDTH), min(DEPTH, inputs - done)
            a, to = place(x, done), place(out, column)
            start, more = (place(bias, column), 0) if done == 0 else (to, outputs)
            r = 0
            while r + ROWS <= rows:
                _all(a, inputs, panel, WIDTH, depth, start, more, to, outputs)
                r += ROWS
                a, to = moved(a, ROWS * inputs), moved(to, ROWS * outputs)
                start = moved(start, ROWS * more)
            if r + ROWS // 2 <= rows:
                _half(a, inputs, panel, WIDTH, depth, start, more, to, outputs)
                r += ROWS // 2
                a, to = moved(a, ROWS // 2 * inputs), moved(to, ROWS // 2 * outputs)
                start = moved(start, ROWS // 2 * more)
            while r < rows:
                _one(a, inputs, panel, WIDTH, depth, start, more, to, outputs)
                r += 1
                a, to, start = moved(a, inputs), moved(to, outputs), moved(start, more)
