"""Attention over flat tokens: every prompt over itself, every answer over its prompt and itself.

Triton kernels on a GPU; plain torch operations elsewhere and for second derivatives. The plain form
is the definition.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grpolab.engine.backbone.gpu.ops import fused, roomy

if TYPE_CHECKING:
    from grpolab.engine.backbone.gpu.flat import Flat

BASE_2 = 1 / math.log(2)
"""Converts natural logarithms to base 2, which are faster."""

Tile = tuple[int, int, int, int]
"""Block of queries, block of keys, warps, pipeline stages."""

FORWARD: dict[int, Tile] = {64: (64, 64, 4, 3), 128: (64, 32, 4, 3), 256: (64, 32, 4, 2)}
QUERIES: dict[int, Tile] = {64: (64, 64, 4, 2), 128: (64, 64, 4, 2), 256: (32, 32, 4, 2)}
KEYS: dict[int, Tile] = {64: (64, 64, 4, 2), 128: (64, 64, 4, 2), 256: (32, 32, 4, 2)}
"""`Blocks` of the three kernels by head size; heads under 64 use those of 64."""


def _kernels() -> Any:
    from grpolab.engine.backbone.gpu import attention_kernels

    return attention_kernels


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, flat: Flat, heads: int, room: int) -> Tensor:  # pyright: ignore
        rows, every, d = qkv.shape
        out = roomy(qkv, heads * d, room, qkv.dtype)
        lse = qkv.new_empty(rows, heads, dtype=torch.float32)
        m, n, warps, stages = FORWARD[max(d, 64)]
        if rows:
            _kernels().attend_forward[(-(-flat.longest[1] // m), flat.sequences, heads)](
                qkv, out, lse, flat.starts, flat.before, out.stride(0), d**-0.5 * BASE_2,
                HEADS=heads, KV=(every - heads) // 2, D=d, BLOCK_M=m, BLOCK_N=n,
                num_warps=warps, num_stages=stages,
            )  # fmt: skip
        # in `out`'s room a product writes later, which is no change of it
        ctx.save_for_backward(qkv, out.data, lse)
        ctx.flat, ctx.heads = flat, heads
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):  # pyright: ignore
        qkv, out, lse = ctx.saved_tensors
        flat, heads = ctx.flat, ctx.heads
        rows, every, d = qkv.shape
        dqkv = torch.empty_like(qkv)
        if not rows:
            return dqkv, None, None, None
        kv, (asked, most, _), scale = (every - heads) // 2, flat.longest, d**-0.5 * BASE_2
        dout = dout if dout.stride(1) == 1 else dout.contiguous()
        delta = torch.empty_like(lse)
        shared = lse.new_zeros(flat.prompt_tokens, every - heads, d)
        m, n, warps, stages = QUERIES[max(d, 64)]
        _kernels().attend_queries[(-(-most // m), flat.sequences, heads)](
            qkv, out, dout, lse, delta, dqkv, flat.starts, flat.before, out.stride(0),
            dout.stride(0), scale, d**-0.5, HEADS=heads, KV=kv, D=d, BLOCK_M=m, BLOCK_N=n,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
        m, n, warps, stages = KEYS[max(d, 64)]
        first = -(-asked // n)  # blocks of the prompt before a sequence
        _kernels().attend_keys[(first + -(-most // n), flat.sequences, kv)](
            qkv, dout, lse, delta, dqkv, shared, flat.starts, flat.before, flat.prompts, first,
            dout.stride(0), scale, d**-0.5, HEADS=heads, KV=kv, D=d, BLOCK_M=m, BLOCK_N=n,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
        dqkv[: flat.prompt_tokens, heads:] = shared
        return dqkv, None, None, None


def attend(qkv: Tensor, flat: Flat, heads: int, *, room: int = 0, plain: bool = False) -> Tensor:
    """Queries of `heads` heads, keys and values side by side [M, heads + 2 kv_heads, D] ->
    attention output [M, heads · D]. The kernels write it into a buffer with `room` more columns,
    see `ops.roomy`."""
    if fused(qkv) and not plain:
        return _Attend.apply(qkv, flat, heads, room)  # pyright: ignore[reportReturnType]
    return _plain(qkv, flat, heads)


def _plain(qkv: Tensor, flat: Flat, heads: int) -> Tensor:
    """In torch operations for any device, differentiable any number of times."""
    kv_heads, d = (qkv.shape[1] - heads) // 2, qkv.shape[2]
    q, k, v = qkv.split((heads, kv_heads, kv_heads), 1)
    count, sizes_q, prompts = flat.sequences, flat.starts.diff(), flat.before[:, 1]
    sizes_k = prompts + sizes_q
    _, most_q, most_k = flat.longest
    column_q = torch.arange(most_q, device=q.device)
    column_k = torch.arange(most_k, device=q.device)
    real_q = (column_q < sizes_q[:, None]).reshape(-1).nonzero().squeeze(1)
    real_k = (column_k < sizes_k[:, None]).reshape(-1).nonzero().squeeze(1)

    def rows(x: Tensor, at: Tensor, most: int) -> Tensor:
        whole = x.new_zeros(count * most, *x.shape[1:]).index_copy(0, at, x)
        return whole.view(count, most, *x.shape[1:]).transpose(1, 2)

    qs = rows(q, real_q, most_q).view(count, kv_heads, heads // kv_heads, most_q, d)
    ks = rows(k[flat.key_at], real_k, most_k).unsqueeze(2)
    vs = rows(v[flat.key_at], real_k, most_k).unsqueeze(2)
    last = prompts[:, None, None] + column_q[:, None]  # newest key that it sees
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = (qs @ ks.transpose(-1, -2)).to(wide) * d**-0.5
    scores = scores.masked_fill((column_k > last)[:, None, None], float("-inf"))
    out = torch.softmax(scores, -1).to(vs.dtype) @ vs
    out = out.reshape(count, heads, most_q, d).transpose(1, 2).reshape(count * most_q, -1)
    return out[real_q]
