"""Attention of learning on a CPU: every token looks at exactly what came before it, without padding
or masks, in compiled loops with a backward of their own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.cpu.loop import Loop
from grpolab.engine.cpu.numbers import Array, F, array
from grpolab.engine.cpu.once import once
from grpolab.engine.cpu.plan import Looks, Plan
from grpolab.engine.cpu.width import LANES

_look, _look_back = Loop("attention.look"), Loop("attention.look_back")


class Turning:
    """Rotary tables at the flat tokens of a plan, and how heads lie in [M, (heads + 2 kv) · D]."""

    def __init__(self, plan: Plan, heads: int, kv: int, cos: Tensor, sin: Tensor) -> None:
        """cos, sin [positions, D / 2]."""
        self.looks, self.heads, self.kv = plan.looks, heads, kv
        self.cos, self.sin = (x[plan.position].numpy() for x in (cos, sin))
        self.scale = F((2 * cos.shape[1]) ** -0.5)


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
    @once
    def backward(ctx, dout: Tensor):  # pyright: ignore
        qkv, turned, lse = ctx.saved_tensors
        t, looks = ctx.turning, ctx.turning.looks
        slope, size = torch.empty_like(qkv), turned.shape[2]
        every = np.zeros((len(qkv), 2 * t.kv, size), F)  # of keys and values
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
    return np.empty((4, most, size), F), np.empty((4, max(most, size) + LANES), F)
