"""Low-rank adapters for our own decoder, under PEFT's tensor names (Hu et al. 2021, arXiv
2106.09685).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Spans = Sequence[tuple[int, int]]
"""Output ranges [start, end) of stacked linears."""


@dataclass(frozen=True)
class Lora:
    """A [r, in] and B [out, r] for each adapted module; the module's weight becomes W + scale · B
    A."""

    a: dict[str, Tensor]
    b: dict[str, Tensor]
    out: dict[str, int]  # output size of every linear of the model, adapted or not
    scale: float

    @staticmethod
    def create(
        weights: dict[str, Tensor], out: dict[str, int], rank: int, alpha: float, seed: int
    ) -> Lora:
        """One pair A, B for each of `weights`. A is drawn as in PEFT (Kaiming-uniform, a = √5), B
        is zero: the adapter does not change the output yet."""
        generator = torch.Generator().manual_seed(seed)
        a, b = {}, {}
        for name, w in weights.items():
            width = w.shape[1]
            bound = math.sqrt(1 / width)
            draw = torch.rand(rank, width, generator=generator) * 2 - 1
            a[name] = (draw * bound).to(w.device).requires_grad_()
            b[name] = torch.zeros(len(w), rank, device=w.device, requires_grad=True)
        return Lora(a, b, out, alpha / rank)

    def clone(self) -> Lora:
        def copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {k: v.detach().clone().requires_grad_() for k, v in tensors.items()}

        return Lora(copy(self.a), copy(self.b), self.out, self.scale)

    def tensors(self) -> dict[str, Tensor]:
        """A and B under the names of a saved PEFT adapter."""
        out: dict[str, Tensor] = {}
        for name in self.a:
            out[f"base_model.model.{name}.lora_A.weight"] = self.a[name]
            out[f"base_model.model.{name}.lora_B.weight"] = self.b[name]
        return out

    def part(self, names: Sequence[str]) -> tuple[Spans, tuple[Tensor, ...]]:
        """For linears stacked in this order: the output ranges that are adapted, and their A and B
        alternating."""
        spans, ab, at = [], [], 0
        for name in names:
            if name in self.a:
                spans.append((at, at + self.out[name]))
                ab += [self.a[name], self.b[name]]
            at += self.out[name]
        return tuple(spans), tuple(ab)

    def stamp(self) -> tuple[int, ...]:
        """The version counts of all tensors: different whenever one was changed in place."""
        return tuple(t._version for t in (*self.a.values(), *self.b.values()))

    @torch.no_grad()
    def folded(self, w: Tensor, names: Sequence[str]) -> Tensor:
        """The stacked weights with the adapters merged in."""
        spans, ab = self.part(names)
        return fold(w, spans, ab, self.scale) if ab else w


class _LoraLinears(torch.autograd.Function):
    """Stacked linears on one input, y = x N (W + s B A)ᵀ, in one product; N is diagonal, the
    weights of the norm before them, or 1.

    `spans` are the output ranges with an adapter, `ab` their A and B alternating, `folded` is the
    current (W + s B A) N. The frozen W gets no gradient, and of tensors with one row per token only
    x is kept. Differentiable twice where there is no norm: the backward consists of differentiable
    operations on the saved tensors.
    """

    @staticmethod
    def forward(  # pyright: ignore
        ctx, x: Tensor, w: Tensor, folded: Tensor, norm: Tensor | None, scale: float,
        spans: Spans, *ab: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, w, folded, norm, *ab)
        ctx.scale, ctx.spans = scale, spans
        return F.linear(x, folded)

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        x, w, folded, norm, *ab = ctx.saved_tensors
        scale, spans = ctx.scale, ctx.spans
        ranks = [m.shape[0] for m in ab[::2]]
        outs = [dy[:, start:stop] for start, stop in spans]
        # what learns is fp32, products may be bf16
        every_a = torch.cat(list(ab[::2]))  # [Σ r, in]
        every_a = (every_a if norm is None else every_a * norm).to(dy.dtype)
        downs = [d @ b.to(dy.dtype) for d, b in zip(outs, ab[1::2], strict=True)]
        down = torch.cat(downs, 1) if len(downs) > 1 else downs[0]  # [M, Σ r]
        dx = None
        if ctx.needs_input_grad[0]:
            if torch.is_grad_enabled():  # a second derivative is wanted: through A and B too
                dx = dy @ w + scale * (down @ every_a)
            else:
                dx = dy @ folded
        up = x @ every_a.t()  # [M, Σ r]
        da = (down.t() @ x) * (scale if norm is None else scale * norm)
        db = [(d.t() @ u) * scale for d, u in zip(outs, up.split(ranks, 1), strict=True)]
        pairs = zip(da.split(ranks), db, strict=True)
        return dx, None, None, None, None, None, *(g for pair in pairs for g in pair)


def fold(w: Tensor, spans: Spans, ab: Sequence[Tensor], scale: float) -> Tensor:
    """W with scale · B A added to each adapted range of its outputs. [Σ out, in]."""
    if not torch.is_grad_enabled():
        out = w.clone()
        for (start, stop), a, b in zip(spans, ab[::2], ab[1::2], strict=True):
            out[start:stop].addmm_(b, a, alpha=scale)
        return out
    pieces, at = [], 0
    for (start, stop), a, b in zip(spans, ab[::2], ab[1::2], strict=True):
        if start > at:
            pieces.append(w[at:start])
        pieces.append(torch.addmm(w[start:stop], b, a, alpha=scale))
        at = stop
    if at < len(w):
        pieces.append(w[at:])
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def lora_linears(
    x: Tensor, w: Tensor, folded: Tensor, norm: Tensor | None, bias: Tensor | None,
    lora: Lora | None, names: Sequence[str],
) -> Tensor:  # fmt: skip
    """x N Wᵀ + bias for the linears `names` stacked in W, each with its adapter if it has one; N is
    diagonal, `norm` [in], or 1; `folded` is W N with the adapters merged in, in x's dtype. [M, in]
    -> [M, Σ out]."""
    spans, ab = ((), ()) if lora is None else lora.part(names)
    bias = None if bias is None else bias.to(x.dtype)
    if lora is None or not ab:
        return F.linear(x, folded, bias)
    y: Tensor = _LoraLinears.apply(x, w, folded, norm, lora.scale, spans, *ab)  # pyright: ignore[reportAssignmentType]
    return y if bias is None else y + bias
