"""Attention of one query to some keys, inside compiled loops, on pointers. D head size."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from grpolab.engine.backbone.cpu.loops.numbers import F, get, inlined, moved, put
from grpolab.engine.backbone.cpu.loops.vectors import (
    copied,
    dots,
    exponentials,
    largest,
    tile,
    turned,
)
from grpolab.engine.backbone.cpu.target import LANES

NOTHING = F(-1e30)
"""A score that much below the largest has a weight of 0 in fp32."""

_four, _one = dots(4), dots(1)
_wide, _narrow = tile(1, 4), tile(1, 1)


@inlined
def scores(query, keys, size, count, score):
    """q · k of `count` keys [count, D]."""
    whole = size - size % LANES
    for c in range(0, count - 3, 4):
        _four(query, moved(keys, c * size), size, whole, moved(score, c))
    for c in range(count - count % 4, count):
        _one(query, moved(keys, c * size), size, whole, moved(score, c))
    for d in range(whole, size):
        for c in range(count):
            put(score, c, get(score, c) + get(query, d) * get(keys, c * size + d))


@inlined
def weigh(score, count):
    """e^(score − largest) in place; the largest, and their sum. `score` has LANES places more."""
    filled = count + -count % LANES
    for c in range(count, filled):
        put(score, c, get(score, 0))
    top = largest(score, filled)
    return top, weights(score, count, top)


@inlined
def weights(score, count, less):
    """e^(score − less) in place; their sum. `score` has LANES places more."""
    filled = count + -count % LANES
    for c in range(count, filled):
        put(score, c, NOTHING)
    return exponentials(score, less, filled)


@inlined
def mix(weight, values, size, count, mean):
    """Add the weighted values [count, D] to the mean [D]."""
    done = 0
    while done + 4 * LANES <= size:
        to = moved(mean, done)
        _wide(weight, 0, moved(values, done), size, count, to, 0, to, 0)
        done += 4 * LANES
    while done + LANES <= size:
        to = moved(mean, done)
        _narrow(weight, 0, moved(values, done), size, count, to, 0, to, 0)
        done += LANES
    for d in range(done, size):
        for c in range(count):
            put(mean, d, get(mean, d) + get(weight, c) * get(values, c * size + d))


@inlined
def push(change, count, by, size, into):
    """into[c] += change[c] · by, of `count` rows. by [D], into [count, D]."""
    for c in range(count):
        done = 0
        while done + 4 * LANES <= size:
            to = moved(into, c * size + done)
            _wide(moved(change, c), 0, moved(by, done), 0, 1, to, 0, to, 0)
            done += 4 * LANES
        while done + LANES <= size:
            to = moved(into, c * size + done)
            _narrow(moved(change, c), 0, moved(by, done), 0, 1, to, 0, to, 0)
            done += LANES
        for d in range(done, size):
            at = c * size + d
            put(into, at, get(into, at) + get(change, c) * get(by, d))


@inlined
def rotary(row, cos, sin, half, scale, out):
    """A query or key [D], scaled and rotated to its position, halves convention. cos and sin [D /
    2]; `out` may be the input row."""
    whole = half - half % LANES
    turned(row, cos, sin, half, scale, out, whole)
    for d in range(whole, half):
        a, b = get(row, d) * scale, get(row, half + d) * scale
        put(out, d, a * get(cos, d) - b * get(sin, d))
        put(out, half + d, b * get(cos, d) + a * get(sin, d))


@inlined
def keep(row, size, out):
    """A key or value [D], as fp32."""
    whole = size - size % LANES
    copied(row, out, whole)
    for d in range(whole, size):
        put(out, d, get(row, d))


@inlined
def clear(x, count):
    """Set to zero."""
    for d in range(count):
        put(x, d, F(0))


@inlined
def give(mean, size, scale, row):
    """Write the scaled mean [D] to where the next product reads it."""
    for d in range(size):
        put(row, d, get(mean, d) * scale)
