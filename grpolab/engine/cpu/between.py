"""What learning does between products and attention, forward and backward each in one pass over
memory: compiled loops. M tokens, H hidden, I a MLP's inner width."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math

import torch
from torch import Tensor

from grpolab.engine.cpu.numbers import F, array, compiled, exp, narrow, widen
from grpolab.engine.cpu.once import once


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, change: Tensor, eps: float):  # pyright: ignore
        stream, normed = torch.empty_like(x), torch.empty_like(change)
        scale = x.new_empty(len(x))
        _add_norm(x.numpy(), array(change), F(eps), stream.numpy(), array(normed), scale.numpy())
        ctx.save_for_backward(stream, scale)
        ctx.set_materialize_grads(False)
        return stream, normed

    @staticmethod
    @once
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
    """The residual stream with a sublayer's output added, and that divided by its root mean square:
    an RMS norm but for its weights, which are the next linear's.

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
    @once
    def backward(ctx, dout: Tensor):  # pyright: ignore
        (both,) = ctx.saved_tensors
        slope = torch.empty_like(both)
        _gate_back(array(dout.contiguous()), array(both), array(slope))
        return slope


def gate(both: Tensor) -> Tensor:
    """silu(gate) · up. [M, 2 I] fp32 or bf16, gates first -> [M, I] alike. Once differentiable."""
    return _Gate.apply(both)  # pyright: ignore[reportReturnType]


@compiled
def _add_norm(x, change, eps, stream, normed, scale):
    hidden = x.shape[1]
    for i in range(len(x)):
        total = F(0)
        for j in range(hidden):
            whole = x[i, j] + widen(change[i, j])
            stream[i, j] = whole
            total += whole * whole
        by = F(1) / F(math.sqrt(total / F(hidden) + eps))
        scale[i] = by
        for j in range(hidden):
            normed[i, j] = narrow(stream[i, j] * by, normed[i, j])


@compiled
def _add_norm_back(dstream, dnormed, stream, scale, dx, dchange):
    hidden = stream.shape[1]
    for i in range(len(stream)):
        by, along = scale[i], F(0)
        for j in range(hidden):
            along += widen(dnormed[i, j]) * stream[i, j]
        along *= by * by * by / F(hidden)
        for j in range(hidden):
            whole = dstream[i, j] + widen(dnormed[i, j]) * by - stream[i, j] * along
            dx[i, j] = whole
            dchange[i, j] = narrow(whole, dchange[i, j])


@compiled
def _gate(both, out):
    inner = out.shape[1]
    for i in range(len(out)):
        for j in range(inner):
            g = widen(both[i, j])
            out[i, j] = narrow(g * widen(both[i, inner + j]) / (F(1) + exp(-g)), out[i, j])


@compiled
def _gate_back(dout, both, slope):
    inner = dout.shape[1]
    for i in range(len(dout)):
        for j in range(inner):
            g, up, d = widen(both[i, j]), widen(both[i, inner + j]), widen(dout[i, j])
            open_ = F(1) / (F(1) + exp(-g))
            slope[i, j] = narrow(d * up * open_ * (F(1) + g * (F(1) - open_)), slope[i, j])
            slope[i, inner + j] = narrow(d * g * open_, slope[i, inner + j])
