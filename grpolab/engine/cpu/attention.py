"""Attention of learning on a CPU: every token looks at exactly what came before it, without padding
or masks, in compiled loops with a backward of their own."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.cpu.dots import clear, mix, put, scores, weigh
from grpolab.engine.cpu.numbers import F, array, compiled, exp, inlined, narrow, widen
from grpolab.engine.cpu.once import once
from grpolab.engine.cpu.plan import Plan


class Turning:
    """Rotary tables at the flat tokens of a plan, and how heads lie in [M, (heads + 2 kv) · D]."""

    def __init__(self, plan: Plan, heads: int, kv: int, cos: Tensor, sin: Tensor) -> None:
        """cos, sin [positions, D / 2]."""
        self.looks, self.heads, self.kv = plan.looks, heads, kv
        self.cos, self.sin = (x[plan.position].numpy() for x in (cos, sin))
        self.scale = F((2 * cos.shape[1]) ** -0.5)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, turning: Turning) -> Tensor:  # pyright: ignore
        t, looks = turning, turning.looks
        size = 2 * t.cos.shape[1]
        turned = qkv.new_empty(len(qkv), t.heads + t.kv, size, dtype=torch.float32)
        lse = qkv.new_empty(len(qkv), t.heads, dtype=torch.float32)
        out = qkv.new_empty(len(qkv), t.heads * size)
        _look(
            array(qkv), t.scale, t.cos, t.sin, looks.keys, looks.start, looks.first, looks.count,
            turned.numpy(), lse.numpy(), array(out),
        )  # fmt: skip
        ctx.save_for_backward(qkv, turned, lse)
        ctx.turning = turning
        return out

    @staticmethod
    @once
    def backward(ctx, dout: Tensor):  # pyright: ignore
        qkv, turned, lse = ctx.saved_tensors
        t, looks = ctx.turning, ctx.turning.looks
        slope = torch.empty_like(qkv)
        _look_back(
            array(dout.contiguous()), array(qkv), t.scale, t.cos, t.sin, looks.keys,
            looks.start, looks.first, looks.count, turned.numpy(), lse.numpy(), array(slope),
        )  # fmt: skip
        return slope, None


def attention(qkv: Tensor, turning: Turning) -> Tensor:
    """Queries and keys turned by their positions, and what each token finds at those it sees.

    qkv [M, (heads + 2 kv) · D], fp32 or bf16 -> [M, heads · D] alike. Once differentiable.
    """
    return _Attention.apply(qkv, turning)  # pyright: ignore[reportReturnType]


@compiled
def _look(qkv, scale, cos, sin, keys, start, first, count, turned, lse, out):
    tokens, heads, size = len(qkv), lse.shape[1], turned.shape[2]
    kv = turned.shape[1] - heads
    share, most = heads // kv, _longest(start)
    key, value = np.empty((most, size), F), np.empty((most, size), F)
    score, mean = np.empty(most, F), np.empty(size, F)
    for i in range(tokens):
        for h in range(heads + kv):
            _turn(qkv[i], h * size, cos[i], sin[i], scale if h < heads else F(1), turned[i, h])
    for s in range(len(count)):
        length, n = start[s + 1] - start[s], count[s]
        for g in range(kv):
            _collect(qkv, turned, keys, start[s], length, heads, kv, g, key, value)
            for i in range(n):
                at, seen = first[s] + i, length - n + i + 1
                for h in range(g * share, (g + 1) * share):
                    scores(turned[at, h], key, seen, score, 0)
                    top, total = weigh(score, seen)
                    lse[at, h] = top + F(math.log(total))
                    clear(mean, size)
                    mix(score, 0, value, seen, mean)
                    put(mean, F(1) / total, out[at], h * size)


@compiled
def _look_back(dout, qkv, scale, cos, sin, keys, start, first, count, turned, lse, slope):
    tokens, heads, size = len(qkv), lse.shape[1], turned.shape[2]
    kv = turned.shape[1] - heads
    share, most = heads // kv, _longest(start)
    key, value = np.empty((most, size), F), np.empty((most, size), F)
    dkey, dvalue = np.empty((most, size), F), np.empty((most, size), F)
    weight, push = np.empty(most, F), np.empty(most, F)
    query, found = np.empty(size, F), np.empty(size, F)
    every = np.zeros((tokens, 2 * kv, size), F)
    for s in range(len(count)):
        length, n = start[s + 1] - start[s], count[s]
        for g in range(kv):
            _collect(qkv, turned, keys, start[s], length, heads, kv, g, key, value)
            for c in range(length):
                clear(dkey[c], size)
                clear(dvalue[c], size)
            for i in range(n):
                at, seen = first[s] + i, length - n + i + 1
                for h in range(g * share, (g + 1) * share):
                    for d in range(size):
                        found[d] = widen(dout[at, h * size + d])
                    scores(turned[at, h], key, seen, weight, 0)
                    scores(found, value, seen, push, 0)
                    total, top = F(0), lse[at, h]
                    for c in range(seen):
                        p = exp(weight[c] - top)
                        weight[c] = p
                        total += p * push[c]
                    _spread(weight, push, total, turned[at, h], found, seen, dkey, dvalue)
                    clear(query, size)
                    mix(push, 0, key, seen, query)
                    _turn_back(query, cos[at], sin[at], scale, slope[at], h * size)
            for c in range(length):
                into = every[keys[start[s] + c]]
                for d in range(size):
                    into[g, d] += dkey[c, d]
                    into[kv + g, d] += dvalue[c, d]
    for i in range(tokens):
        for g in range(kv):
            _turn_back(every[i, g], cos[i], sin[i], F(1), slope[i], (heads + g) * size)
            put(every[i, kv + g], F(1), slope[i], (heads + kv + g) * size)


@inlined
def _longest(start):
    """Keys of the longest stretch."""
    most = 1
    for s in range(len(start) - 1):
        most = max(most, start[s + 1] - start[s])
    return most


@inlined
def _collect(qkv, turned, keys, start, length, heads, kv, g, key, value):
    """A stretch's keys and values of one head, side by side."""
    size = key.shape[1]
    base = (heads + kv + g) * size
    for c in range(length):
        at = keys[start + c]
        for d in range(size):
            key[c, d] = turned[at, heads + g, d]
            value[c, d] = widen(qkv[at, base + d])


@inlined
def _spread(weight, push, total, query, found, count, dkey, dvalue):
    """The slopes of the scores in place of those of the weights, and what they and the weights do
    to keys and values."""
    for c in range(count):
        w = weight[c]
        slope = w * (push[c] - total)
        push[c] = slope
        for d in range(query.shape[0]):
            dkey[c, d] += slope * query[d]
            dvalue[c, d] += w * found[d]


@inlined
def _turn(row, base, cos, sin, scale, out):
    """A query or key by its position, halves convention."""
    half = cos.shape[0]
    for d in range(half):
        a, b = widen(row[base + d]) * scale, widen(row[base + half + d]) * scale
        out[d] = a * cos[d] - b * sin[d]
        out[half + d] = b * cos[d] + a * sin[d]


@inlined
def _turn_back(x, cos, sin, scale, row, base):
    """The opposite, of a gradient."""
    half = cos.shape[0]
    for d in range(half):
        a, b = x[d] * scale, x[half + d] * scale
        row[base + d] = narrow(a * cos[d] + b * sin[d], row[base + d])
        row[base + half + d] = narrow(b * cos[d] - a * sin[d], row[base + half + d])
