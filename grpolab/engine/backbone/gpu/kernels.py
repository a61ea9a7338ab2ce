"""Triton kernels of the decoder: what a token passes between two matrix products, in one launch.

Each has a twin in plain torch operations in `ops`, which says what it computes; tests hold them
together. Triton comes with torch's CUDA builds on Linux; this file is imported only there.
"""

# pyright: reportOperatorIssue=false, reportMissingImports=false
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_norm(
    x_ptr, y_ptr, total_ptr, weight_ptr, out_ptr, hat_ptr, scale_ptr, H, stride_out, eps,
    ADD: tl.constexpr, SAVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row: total = x + y, then out = total / rms(total) · weight. x and total fp32, and may be
    one; keeps the normalized row and 1 / rms where a backward will want them."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < H
    x = tl.load(x_ptr + row * H + at, mask=there, other=0.0).to(tl.float32)
    if ADD:
        x += tl.load(y_ptr + row * H + at, mask=there, other=0.0).to(tl.float32)
        tl.store(total_ptr + row * H + at, x, mask=there)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / H + eps)
    hat = (x * scale).to(out_ptr.dtype.element_ty)
    weight = tl.load(weight_ptr + at, mask=there, other=0.0)
    tl.store(out_ptr + row * stride_out + at, hat * weight, mask=there)
    if SAVE:
        tl.store(hat_ptr + row * H + at, hat, mask=there)
        tl.store(scale_ptr + row, scale)


@triton.jit
def norm_backward(
    dy_ptr, hat_ptr, weight_ptr, scale_ptr, more_ptr, dx_ptr, half_ptr, H, stride_dy, stride_half,
    ADD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row: the gradient of the norm's input plus, with `ADD`, what came to it by the stream;
    in fp32 and in the dtype of the stream's newest part."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < H
    hat = tl.load(hat_ptr + row * H + at, mask=there, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + row * stride_dy + at, mask=there, other=0.0).to(tl.float32)
    dhat = dy * tl.load(weight_ptr + at, mask=there, other=0.0).to(tl.float32)
    mean = tl.sum(dhat * hat, 0) / H
    scale = tl.load(scale_ptr + row)
    dx = (dhat - hat * mean) * scale
    if ADD:
        dx += tl.load(more_ptr + row * H + at, mask=there, other=0.0)
    tl.store(dx_ptr + row * H + at, dx, mask=there)
    tl.store(half_ptr + row * stride_half + at, dx, mask=there)


@triton.jit
def swiglu(gate_up_ptr, out_ptr, width, stride_out, BLOCK: tl.constexpr):
    """silu(gate) · up of one row's block; gate and up lie side by side."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < width
    gate = tl.load(gate_up_ptr + row * 2 * width + at, mask=there, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + row * 2 * width + width + at, mask=there, other=0.0)
    act = (gate * tl.sigmoid(gate)).to(up.dtype)
    tl.store(out_ptr + row * stride_out + at, act * up, mask=there)


@triton.jit
def swiglu_backward(gate_up_ptr, dy_ptr, out_ptr, width, stride_dy, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < width
    base = row * 2 * width + at
    gate = tl.load(gate_up_ptr + base, mask=there, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + base + width, mask=there, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + row * stride_dy + at, mask=there, other=0.0).to(tl.float32)
    s = tl.sigmoid(gate)
    tl.store(out_ptr + base, dy * up * s * (1.0 + gate * (1.0 - s)), mask=there)
    tl.store(out_ptr + base + width, dy * gate * s, mask=there)


@triton.jit
def rotate_heads(
    x_ptr, bias_ptr, cos_ptr, sin_ptr, position_ptr, out_ptr, heads, turned,
    HALF: tl.constexpr, HEADS: tl.constexpr, BIAS: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """One token's heads [heads, 2 · HALF]: bias added, the first `turned` rotated to its position.
    `BACK` turns the other way (and adds no bias)."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    at = tl.arange(0, HALF)[None, :]
    there = (head < heads) & (at < HALF)
    offset = head * 2 * HALF + at
    base = row * heads * 2 * HALF + offset
    a = tl.load(x_ptr + base, mask=there, other=0.0).to(tl.float32)
    b = tl.load(x_ptr + base + HALF, mask=there, other=0.0).to(tl.float32)
    if BIAS:
        a += tl.load(bias_ptr + offset, mask=there, other=0.0).to(tl.float32)
        b += tl.load(bias_ptr + offset + HALF, mask=there, other=0.0).to(tl.float32)
    position = tl.load(position_ptr + row)
    cos = tl.load(cos_ptr + position * HALF + at)
    sin = tl.load(sin_ptr + position * HALF + at)
    if BACK:
        sin = -sin
    turn = head < turned
    tl.store(out_ptr + base, tl.where(turn, a * cos - b * sin, a), mask=there)
    tl.store(out_ptr + base + HALF, tl.where(turn, b * cos + a * sin, b), mask=there)


@triton.jit
def _norm_half_pairs(a, b, weight_ptr, at, eps, HALF: tl.constexpr, dtype: tl.constexpr):
    """RMS norm of heads that come as two halves [n, HALF]."""
    scale = 1.0 / tl.sqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / (2 * HALF) + eps)
    first = tl.load(weight_ptr + at).to(tl.float32)[None, :]
    second = tl.load(weight_ptr + HALF + at).to(tl.float32)[None, :]
    a = ((a * scale[:, None]).to(dtype).to(tl.float32) * first).to(dtype).to(tl.float32)
    b = ((b * scale[:, None]).to(dtype).to(tl.float32) * second).to(dtype).to(tl.float32)
    return a, b


