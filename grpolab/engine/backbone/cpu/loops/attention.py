"""Attention for training: every token of a stretch attends to what came before it. D head size."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

from grpolab.engine.backbone.cpu.loops.dots import (
    clear,
    give,
    keep,
    mix,
    push,
    rotary,
    scores,
    weigh,
    weights,
)
from grpolab.engine.backbone.cpu.loops.numbers import F, get, inlined, loop, moved, place, put


@loop
def look(qkv, scale, cos, sin, keys, start, first, count, turned, lse, sides, lines, out):
    tokens, heads, size = len(qkv), lse.shape[1], turned.shape[2]
    kv, half, width = turned.shape[1] - heads, size // 2, qkv.shape[1]
    share, row = heads // kv, turned.shape[1] * size
    key, value = place(sides, 0), place(sides, sides.shape[1] * size)
    score, mean = place(lines, 0), place(lines, lines.shape[1])
    for i in range(tokens):
        c, s = place(cos, i * half), place(sin, i * half)
        for h in range(heads + kv):
            by, to = scale if h < heads else F(1), place(turned, i * row + h * size)
            rotary(place(qkv, i * width + h * size), c, s, half, by, to)
    for s in range(len(count)):
        length, n = start[s + 1] - start[s], count[s]
        for g in range(kv):
            _collect(qkv, turned, keys, start[s], length, heads, kv, g, key, value)
            for i in range(n):
                at, seen = first[s] + i, length - n + i + 1
                for h in range(g * share, (g + 1) * share):
                    scores(place(turned, at * row + h * size), key, size, seen, score)
                    top, total = weigh(score, seen)
                    lse[at, h] = top + F(math.log(total))
                    clear(mean, size)
                    mix(score, value, size, seen, mean)
                    give(mean, size, F(1) / total, place(out, (at * heads + h) * size))


@loop
def look_back(
    dout, qkv, scale, cos, sin, keys, start, first, count, turned, lse, every, sides, lines, slope
):  # fmt: skip
    tokens, heads, size = len(qkv), lse.shape[1], turned.shape[2]
    kv, half, width = turned.shape[1] - heads, size // 2, qkv.shape[1]
    share, row, side = heads // kv, turned.shape[1] * size, sides.shape[1] * size
    key, value = place(sides, 0), place(sides, side)
    dkey, dvalue = place(sides, 2 * side), place(sides, 3 * side)
    line = lines.shape[1]
    weight, change = place(lines, 0), place(lines, line)
    query, found = place(lines, 2 * line), place(lines, 3 * line)
    for s in range(len(count)):
        length, n = start[s + 1] - start[s], count[s]
        for g in range(kv):
            _collect(qkv, turned, keys, start[s], length, heads, kv, g, key, value)
            clear(dkey, length * size)
            clear(dvalue, length * size)
            for i in range(n):
                at, seen = first[s] + i, length - n + i + 1
                c, a = place(cos, at * half), place(sin, at * half)
                for h in range(g * share, (g + 1) * share):
                    asked = place(turned, at * row + h * size)
                    keep(place(dout, (at * heads + h) * size), size, found)
                    scores(asked, key, size, seen, weight)
                    scores(found, value, size, seen, change)
                    weights(weight, seen, lse[at, h])
                    total = F(0)
                    for k in range(seen):
                        total += get(weight, k) * get(change, k)
                    for k in range(seen):
                        put(change, k, get(weight, k) * (get(change, k) - total))
                    push(change, seen, asked, size, dkey)
                    push(weight, seen, found, size, dvalue)
                    clear(query, size)
                    mix(change, key, size, seen, query)
                    _turn_back(query, c, a, half, scale, place(slope, at * width + h * size))
            for k in range(length):
                into = keys[start[s] + k]
                for d in range(size):
                    every[into, g, d] += get(dkey, k * size + d)
                    every[into, kv + g, d] += get(dvalue, k * size + d)
    for i in range(tokens):
        c, a = place(cos, i * half), place(sin, i * half)
        for g in range(kv):
            to = place(slope, i * width + (heads + g) * size)
            _turn_back(place(every, (2 * i * kv + g) * size), c, a, half, F(1), to)
            v = place(every, ((2 * i + 1) * kv + g) * size)
            give(v, size, F(1), moved(to, kv * size))


@inlined
def _collect(qkv, turned, keys, start, length, heads, kv, g, key, value):
    """A stretch's keys and values of one head, side by side."""
    size = turned.shape[2]
    for c in range(length):
        at = keys[start + c]
        keep(place(turned, (at * (heads + kv) + heads + g) * size), size, moved(key, c * size))
        v = place(qkv, at * qkv.shape[1] + (heads + kv + g) * size)
        keep(v, size, moved(value, c * size))


@inlined
def _turn_back(x, cos, sin, half, scale, out):
    """The backward of `rotary`, on a gradient."""
    for d in range(half):
        a, b = get(x, d) * scale, get(x, half + d) * scale
        put(out, d, a * get(cos, d) + b * get(sin, d))
        put(out, half + d, b * get(cos, d) - a * get(sin, d))
