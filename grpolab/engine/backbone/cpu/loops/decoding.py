"""One step of the sampler, all layers in one loop, in fp32. n nodes (distinct prefixes, see
`cpu.tree`), L layers, V vocabulary, H hidden size, D head size.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

from grpolab.engine.backbone.cpu.loops.dots import clear, give, keep, mix, rotary, scores, weigh
from grpolab.engine.backbone.cpu.loops.numbers import (
    F,
    exp,
    get,
    inlined,
    located,
    loop,
    moved,
    place,
    put,
)
from grpolab.engine.backbone.cpu.loops.product import times


@loop
def enter(tokens, embed, stream, normed, eps):
    """The residual stream of new tokens [n], and its norm without weights: those are folded into
    the next linear. embed [V, H]; stream, normed [n, H] are written."""
    n, hidden = normed.shape
    for i in range(n):
        row, t = stream[i], tokens[i]
        for j in range(hidden):
            row[j] = embed[t, j]
        _norm(row, normed[i], eps)


@loop
def add(stream, change, normed, eps):
    """Add a sublayer's output [n, H] to the stream, and compute the norm for the next one."""
    n, hidden = normed.shape
    for i in range(n):
        row, by = stream[i], change[i]
        for j in range(hidden):
            row[j] += by[j]
        _norm(row, normed[i], eps)


@inlined
def _norm(row, out, eps):
    total = F(0)
    for j in range(row.shape[0]):
        total += row[j] * row[j]
    scale = F(1) / F(math.sqrt(total / F(row.shape[0]) + eps))
    for j in range(row.shape[0]):
        out[j] = row[j] * scale


@loop
def gate(gate_up, out):
    """silu(gate) · up. gate_up [n, 2 I] -> out [n, I]."""
    n, inner = out.shape
    for i in range(n):
        both, row = gate_up[i], out[i]
        for j in range(inner):
            g = both[j]
            row[j] = g * both[inner + j] / (F(1) + exp(-g))


@loop
def attend(
    qkv, layer, heads, scale, norms, eps, cos, sin, prompt, before, slot, at, prompt_keys,
    prompt_values, keys, values, room, out,
):  # fmt: skip
    """Attention of new tokens [n]: store each one's key and value, and let its queries look back.
    They are number `at` of their answers; where that is −1, prompts' tokens, in order.

    qkv [n, (heads + 2 kv) · D at least]; norms [L, heads + kv, D] or [L, 0, D]; cos, sin
    [positions, D / 2]; prompt, before, slot [n]: whose prompt, how many of its tokens to look at
    (the own one counts), and where own tokens are kept; prompt_keys, prompt_values [L, K, kv, P,
    D]; keys, values [L, slots, kv, T, D]; `room` to work in [3, D at least, and LANES more than
    tokens to look at]; out [n, heads · D].
    """
    prompts, longest, slots = prompt_keys.shape[1], prompt_keys.shape[3], keys.shape[1]
    kv, most, size = keys.shape[2], keys.shape[3], keys.shape[4]
    share, own, width = heads // kv, at + 1, qkv.shape[1]
    query, mean, score = place(room, 0), place(room, room.shape[1]), place(room, 2 * room.shape[1])
    for i in range(len(qkv)):
        row, asking = place(qkv, i * width), before[i]
        angle, behind = (asking + at) * (size // 2), moved(score, asking)
        c, s = place(cos, angle), place(sin, angle)
        for g in range(kv):
            asked = ((layer * prompts + prompt[i]) * kv + g) * longest * size
            said = ((layer * slots + slot[i]) * kv + g) * most * size
            newest, new_key, new_value = said + at * size, keys, values
            if own == 0:
                newest, new_key, new_value = (
                    asked + (asking - 1) * size, prompt_keys, prompt_values
                )  # fmt: skip
            _turn(row, layer, heads + g, norms, eps, c, s, F(1), size, place(new_key, newest))
            keep(moved(row, (heads + kv + g) * size), size, place(new_value, newest))
            for h in range(g * share, (g + 1) * share):
                _turn(row, layer, h, norms, eps, c, s, scale, size, query)
                scores(query, place(prompt_keys, asked), size, asking, score)
                scores(query, place(keys, said), size, own, behind)
                _, total = weigh(score, asking + own)
                clear(mean, size)
                mix(score, place(prompt_values, asked), size, asking, mean)
                mix(behind, place(values, said), size, own, mean)
                give(mean, size, F(1) / total, place(out, (i * heads + h) * size))


@inlined
def _turn(row, layer, head, norms, eps, cos, sin, scale, size, out):
    """A head of a query or key, normalized where the model does so (Qwen3), rotated to its
    position."""
    x = moved(row, head * size)
    if norms.shape[1] == 0:
        rotary(x, cos, sin, size // 2, scale, out)
        return
    total = F(0)
    for d in range(size):
        total += get(x, d) * get(x, d)
    by = F(1) / F(math.sqrt(total / F(size) + eps))
    for d in range(size):
        put(out, d, get(x, d) * by * norms[layer, head, d])
    rotary(out, cos, sin, size // 2, scale, out)


@loop
def layers(
    tokens, embed, linears, heads, scale, norms, eps, cos, sin, prompt, before, slot, at,
    prompt_keys, prompt_values, keys, values, room, stream, normed, qkv, found, wide, both, inner,
):  # fmt: skip
    """All layers on new tokens [n]: `normed` [n, H] becomes what the head reads.

    embed [V, H]; linears [L, 4, 4]: of each layer's qkv, out, gate and up, and down, see
    `Linear.about`; to work in: stream [n, H], qkv, found [n, heads · D], wide [n, H at least], both
    [n, 2 I at least], inner [n, I]; the rest as in `attend`.
    """
    enter(tokens, embed, stream, normed, eps)
    for i in range(len(linears)):
        _linear(normed, linears, i, 0, qkv)
        attend(qkv, i, heads, scale, norms, eps, cos, sin, prompt, before, slot, at, prompt_keys,
               prompt_values, keys, values, room, found)  # fmt: skip
        _linear(found, linears, i, 1, wide)
        add(stream, wide, normed, eps)
        _linear(normed, linears, i, 2, both)
        gate(both, inner)
        _linear(inner, linears, i, 3, wide)
        add(stream, wide, normed, eps)


@inlined
def _linear(x, linears, layer, which, out):
    panels, count = located(linears[layer, which, 0]), linears[layer, which, 1]
    bias, outputs = located(linears[layer, which, 2]), linears[layer, which, 3]
    times(place(x, 0), len(x), x.shape[1], panels, count, bias, place(out, 0), outputs)


@loop
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


@loop
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
