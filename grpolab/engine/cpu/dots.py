"""Attention of one query to some keys, inside compiled loops. D a head's size."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from grpolab.engine.cpu.numbers import F, exp, inlined, narrow


@inlined
def scores(query, keys, count, score, start):
    """q · k of the first `count` keys, four at a time, into score[start…]."""
    size = query.shape[0]
    for c in range(0, count - 3, 4):
        a, b, d, e = F(0), F(0), F(0), F(0)
        k0, k1, k2, k3 = keys[c], keys[c + 1], keys[c + 2], keys[c + 3]
        for j in range(size):
            q = query[j]
            a += q * k0[j]
            b += q * k1[j]
            d += q * k2[j]
            e += q * k3[j]
        score[start + c], score[start + c + 1] = a, b
        score[start + c + 2], score[start + c + 3] = d, e
    for c in range(count - count % 4, count):
        a = F(0)
        for j in range(size):
            a += query[j] * keys[c, j]
        score[start + c] = a


@inlined
def weigh(score, count):
    """e^(score − largest) in place; the largest, and their sum."""
    top = score[0]
    for c in range(count):
        top = max(top, score[c])
    total = F(0)
    for c in range(count):
        weight = exp(score[c] - top)
        score[c] = weight
        total += weight
    return top, total


@inlined
def mix(weight, start, values, count, mean):
    """Add the weighted values of the first `count` places, eight at a time."""
    size = mean.shape[0]
    for c in range(0, count - 7, 8):
        at = start + c
        w0, w1, w2, w3 = weight[at], weight[at + 1], weight[at + 2], weight[at + 3]
        w4, w5, w6, w7 = weight[at + 4], weight[at + 5], weight[at + 6], weight[at + 7]
        v0, v1, v2, v3 = values[c], values[c + 1], values[c + 2], values[c + 3]
        v4, v5, v6, v7 = values[c + 4], values[c + 5], values[c + 6], values[c + 7]
        for j in range(size):
            near = w0 * v0[j] + w1 * v1[j] + w2 * v2[j] + w3 * v3[j]
            mean[j] += near + (w4 * v4[j] + w5 * v5[j] + w6 * v6[j] + w7 * v7[j])
    for c in range(count - count % 8, count):
        w0 = weight[start + c]
        for j in range(size):
            mean[j] += w0 * values[c, j]


@inlined
def clear(x, count):
    """Zeros in the first `count` places."""
    for c in range(count):
        x[c] = F(0)


@inlined
def put(mean, scale, row, base):
    for d in range(mean.shape[0]):
        row[base + d] = narrow(mean[d] * scale, row[base + d])
