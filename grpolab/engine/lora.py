"""Low-rank adapters for the own decoder, under PEFT's tensor names (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Lora:
    """A [r, in] and B [out, r] for each adapted module; the module's weight becomes W + scale · B A."""

    a: dict[str, Tensor]
    b: dict[str, Tensor]
    scale: float

    @staticmethod
    def create(weights: dict[str, Tensor], rank: int, alpha: float, seed: int) -> Lora:
        """A as PEFT draws it (Kaiming-uniform, a = √5), B zero: the adapter changes nothing yet."""
        generator = torch.Generator().manual_seed(seed)
        a, b = {}, {}
        for name, w in weights.items():
            out, width = w.shape
            bound = math.sqrt(1 / width)
            draw = torch.rand(rank, width, generator=generator) * 2 - 1
            a[name] = (draw * bound).to(w.device).requires_grad_()
            b[name] = torch.zeros(out, rank, device=w.device, requires_grad=True)
        return Lora(a, b, alpha / rank)

    def clone(self) -> Lora:
        def copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {k: v.detach().clone().requires_grad_() for k, v in tensors.items()}

        return Lora(copy(self.a), copy(self.b), self.scale)

    def tensors(self) -> dict[str, Tensor]:
        """By the names that a saved PEFT adapter uses."""
        out: dict[str, Tensor] = {}
        for name in self.a:
            out[f"base_model.model.{name}.lora_A.weight"] = self.a[name]
            out[f"base_model.model.{name}.lora_B.weight"] = self.b[name]
        return out

    def folded(self, name: str, weight: Tensor) -> Tensor:
        """W + scale · B A, without gradient; only for fp32, where nothing of the small change is lost."""
        if name not in self.a:
            return weight
        with torch.no_grad():
            return torch.addmm(weight, self.b[name], self.a[name], alpha=self.scale)


class _LoraLinear(torch.autograd.Function):
    """y = x (W + s B A)ᵀ in one product; the frozen W gets no gradient and x Aᵀ is not kept but made again.

    Differentiable twice: the backward is made of differentiable operations on the saved tensors.
    """

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, w, a, b)
        ctx.scale = scale
        return F.linear(x, torch.addmm(w, b, a, alpha=scale))

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        x, w, a, b = ctx.saved_tensors
        down = dy @ b  # [M, r]
        dx = torch.addmm(dy @ w, down, a, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        da = (down.t() @ x) * ctx.scale
        db = (dy.t() @ (x @ a.t())) * ctx.scale
        return dx, None, da, db, None


def lora_linear(x: Tensor, w: Tensor, bias: Tensor | None, lora: Lora | None, name: str) -> Tensor:
    """x Wᵀ + bias with the adapter of module `name`, if it has one. x [M, in] -> [M, out]."""
    if lora is None or name not in lora.a:
        return F.linear(x, w, bias)
    y = _LoraLinear.apply(x, w, lora.a[name], lora.b[name], lora.scale)
    return y if bias is None else y + bias  # pyright: ignore[reportReturnType, reportOperatorIssue]
