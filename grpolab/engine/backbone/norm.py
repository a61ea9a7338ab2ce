"""RMS normalization with a backward of its own: a third of the passes over memory that autograd's
composition makes."""

from __future__ import annotations

import torch
from torch import Tensor


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # pyright: ignore
        scale = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return x * scale * weight

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        x, weight, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: let `scale` depend on x again
            eps = scale.pow(-2) - x.square().mean(-1, keepdim=True)
            scale = (x.square().mean(-1, keepdim=True) + eps.detach()).rsqrt()
        hat = x * scale
        dweight = (dy * hat).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        dhat = dy * weight
        dx = (dhat - hat * (dhat * hat).mean(-1, keepdim=True)) * scale
        return dx, dweight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) · weight over the last dimension (Zhang & Sennrich 2019). [..., H] -> [..., H]."""
    return _RmsNorm.apply(x, weight, eps)  # pyright: ignore[reportReturnType]
