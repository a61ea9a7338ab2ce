"""Triton kernels of learning's attention: flat tokens without padding, a prompt read where it lies
by all of its answers. `attention` says in plain operations what they compute.

A sequence is a prompt or an answer. Its queries see the prompt before it, if it is an answer, and
their own sequence up to themselves. Queries, keys and values of a token lie side by side: [M,
(HEADS + 2 KV) · D]. Logarithms are of base 2.
"""

# pyright: reportOperatorIssue=false, reportMissingImports=false
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attend_forward(
    qkv_ptr, out_ptr, lse_ptr, starts_ptr, before_ptr, stride_out, scale,
    HEADS: tl.constexpr, KV: tl.constexpr, D: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One block of a sequence's queries, one head: what they attend to, and the log-sum-exp of
    their scores. `scale` turns a product into a score of base 2."""
    block = tl.program_id(0)
    sequence = tl.program_id(1)
    head = tl.program_id(2)
    first = tl.load(starts_ptr + sequence).to(tl.int32)
    count = tl.load(starts_ptr + sequence + 1).to(tl.int32) - first
    if block * BLOCK_M < count:
        prompt = tl.load(before_ptr + 2 * sequence).to(tl.int32)
        length = tl.load(before_ptr + 2 * sequence + 1).to(tl.int32)
        W: tl.constexpr = (HEADS + 2 * KV) * D
        d = tl.arange(0, D)
        m = block * BLOCK_M + tl.arange(0, BLOCK_M)
        real = m < count
        row = (first + m).to(tl.int64)
        q = tl.load(qkv_ptr + row[:, None] * W + head * D + d, mask=real[:, None], other=0.0)
        kv = head // (HEADS // KV)
        keys = qkv_ptr + (HEADS + kv) * D + d
        values = keys + KV * D
        best = tl.full([BLOCK_M], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        seen = tl.zeros([BLOCK_M, D], tl.float32)
        blocks = tl.cdiv(length, BLOCK_N)
        own = tl.cdiv(tl.minimum(count, (block + 1) * BLOCK_M), BLOCK_N)
        for i in range(blocks + own):
            mine = i >= blocks
            n = (i - blocks * mine.to(tl.int32)) * BLOCK_N + tl.arange(0, BLOCK_N)
            there = n < tl.where(mine, count, length)
            at = (tl.where(mine, first, prompt) + n).to(tl.int64) * W
            k = tl.load(keys[None, :] + at[:, None], mask=there[:, None], other=0.0)
            v = tl.load(values[None, :] + at[:, None], mask=there[:, None], other=0.0)
            s = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            last = tl.where(mine, m, length)  # the newest key that each query sees
            s = tl.where((n[None, :] <= last[:, None]) & there[None, :], s, float("-inf"))
            top = tl.maximum(best, tl.max(s, 1))
            p = tl.exp2(s - top[:, None])
            shrink = tl.exp2(best - top)
            total = total * shrink + tl.sum(p, 1)
            seen = seen * shrink[:, None]
            seen = tl.dot(p.to(v.dtype), v, seen, input_precision="ieee")
            best = top
        out = (seen / total[:, None]).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + row[:, None] * stride_out + head * D + d, out, mask=real[:, None])
        tl.store(lse_ptr + row * HEADS + head, best + tl.log2(total), mask=real)


@triton.jit
def attend_queries(
    qkv_ptr, out_ptr, dout_ptr, lse_ptr, delta_ptr, dqkv_ptr, starts_ptr, before_ptr, stride_out,
    stride_dout, scale, slope,
    HEADS: tl.constexpr, KV: tl.constexpr, D: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The gradient of one block of queries of one head; and `delta`, each query's Σ out · dout,
    which `attend_keys` reads. `slope`: 1 / √D."""
    block = tl.program_id(0)
    sequence = tl.program_id(1)
    head = tl.program_id(2)
    first = tl.load(starts_ptr + sequence).to(tl.int32)
    count = tl.load(starts_ptr + sequence + 1).to(tl.int32) - first
    if block * BLOCK_M < count:
        prompt = tl.load(before_ptr + 2 * sequence).to(tl.int32)
        length = tl.load(before_ptr + 2 * sequence + 1).to(tl.int32)
        W: tl.constexpr = (HEADS + 2 * KV) * D
        d = tl.arange(0, D)
        m = block * BLOCK_M + tl.arange(0, BLOCK_M)
        real = m < count
        row = (first + m).to(tl.int64)
        q = tl.load(qkv_ptr + row[:, None] * W + head * D + d, mask=real[:, None], other=0.0)
        dout = tl.load(
            dout_ptr + row[:, None] * stride_dout + head * D + d, mask=real[:, None], other=0.0
        )
        out = tl.load(
            out_ptr + row[:, None] * stride_out + head * D + d, mask=real[:, None], other=0.0
        )
        delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1)
        tl.store(delta_ptr + row * HEADS + head, delta, mask=real)
        lse = tl.load(lse_ptr + row * HEADS + head, mask=real, other=float("inf"))
        kv = head // (HEADS // KV)
        keys = qkv_ptr + (HEADS + kv) * D + d
        values = keys + KV * D
        dq = tl.zeros([BLOCK_M, D], tl.float32)
        blocks = tl.cdiv(length, BLOCK_N)
        own = tl.cdiv(tl.minimum(count, (block + 1) * BLOCK_M), BLOCK_N)
        for i in range(blocks + own):
            mine = i >= blocks
            n = (i - blocks * mine.to(tl.int32)) * BLOCK_N + tl.arange(0, BLOCK_N)
            there = n < tl.where(mine, count, length)
            at = (tl.where(mine, first, prompt) + n).to(tl.int64) * W
            k = tl.load(keys[None, :] + at[:, None], mask=there[:, None], other=0.0)
            v = tl.load(values[None, :] + at[:, None], mask=there[:, None], other=0.0)
            s = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            last = tl.where(mine, m, length)
            seen = (n[None, :] <= last[:, None]) & there[None, :]
            p = tl.where(seen, tl.exp2(s - lse[:, None]), 0.0)
            dp = tl.dot(dout, tl.trans(v), input_precision="ieee")
            ds = (p * (dp - delta[:, None])).to(k.dtype)
            dq = tl.dot(ds, k, dq, input_precision="ieee")
        dq = (dq * slope).to(dqkv_ptr.dtype.element_ty)
        tl.store(dqkv_ptr + row[:, None] * W + head * D + d, dq, mask=real[:, None])


