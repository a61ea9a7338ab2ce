"""Attention of learning on a CPU: every token looks at exactly what came before it, without padding
or masks, in compiled loops with a backward of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.cpu.loop import F32, Array, Loop, array, once_differentiable
from grpolab.engine.backbone.cpu.plan import Looks, Plan
from grpolab.engine.backbone.cpu.target import LANES
from grpolab.engine.backbone.flat_ops import gather, pick, place

_look, _look_back = Loop("attention.look"), Loop("attention.look_back")


class Turning:
    """Rotary tables at the flat tokens of a plan, and how heads lie in [M, (heads + 2 kv) · D]."""

    def __init__(self, plan: Plan, heads: int, kv: int, cos: Tensor, sin: Tensor) -> None:
        """cos, sin [positions, D / 2]."""
        self.looks, self.heads, self.kv = plan.looks, heads, kv
        self.cos, self.sin = (x[plan.position].numpy() for x in (cos, sin))
        self.scale = F32((2 * cos.shape[1]) ** -0.5)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, turning: Turning) -> Tensor:  # pyright: ignore
        t, looks = turning, turning.looks
        size = 2 * t.cos.shape[1]
        turned = qkv.new_empty(len(qkv), t.heads + t.kv, size, dtype=torch.float32)
        lse = qkv.new_empty(len(qkv), t.heads, dtype=torch.float32)
        out = qkv.new_empty(len(qkv), t.heads * size)
        _look(
            array(qkv), t.scale, t.cos, t.sin, looks.keys, looks.start, looks.first, looks.count,
            turned.numpy(), lse.numpy(), *_room(looks, size), array(out),
        )  # fmt: skip
        ctx.save_for_backward(qkv, turned, lse)
        ctx.turning = turning
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):  # pyright: ignore
        qkv, turned, lse = ctx.saved_tensors
        t, looks = ctx.turning, ctx.turning.looks
        slope, size = torch.empty_like(qkv), turned.shape[2]
        every = np.zeros((len(qkv), 2 * t.kv, size), F32)  # of keys and values
        _look_back(
            array(dout.contiguous()), array(qkv), t.scale, t.cos, t.sin, looks.keys,
            looks.start, looks.first, looks.count, turned.numpy(), lse.numpy(), every,
            *_room(looks, size), array(slope),
        )  # fmt: skip
        return slope, None


def attention(qkv: Tensor, turning: Turning) -> Tensor:
    """Queries and keys turned by their positions, and what each token finds at those it sees.

    qkv [M, (heads + 2 kv) · D], fp32 or bf16 -> [M, heads · D] alike. Once differentiable.
    """
    return _Attention.apply(qkv, turning)  # pyright: ignore[reportReturnType]


def _room(looks: Looks, size: int) -> tuple[Array, Array]:
    """To work in: keys, values and their slopes of the longest stretch [4, L, D], and some lines
    as long as it or a head."""
    most = int(looks.lengths.max(initial=1))
    return np.empty((4, most, size), F32), np.empty((4, max(most, size) + LANES), F32)


# --- padded ---
# The attention of `attention` by torch alone, over padded stretches: slower, of any dtype, and
# differentiable any number of times, as Fisher products want it.


@dataclass(frozen=True)
class Padded:
    """S stretches of up to Q tokens that look at up to L keys."""

    key_at: Tensor  # [S·L] flat token of each key
    query_at: Tensor  # [M] index into [S·Q] of each flat token
    seen: Tensor  # [S, 1, Q, L] bool
    queries: tuple[int, int]  # S, Q

    @staticmethod
    def of(looks: Looks) -> Padded:
        count, length = looks.count, looks.lengths
        most, longest = int(count.max(initial=1)), int(length.max(initial=1))
        column = np.arange(longest)
        real = column < length[:, None]
        key_at = np.zeros(real.shape, np.int64)
        key_at[real] = looks.keys
        row = np.arange(most)
        last = (length - count)[:, None] + row  # [S, Q] the last key that a token sees
        seen = column <= np.minimum(last, length[:, None] - 1)[:, :, None]
        query_at = (np.arange(len(count))[:, None] * most + row)[row < count[:, None]]
        return Padded(
            torch.from_numpy(key_at.reshape(-1)), torch.from_numpy(query_at),
            torch.from_numpy(seen)[:, None], (len(count), most),
        )  # fmt: skip

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [M, heads, D], k and v [M, kv, D], turned -> [M, heads · D]."""
        rows, most = self.queries
        groups = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}
        ks, vs = (
            gather(x, self.key_at).view(rows, -1, *x.shape[1:]).transpose(1, 2) for x in (k, v)
        )
        qs = place(q, self.query_at, rows * most).view(rows, most, *q.shape[1:]).transpose(1, 2)
        out = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=self.seen, **groups)
        return pick(out.transpose(1, 2).reshape(rows * most, -1), self.query_at)
