"""What a sampler's step does between its products, each in one pass: compiled loops that do not
hold the interpreter's lock, so that threads sample side by side.

n nodes (distinct prefixes, see `tree`), H hidden, D a head's size. Arrays between products are
fp32, or bf16 as uint16, as the linears take and give them.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

from grpolab.engine.cpu.dots import clear, give, keep, mix, rotary, scores, weigh
from grpolab.engine.cpu.numbers import (
    F,
    compiled,
    exp,
    get,
    inlined,
    moved,
    narrow,
    place,
    put,
    widen,
)


@compiled
def enter(tokens, embed, stream, normed, eps):
    """The residual stream of new tokens [n], and its norm, weightless: norms' weights are folded
    into the next linear. embed [V, H]; stream [n, H] fp32, normed [n, H] are written."""
    n, hidden = normed.shape
    for i in range(n):
        row, t = stream[i], tokens[i]
        for j in range(hidden):
            row[j] = embed[t, j]
        _norm(row, normed[i], eps)


@compiled
def add(stream, change, normed, eps):
    """A sublayer's output [n, H] onto the stream, and the norm for the next."""
    n, hidden = normed.shape
    for i in range(n):
        row, by = stream[i], change[i]
        for j in range(hidden):
            row[j] += widen(by[j])
        _norm(row, normed[i], eps)


@inlined
def _norm(row, out, eps):
    total = F(0)
    for j in range(row.shape[0]):
        total += row[j] * row[j]
    scale = F(1) / F(math.sqrt(total / F(row.shape[0]) + eps))
    for j in range(row.shape[0]):
        out[j] = narrow(row[j] * scale, out[j])


@compiled
def gate(gate_up, out):
    """silu(gate) · up. gate_up [n, 2 I] -> out [n, I]."""
    n, inner = out.shape
    for i in range(n):
        both, row = gate_up[i], out[i]
        for j in range(inner):
            g = widen(both[j])
            row[j] = narrow(g * widen(both[inner + j]) / (F(1) + exp(-g)), row[j])


@compiled
def read(qkv, heads, scale, norms, eps, cos, sin, prompt, position, keys, values, room, out):
    """Attention of prompts' tokens, all of them in order: store each one's key and value, and let
    its queries look back at its prompt.

    qkv [m, (heads + 2 kv) · D]; norms [heads + kv, D] or empty; cos, sin [positions, D / 2];
    prompt, position [m]; keys, values [K, kv, P, D]; `room` to work in [3, D at least, and LANES
    more than tokens to look at]; out [m, heads · D].
    """
    kv, longest, size = keys.shape[1], keys.shape[2], keys.shape[3]
    share, width = heads // kv, qkv.shape[1]
    query, mean, score = place(room, 0), place(room, room.shape[1]), place(room, 2 * room.shape[1])
    for i in range(len(qkv)):
        row, count = place(qkv, i * width), position[i] + 1
        c, s = place(cos, position[i] * (size // 2)), place(sin, position[i] * (size // 2))
        for g in range(kv):
            first = (prompt[i] * kv + g) * longest * size
            newest = first + position[i] * size
            _turn(row, heads + g, norms, eps, c, s, F(1), size, place(keys, newest))
            keep(moved(row, (heads + kv + g) * size), size, place(values, newest))
            for h in range(g * share, (g + 1) * share):
                _turn(row, h, norms, eps, c, s, scale, size, query)
                scores(query, place(keys, first), size, count, score)
                _, total = weigh(score, count)
                clear(mean, size)
                mix(score, place(values, first), size, count, mean)
                give(mean, size, F(1) / total, place(out, (i * heads + h) * size))


@compiled
def attend(
    qkv, heads, scale, norms, eps, cos, sin, prompt, lengths, slot, at,
    prompt_keys, prompt_values, keys, values, room, out,
):  # fmt: skip
    """Attention of the nodes' newest tokens, number `at` of their answers: store key and value, and
    look back at the own answer and its prompt.

    prompt, slot [n]: where a node's prompt and own tokens are kept; lengths [K] of prompts;
    prompt_keys, prompt_values [K, kv, P, D]; keys, values [slots, kv, T, D]; the rest as in `read`.
    """
    kv, most, size, longest = keys.shape[1], keys.shape[2], keys.shape[3], prompt_keys.shape[2]
    share, own, width = heads // kv, at + 1, qkv.shape[1]
    query, mean, score = place(room, 0), place(room, room.shape[1]), place(room, 2 * room.shape[1])
    for i in range(len(qkv)):
        row, before = place(qkv, i * width), lengths[prompt[i]]
        angle, behind = (before + at) * (size // 2), moved(score, before)
        c, s = place(cos, angle), place(sin, angle)
        for g in range(kv):
            asked, said = (prompt[i] * kv + g) * longest * size, (slot[i] * kv + g) * most * size
            newest = said + at * size
            _turn(row, heads + g, norms, eps, c, s, F(1), size, place(keys, newest))
            keep(moved(row, (heads + kv + g) * size), size, place(values, newest))
            for h in range(g * share, (g + 1) * share):
                _turn(row, h, norms, eps, c, s, scale, size, query)
                scores(query, place(prompt_keys, asked), size, before, score)
                scores(query, place(keys, said), size, own, behind)
                _, total = weigh(score, before + own)
                clear(mean, size)
                mix(score, place(prompt_values, asked), size, before, mean)
                mix(behind, place(values, said), size, own, mean)
                give(mean, size, F(1) / total, place(out, (i * heads + h) * size))


@inlined
def _turn(row, head, norms, eps, cos, sin, scale, size, out):
    """A head of a query or key, normed where the model does so (Qwen3), turned by its position."""
    x = moved(row, head * size)
    if norms.shape[0] == 0:
        rotary(x, cos, sin, size // 2, scale, out)
        return
    total = F(0)
    for d in range(size):
        total += get(x, d) * get(x, d)
    by = F(1) / F(math.sqrt(total / F(size) + eps))
    for d in range(size):
        put(out, d, get(x, d) * by * norms[head, d])
    rotary(out, cos, sin, size // 2, scale, out)


@compiled
def distribution(logits, cooled, probability):
    """softmax(logits / temperature), `cooled` being 1 / temperature. Both [n, V]."""
    n, words = logits.shape
    for i in range(n):
        row, out = logits[i], probability[i]
        top = row[0]
        for j in range(words):
            top = max(top, row[j])
        total = 0.0
        for j in range(words):
            weight = exp((row[j] - top) * cooled)
            out[j] = weight
            total += weight
        by = F(1.0 / total)
        for j in range(words):
            out[j] *= by


@compiled
def draw(kept, probability, node, uniform, greedy, tokens, chosen):
    """A token for each live row, by inversion of the distribution function of its node's `kept`
    [n, V], and its `probability` [n, V]; the likeliest where `greedy`.

    node, uniform, greedy, tokens, chosen [rows], the last two written.
    """
    words = kept.shape[1]
    for r in range(len(node)):
        row = kept[node[r]]
        if greedy[r]:
            found = 0
            for j in range(1, words):
                if row[j] > row[found]:
                    found = j
        else:
            total = 0.0
            for j in range(words):
                total += row[j]
            goal, reached, found = uniform[r] * total, 0.0, 0
            for j in range(words):
                if row[j] > F(0):
                    found = j  # the last possible one, should rounding leave none beyond the goal
                    reached += row[j]
                    if reached > goal:
                        break
        tokens[r], chosen[r] = found, probability[node[r], found]
