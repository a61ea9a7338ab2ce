"""Elementwise operations of training between products and attention, in compiled loops: forward and
backward take one pass over memory each. M tokens, H hidden size, I inner width of the MLP."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.backbone.cpu.loop import F32, Loop, array, once_differentiable

_add_norm, _add_norm_back = Loop("elementwise.add_norm"), Loop("elementwise.add_norm_back")
_gate, _gate_back = Loop("elementwise.gate"), Loop("elementwise.gate_back")


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, change: Tensor, eps: float):  # pyright: ignore
        stream, normed = torch.empty_like(x), torch.empty_like(change)
        scale = x.new_empty(len(x))
        _add_norm(x.numpy(), array(change), F32(eps), stream.numpy(), array(normed), scale.numpy())
        ctx.save_for_backward(stream, scale)
        ctx.set_materialize_grads(False)
        return stream, normed

    @staticmethod
    @once_differentiable
    def backward(ctx, dstream: Tensor | None, dnormed: Tensor | None):  # pyright: ignore
        stream, scale = ctx.saved_tensors
        if dnormed is None:
            return dstream, dstream, None
        if dstream is None:
            dstream = torch.zeros_like(stream)
        dx, dchange = torch.empty_like(stream), torch.empty_like(dnormed)
        _add_norm_back(
            dstream.contiguous().numpy(), array(dnormed.contiguous()), stream.numpy(),
            scale.numpy(), dx.numpy(), array(dchange),
        )  # fmt: skip
        return dx, dchange, None


def add_norm(x: Tensor, change: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The residual stream with a sublayer's output added, and that sum divided by its root mean
    square: an RMS norm without its weights, which the next linear applies.

    x [M, H] fp32; change [M, H] fp32 or bf16 -> stream [M, H] fp32, normed [M, H] of change's
    type. Once differentiable.
    """
    return _AddNorm.apply(x, change, eps)  # pyright: ignore[reportReturnType]


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, both: Tensor) -> Tensor:  # pyright: ignore
        out = both.new_empty(len(both), both.shape[1] // 2)
        _gate(array(both), array(out))
        ctx.save_for_backward(both)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):  # pyright: ignore
        (both,) = ctx.saved_tensors
        slope = torch.empty_like(both)
        _gate_back(array(dout.contiguous()), array(both), array(slope))
        return slope


def gate(both: Tensor) -> Tensor:
    """silu(gate) · up. [M, 2 I] fp32 or bf16, gates first -> [M, I] alike. Once differentiable."""
    return _Gate.apply(both)  # pyright: ignore[reportReturnType]
