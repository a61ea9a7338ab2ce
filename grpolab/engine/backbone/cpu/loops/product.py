"""Products of few rows with panels of weights, laid out as in `cpu.linear`."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from grpolab.engine.backbone.cpu.loops.numbers import loop, moved, place
from grpolab.engine.backbone.cpu.loops.vectors import tile
from grpolab.engine.backbone.cpu.target import ROWS, VECTORS, WIDTH

DEPTH = 256
"""Inputs of a panel that stay in the nearest cache while all rows are multiplied with them."""

_all, _half, _one = tile(ROWS, VECTORS), tile(ROWS // 2, VECTORS), tile(1, VECTORS)


@loop
def lay(weight, panels):
    """weight [out, in] -> panels [P, in, WIDTH]."""
    outputs, inputs = weight.shape
    for p in range(panels.shape[0]):
        column = min(p * WIDTH, outputs - WIDTH)
        for i in range(inputs):
            for o in range(WIDTH):
                panels[p, i, o] = weight[column + o, i]


@loop
def multiply(x, panels, bias, out):
    """out = x · weightᵀ + bias. x [n, in], panels [P, in, WIDTH], bias [1, out], out [n, out] with
    out at least WIDTH."""
    start, to = place(bias, 0), place(out, 0)
    times(place(x, 0), len(x), x.shape[1], place(panels, 0), len(panels), start, to, out.shape[1])


@loop
def times(x, rows, inputs, panels, count, bias, out, outputs):
    """`multiply` on pointers, with `count` panels."""
    for p in range(count):
        column = min(p * WIDTH, outputs - WIDTH)
        for done in range(0, inputs, DEPTH):
            panel, depth = moved(panels, (p * inputs + done) * WIDTH), min(DEPTH, inputs - done)
            a, to = moved(x, done), moved(out, column)
            start, more = (moved(bias, column), 0) if done == 0 else (to, outputs)
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
