"""What a sampler's step does between its products, each in one pass: compiled loops that do not
hold the interpreter's lock, so that threads sample side by side.

n nodes (distinct prefixes, see `tree`), H hidden, D a head's size. Arrays between products are
fp32, or bf16 as uint16, as the linears take and give them.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

import numpy as np

from grpolab.engine.cpu.dots import clear, mix, put, scores, weigh
from grpolab.engine.cpu.numbers import F, compiled, exp, inlined, narrow, widen


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
def read(qkv, heads, scale, norms, eps, cos, sin, prompt, position, keys, values, out):
    """Attention of prompts' tokens, all of them in order: store each one's key and value, and let
    its queries look back at its prompt.

    qkv [m, (heads + 2 kv) · D]; norms [heads + kv, D] or empty; cos, sin [positions, D / 2];
    prompt, position [m]; keys, values [K, kv, P, D]; out [m, heads · D].
    """
    kv, size = keys.shape[1], keys.shape[3]
    share = heads // kv
    query, key = np.empty(size, F), np.empty(size, F)
    score, mean = np.empty(keys.shape[2], F), np.empty(size, F)
    for i in range(len(qkv)):
        k, at = prompt[i], position[i]
        for g in range(kv):
            _turn(qkv[i], heads + g, norms, eps, cos[at], sin[at], F(1), key)
            _keep(qkv[i], heads + kv + g, key, keys[k, g, at], values[k, g, at])
            for h in range(g * share, (g + 1) * share):
                _turn(qkv[i], h, norms, eps, cos[at], sin[at], scale, query)
                scores(query, keys[k, g], at + 1, score, 0)
                _, total = weigh(score, at + 1)
                clear(mean, size)
                mix(score, 0, values[k, g], at + 1, mean)
                put(mean, F(1) / total, out[i], h * size)


@compiled
def attend(
    qkv, heads, scale, norms, eps, cos, sin, prompt, lengths, slot, at,
    prompt_keys, prompt_values, keys, values, out,
):  # fmt: skip
    """Attention of the nodes' newest tokens, number `at` of their answers: store key and value, and
    look back at the own answer and its prompt.

    prompt, slot [n]: where a node's prompt and own tokens are kept; lengths [K] of prompts;
    prompt_keys, prompt_values [K, kv, P, D]; keys, values [slots, kv, T, D]; the rest as in `read`.
    """
    kv, size = keys.shape[1], keys.shape[3]
    share, own = heads // kv, at + 1
    query, key = np.empty(size, F), np.empty(size, F)
    score, mean = np.empty(prompt_keys.shape[2] + keys.shape[2], F), np.empty(size, F)
    for i in range(len(qkv)):
        k, s = prompt[i], slot[i]
        before = lengths[k]
        turn = before + at
        for g in range(kv):
            _turn(qkv[i], heads + g, norms, eps, cos[turn], sin[turn], F(1), key)
            _keep(qkv[i], heads + kv + g, key, keys[s, g, at], values[s, g, at])
            for h in range(g * share, (g + 1) * share):
                _turn(qkv[i], h, norms, eps, cos[turn], sin[turn], scale, query)
                scores(query, prompt_keys[k, g], before, score, 0)
                scores(query, keys[s, g], own, score, before)
                _, total = weigh(score, before + own)
                clear(mean, size)
                mix(score, 0, prompt_values[k, g], before, mean)
                mix(score, before, values[s, g], own, mean)
                put(mean, F(1) / total, out[i], h * size)


@inlined
def _turn(row, head, norms, eps, cos, sin, scale, out):
    """A head of a query or key, normed where the model does so (Qwen3), turned by its position."""
    size = out.shape[0]
    half, base = size // 2, head * size
    for d in range(size):
        out[d] = widen(row[base + d])
    if norms.shape[0] > 0:
        total = F(0)
        for d in range(size):
            total += out[d] * out[d]
        by = F(1) / F(math.sqrt(total / F(size) + eps))
        for d in range(size):
            out[d] *= by * norms[head, d]
    for d in range(half):
        a, b = out[d] * scale, out[half + d] * scale
        out[d] = a * cos[d] - b * sin[d]
        out[half + d] = b * cos[d] + a * sin[d]


@inlined
def _keep(row, head, key, key_at, value_at):
    base = head * key.shape[0]
    for d in range(key.shape[0]):
        key_at[d] = key[d]
        value_at[d] = widen(row[base + d])


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
