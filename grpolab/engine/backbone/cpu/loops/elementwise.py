"""Elementwise operations of training between products and attention. M tokens, H hidden size, I
inner width of the MLP.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

from grpolab.engine.backbone.cpu.loops.numbers import F, exp, loop, narrow, widen


@loop
def add_norm(x, change, eps, stream, normed, scale):
    hidden = x.shape[1]
    for i in range(len(x)):
        total = F(0)
        for j in range(hidden):
            whole = x[i, j] + widen(change[i, j])
            stream[i, j] = whole
            total += whole * whole
        by = F(1) / F(math.sqrt(total / F(hidden) + eps))
        scale[i] = by
        for j in range(hidden):
            normed[i, j] = narrow(stream[i, j] * by, normed[i, j])


@loop
def add_norm_back(dstream, dnormed, stream, scale, dx, dchange):
    hidden = stream.shape[1]
    for i in range(len(stream)):
        by, along = scale[i], F(0)
        for j in range(hidden):
            along += widen(dnormed[i, j]) * stream[i, j]
        along *= by * by * by / F(hidden)
        for j in range(hidden):
            whole = dstream[i, j] + widen(dnormed[i, j]) * by - stream[i, j] * along
            dx[i, j] = whole
            dchange[i, j] = narrow(whole, dchange[i, j])


@loop
def gate(both, out):
    inner = out.shape[1]
    for i in range(len(out)):
        for j in range(inner):
            g = widen(both[i, j])
            out[i, j] = narrow(g * widen(both[i, inner + j]) / (F(1) + exp(-g)), out[i, j])


@loop
def gate_back(dout, both, slope):
    inner = dout.shape[1]
    for i in range(len(dout)):
        for j in range(inner):
            g, up, d = widen(both[i, j]), widen(both[i, inner + j]), widen(dout[i, j])
            open_ = F(1) / (F(1) + exp(-g))
            slope[i, j] = narrow(d * up * open_ * (F(1) + g * (F(1) - open_)), slope[i, j])
            slope[i, inner + j] = narrow(d * g * open_, slope[i, inner + j])