@triton.jit
def _look(
    q1, q2, best, total, seen, keys, values, count, scale,
    HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Attention of q over `count` cached tokens, added to a running softmax."""
    at = tl.arange(0, HALF)
    whole = tl.arange(0, 2 * HALF)
    for start in range(0, count, BLOCK):
        n = start + tl.arange(0, BLOCK)
        there = n < count
        row = n[:, None] * (2 * HALF)
        k1 = tl.load(keys + row + at[None, :], mask=there[:, None], other=0.0)
        k2 = tl.load(keys + row + HALF + at[None, :], mask=there[:, None], other=0.0)
        v = tl.load(values + row + whole[None, :], mask=there[:, None], other=0.0)
        s = tl.dot(q1, tl.trans(k1), input_precision="ieee")
        s += tl.dot(q2, tl.trans(k2), input_precision="ieee")
        s = tl.where(there[None, :], s * scale, float("-inf"))
        top = tl.maximum(best, tl.max(s, 1))
        p = tl.exp(s - top[:, None])
        shrink = tl.exp(best - top)
        total = total * shrink + tl.sum(p, 1)
        seen = seen * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        best = top
    return best, total, seen


@triton.jit
def attend(
    qkv_ptr, bias_ptr, q_norm_ptr, k_norm_ptr, cos_ptr, sin_ptr, prompt_k, prompt_v, answer_k,
    answer_v, rows_ptr, prompt_ptr, length_ptr, time_ptr, out_ptr, stride_out, P, T, scale, eps,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, G: tl.constexpr,
    BLOCK: tl.constexpr, BIAS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """One row's newest token and one key/value head: bias, norm and rotation of q and k, the new
    key and value into the cache, and attention over the prompt (stored once for its group), the
    answer so far and the token itself.

    qkv [R, (HEADS + 2 KV) · D]; caches [K, KV, P, D] and [N, KV, T, D]; out [R, HEADS · D].
    """
    slot = tl.program_id(0).to(tl.int64)
    kv = tl.program_id(1)
    D: tl.constexpr = 2 * HALF
    PER: tl.constexpr = HEADS // KV
    dtype = qkv_ptr.dtype.element_ty
    row = tl.load(rows_ptr + slot).to(tl.int64)
    prompt = tl.load(prompt_ptr + row).to(tl.int64)
    length = tl.load(length_ptr + prompt)
    time = tl.load(time_ptr)
    position = length + time
    at = tl.arange(0, HALF)
    whole = tl.arange(0, D)
    g = tl.arange(0, G)
    mine = (g < PER)[:, None]
    cos = tl.load(cos_ptr + position * HALF + at)[None, :]
    sin = tl.load(sin_ptr + position * HALF + at)[None, :]
    base = qkv_ptr + slot * (HEADS + 2 * KV) * D
    q_at = (kv * PER + g)[:, None] * D + at[None, :]
    k_at = (HEADS + kv) * D + at[None, :]
    v_at = (HEADS + KV + kv) * D + whole
    q1 = tl.load(base + q_at, mask=mine, other=0.0).to(tl.float32)
    q2 = tl.load(base + q_at + HALF, mask=mine, other=0.0).to(tl.float32)
    k1 = tl.load(base + k_at).to(tl.float32)
    k2 = tl.load(base + k_at + HALF).to(tl.float32)
    v = tl.load(base + v_at).to(tl.float32)
    if BIAS:
        q1 += tl.load(bias_ptr + q_at, mask=mine, other=0.0).to(tl.float32)
        q2 += tl.load(bias_ptr + q_at + HALF, mask=mine, other=0.0).to(tl.float32)
        k1 += tl.load(bias_ptr + k_at).to(tl.float32)
        k2 += tl.load(bias_ptr + k_at + HALF).to(tl.float32)
        v += tl.load(bias_ptr + v_at).to(tl.float32)
    if NORM:
        q1, q2 = _norm_half_pairs(q1, q2, q_norm_ptr, at, eps, HALF, dtype)
        k1, k2 = _norm_half_pairs(k1, k2, k_norm_ptr, at, eps, HALF, dtype)
    new_q1 = (q1 * cos - q2 * sin).to(dtype)
    new_q2 = (q2 * cos + q1 * sin).to(dtype)
    new_k1 = (k1 * cos - k2 * sin).to(dtype)
    new_k2 = (k2 * cos + k1 * sin).to(dtype)
    v = v.to(dtype)
    keys = answer_k + (row * KV + kv) * T * D
    values = answer_v + (row * KV + kv) * T * D
    tl.store(keys + time * D + at[None, :], new_k1)
    tl.store(keys + time * D + HALF + at[None, :], new_k2)
    tl.store(values + time * D + whole, v)
    own = tl.sum(new_q1.to(tl.float32) * new_k1.to(tl.float32), 1)
    own += tl.sum(new_q2.to(tl.float32) * new_k2.to(tl.float32), 1)
    best = own * scale
    total = tl.full([G], 1.0, tl.float32)
    seen = tl.zeros([G, D], tl.float32) + v.to(tl.float32)[None, :]
    best, total, seen = _look(
        new_q1, new_q2, best, total, seen, prompt_k + (prompt * KV + kv) * P * D,
        prompt_v + (prompt * KV + kv) * P * D, length, scale, HALF, BLOCK,
    )  # fmt: skip
    best, total, seen = _look(
        new_q1, new_q2, best, total, seen, keys, values, time, scale, HALF, BLOCK
    )
    o_at = (kv * PER + g)[:, None] * D + whole[None, :]
    tl.store(out_ptr + slot * stride_out + o_at, seen / total[:, None], mask=mine)


@triton.jit
def draw_part(
    logits_ptr, rows_ptr, time_ptr, seed_ptr, greedy_ptr, floor_ptr, part_ptr, index_ptr, V,
    stride, inverse_temperature, T, BLOCK: tl.constexpr, FLOOR: tl.constexpr,
):  # fmt: skip
    """One block of one row's vocabulary: its maximum and sum for the softmax, and its best token
    after Gumbel noise, which depends on seed, row and time alone."""
    slot = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    row = tl.load(rows_ptr + slot).to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    there = at < V
    z = tl.load(logits_ptr + slot * stride + at, mask=there, other=float("-inf")).to(tl.float32)
    z = z * inverse_temperature
    top = tl.max(z, 0)
    total = tl.sum(tl.exp(z - top), 0)
    key = tl.load(seed_ptr) + row * T + tl.load(time_ptr)
    uniform = tl.maximum(tl.rand(key, at), 1e-12)
    noise = -tl.log(-tl.log(uniform))
    score = tl.where(tl.load(greedy_ptr + row) != 0, z, z + noise)
    if FLOOR:
        score = tl.where(z >= tl.load(floor_ptr + slot), score, float("-inf"))
    score = tl.where(there, score, float("-inf"))
    best = tl.max(score, 0)
    index = tl.argmax(score, 0)
    chosen = tl.sum(tl.where(tl.arange(0, BLOCK) == index, z, 0.0), 0)
    out = (slot * tl.num_programs(1) + block) * 4
    tl.store(part_ptr + out, top)
    tl.store(part_ptr + out + 1, total)
    tl.store(part_ptr + out + 2, best)
    tl.store(part_ptr + out + 3, chosen)
    tl.store(index_ptr + slot * tl.num_programs(1) + block, block * BLOCK + index)


@triton.jit
def draw_whole(
    part_ptr, index_ptr, rows_ptr, time_ptr, ends_ptr, tokens_ptr, logp_ptr, last_ptr,
    length_ptr, blocks, T, BLOCK: tl.constexpr, ENDS: tl.constexpr,
):  # fmt: skip
    """One row: the blocks put together, the token and its log-prob noted, its end seen."""
    slot = tl.program_id(0).to(tl.int64)
    row = tl.load(rows_ptr + slot).to(tl.int64)
    time = tl.load(time_ptr)
    at = tl.arange(0, BLOCK)
    there = at < blocks
    part = part_ptr + (slot * blocks + at) * 4
    tops = tl.load(part, mask=there, other=float("-inf"))
    top = tl.max(tops, 0)
    total = tl.sum(tl.load(part + 1, mask=there, other=0.0) * tl.exp(tops - top), 0)
    best = tl.load(part + 2, mask=there, other=float("-inf"))
    winner = tl.argmax(best, 0)
    chosen = tl.sum(tl.where(at == winner, tl.load(part + 3, mask=there, other=0.0), 0.0), 0)
    token = tl.load(index_ptr + slot * blocks + winner)
    tl.store(tokens_ptr + row * T + time, token.to(tl.int64))
    tl.store(logp_ptr + row * T + time, chosen - top - tl.log(total))
    tl.store(last_ptr + row, token.to(tl.int64))
    ended = tl.sum((tl.load(ends_ptr + tl.arange(0, ENDS)) == token).to(tl.int32), 0) > 0
    length = tl.load(length_ptr + row)
    tl.store(length_ptr + row, tl.where(ended & (length == T + 1), time + 1, length))


@triton.jit
def head_part(logits_ptr, part_ptr, V, inverse_temperature, BLOCK: tl.constexpr):
    """One block of one row of logits: its maximum, and the sums of e and of e · z beside that."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    z = tl.load(logits_ptr + row * V + at, mask=at < V, other=float("-inf")).to(tl.float32)
    z = z * inverse_temperature
    top = tl.max(z, 0)
    e = tl.where(z == float("-inf"), 0.0, tl.exp(z - top))
    part = part_ptr + (row * tl.num_programs(1) + block) * 3
    tl.store(part, top)
    tl.store(part + 1, tl.sum(e, 0))
    tl.store(part + 2, tl.sum(tl.where(e > 0, e * z, 0.0), 0))


@triton.jit
def head_whole(
    logits_ptr, part_ptr, target_ptr, logp_ptr, lse_ptr, entropy_ptr, V, blocks,
    inverse_temperature, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row, its blocks put together: log-prob of its target, log-sum-exp, entropy."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < blocks
    part = part_ptr + (row * blocks + at) * 3
    tops = tl.load(part, mask=there, other=float("-inf"))
    peak = tl.max(tops, 0)
    shrink = tl.where(tops == float("-inf"), 0.0, tl.exp(tops - peak))
    total = tl.sum(tl.load(part + 1, mask=there, other=0.0) * shrink, 0)
    weighted = tl.sum(tl.load(part + 2, mask=there, other=0.0) * shrink, 0)
    lse = peak + tl.log(total)
    target = tl.load(target_ptr + row)
    chosen = tl.load(logits_ptr + row * V + target).to(tl.float32) * inverse_temperature
    tl.store(logp_ptr + row, chosen - lse)
    tl.store(lse_ptr + row, lse)
    tl.store(entropy_ptr + row, lse - weighted / total)


@triton.jit
def head_gradient(
    logits_ptr, target_ptr, lse_ptr, entropy_ptr, dlogp_ptr, dentropy_ptr, out_ptr, V,
    inverse_temperature, BLOCK: tl.constexpr,
):  # fmt: skip
    """∂/∂logits of dlogp · log p(target) + dentropy · H, for one block of one row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < V
    z = tl.load(logits_ptr + row * V + at, mask=there, other=float("-inf")).to(tl.float32)
    logp = z * inverse_temperature - tl.load(lse_ptr + row)
    p = tl.exp(logp)
    hit = (at == tl.load(target_ptr + row)).to(tl.float32)
    push = tl.load(dlogp_ptr + row) * (hit - p)
    push -= tl.load(dentropy_ptr + row) * tl.where(
        p > 0, p * (logp + tl.load(entropy_ptr + row)), 0.0
    )
    tl.store(out_ptr + row * V + at, push * inverse_temperature, mask=there)