@triton.jit(do_not_specialize=["prompts", "prompt_blocks"])  # or each would be compiled anew
def attend_keys(
    qkv_ptr, dout_ptr, lse_ptr, delta_ptr, dqkv_ptr, shared_ptr, starts_ptr, before_ptr, prompts,
    prompt_blocks, stride_dout, scale, slope,
    HEADS: tl.constexpr, KV: tl.constexpr, D: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The gradient that one sequence's queries, of all heads that share a key, give to one block of
    keys and values: those of the prompt before it first, then its own. An answer's own are seen
    by it alone; those of the first `prompts` sequences come from several sides and are summed in
    `shared` [tokens of prompts, 2 KV · D] in fp32."""
    i = tl.program_id(0)
    sequence = tl.program_id(1)
    kv = tl.program_id(2)
    first = tl.load(starts_ptr + sequence).to(tl.int32)
    count = tl.load(starts_ptr + sequence + 1).to(tl.int32) - first
    prompt = tl.load(before_ptr + 2 * sequence).to(tl.int32)
    length = tl.load(before_ptr + 2 * sequence + 1).to(tl.int32)
    mine = i >= prompt_blocks
    start = (i - prompt_blocks * mine.to(tl.int32)) * BLOCK_N
    size = tl.where(mine, count, length)
    if (start < size) & (count > 0):
        W: tl.constexpr = (HEADS + 2 * KV) * D
        PER: tl.constexpr = HEADS // KV
        d = tl.arange(0, D)
        n = start + tl.arange(0, BLOCK_N)
        there = n < size
        at = (tl.where(mine, first, prompt) + n).to(tl.int64)
        keys = qkv_ptr + at[:, None] * W + (HEADS + kv) * D + d
        k = tl.load(keys, mask=there[:, None], other=0.0)
        v = tl.load(keys + KV * D, mask=there[:, None], other=0.0)
        dk = tl.zeros([BLOCK_N, D], tl.float32)
        dv = tl.zeros([BLOCK_N, D], tl.float32)
        begin = tl.where(mine, start // BLOCK_M, 0)
        blocks = tl.cdiv(count, BLOCK_M) - begin
        for j in range(PER * blocks):
            head = kv * PER + j // blocks
            m = (begin + j % blocks) * BLOCK_M + tl.arange(0, BLOCK_M)
            real = m < count
            row = (first + m).to(tl.int64)
            q = tl.load(qkv_ptr + row[:, None] * W + head * D + d, mask=real[:, None], other=0.0)
            dout = tl.load(
                dout_ptr + row[:, None] * stride_dout + head * D + d, mask=real[:, None], other=0.0
            )
            lse = tl.load(lse_ptr + row * HEADS + head, mask=real, other=float("inf"))
            delta = tl.load(delta_ptr + row * HEADS + head, mask=real, other=0.0)
            s = tl.dot(k, tl.trans(q), input_precision="ieee") * scale
            first_seen = tl.where(mine, n, 0)  # the oldest query that sees each key
            seen = (first_seen[:, None] <= m[None, :]) & there[:, None]
            p = tl.where(seen, tl.exp2(s - lse[None, :]), 0.0)
            dv = tl.dot(p.to(dout.dtype), dout, dv, input_precision="ieee")
            dp = tl.dot(v, tl.trans(dout), input_precision="ieee")
            ds = (p * (dp - delta[None, :])).to(q.dtype)
            dk = tl.dot(ds, q, dk, input_precision="ieee")
        dk = dk * slope
        if mine & (sequence >= prompts):
            alone = dqkv_ptr + at[:, None] * W + (HEADS + kv) * D + d
            tl.store(alone, dk.to(dqkv_ptr.dtype.element_ty), mask=there[:, None])
            tl.store(alone + KV * D, dv.to(dqkv_ptr.dtype.element_ty), mask=there[:, None])
        else:
            shared = shared_ptr + at[:, None] * (2 * KV * D) + kv * D + d
            tl.atomic_add(shared, dk, mask=there[:, None], sem="relaxed")
            tl.atomic_add(shared + KV * D, dv, mask=there[:, None], sem="relaxed")
