"""Attention for training on a CPU: every token attends to exactly what came before it, without
padding or masks, in compiled loops with a backward of their own. `Padded` is the same by torch, for
second derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.cpu.loop import F32, Array, Loop, array, once_differentiable
from grpolab.engine.backbone.cpu.plan import Plan, Stretches
from grpolab.engine.backbone.cpu.target import LANES
from grpolab.engine.backbone.flat_ops import gather, pick, place

_look, _look_back = Loop("attention.look"), Loop("attention.look_back")


class Rotary:
    """Rotary tables at the flat tokens of a plan, and the heads of [M, (heads + 2 kv) · D]."""

    def __init__(self, plan: Plan, heads: int, kv: int, cos: Tensor, sin: Tensor) -> None:
        """cos, sin [positions, D / 2]."""
        self.stretches, self.heads, self.kv = plan.stretches, heads, kv
        self.cos, self.sin = (x[plan.position].numpy() for x in (cos, sin))
        self.scale = F32((2 * cos.shape[1]) ** -0.5)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, rotary: Rotary) -> Tensor:  # pyright: ignore
        t, stretches = rotary, rotary.stretches
        size = 2 * t.cos.shape[1]
        turned = qkv.new_empty(len(qkv), t.heads + t.kv, size, dtype=torch.float32)
        lse = qkv.new_empty(len(qkv), t.heads, dtype=torch.float32)
        out = qkv.new_empty(len(qkv), t.heads * size)
        _look(
            array(qkv), t.scale, t.cos, t.sin, stretches.keys, stretches.start, stretches.first,
            stretches.count, turned.numpy(), lse.numpy(), *_room(stretches, size), array(out),
        )  # fmt: skip
        ctx.save_for_backward(qkv, turned, lse)
        ctx.rotary = rotary
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):  # pyright: ignore
        qkv, turned, lse = ctx.saved_tensors
        t, stretches = ctx.rotary, ctx.rotary.stretches
        slope, size = torch.empty_like(qkv), turned.shape[2]
        every = np.zeros((len(qkv), 2 * t.kv, size), F32)  # of keys and values
        _look_back(
            array(dout.contiguous()), array(qkv), t.scale, t.cos, t.sin, stretches.keys,
            stretches.start, stretches.first, stretches.count, turned.numpy(), lse.numpy(), every,
            *_room(stretches, size), array(slope),
        )  # fmt: skip
        return slope, None


def attention(qkv: Tensor, rotary: Rotary) -> Tensor:
    """Causal attention with rotary positions over a plan's flat tokens.

    qkv [M, (heads + 2 kv) · D], fp32 or bf16 -> [M, heads · D] alike. Once differentiable.
    """
    return _Attention.apply(qkv, rotary)  # pyright: ignore[reportReturnType]


def _room(stretches: Stretches, size: int) -> tuple[Array, Array]:
    """Scratch memory: keys, values and their gradients of the longest stretch [4, L, D], and some
    rows as long as it or a head."""
    most = int(stretches.lengths.max(initial=1))
    return np.empty((4, most, size), F32), np.empty((4, max(most, size) + LANES), F32)


@dataclass(frozen=True)
class Padded:
    """The same attention by torch alone, over padded stretches: slower, for any dtype, and
    differentiable any number of times, as Fisher products need it. S stretches of up to Q tokens
    that attend to up to L keys."""

    key_at: Tensor  # [S·L] flat token of each key
    query_at: Tensor  # [M] index into [S·Q] of each flat token
    seen: Tensor  # [S, 1, Q, L] bool
    queries: tuple[int, int]  # S, Q

    @staticmethod
    def of(stretches: Stretches) -> Padded:
        count, length = stretches.count, stretches.lengths
        most, longest = int(count.max(initial=1)), int(length.max(initial=1))
        column = np.arange(longest)
        real = column < length[:, None]
        key_at = np.zeros(real.shape, np.int64)
        key_at[real] = stretches.keys
        row = np.arange(most)
        last = (length - count)[:, None] + row  # [S, Q] the last key that a token attends to
        seen = column <= np.minimum(last, length[:, None] - 1)[:, :, None]
        query_at = (np.arange(len(count))[:, None] * most + row)[row < count[:, None]]
        return Padded(
            torch.from_numpy(key_at.reshape(-1)), torch.from_numpy(query_at),
            torch.from_numpy(seen)[:, None], (len(count), most),
        )  # fmt: skip

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [M, heads, D], k and v [M, kv, D], rotated -> [M, heads · D]."""
        rows, most = self.queries
        groups = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}
        ks, vs = (
            gather(x, self.key_at).view(rows, -1, *x.shape[1:]).transpose(1, 2) for x in (k, v)
        )
        qs = place(q, self.query_at, rows * most).view(rows, most, *q.shape[1:]).transpose(1, 2)
        out = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=self.seen, **groups)
        return pick(out.transpose(1, 2).reshape(rows * most, -1), self.query_at)
