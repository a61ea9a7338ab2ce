"""Muon for the matrices, AdamW for the rest.

Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. Each matrix moves by its
momentum made orthogonal (five Newton–Schulz steps). Matrices of one shape are taken together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

MUON_RATE = 0.015
ADAM_RATE = 0.003


def orthogonal(matrices: Tensor) -> Tensor:
    """Roughly U Vᵀ of each matrix's singular value decomposition. [matrices, rows, columns]"""
    a, b, c = 3.4445, -4.7750, 2.0315  # the quintic of the source, steepest at zero
    # bf16 is enough, but many CPUs are slow at it
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Optimizer:
    """Muon and AdamW behind one `step(scale)`, where `scale` in [0, 1] is the schedule."""

    def __init__(self, model: nn.Module, *, compiled: bool) -> None:
        shapes: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        others: list[Tensor] = []
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "layers" in name:
                shapes[tuple(parameter.shape)].append(parameter)
            else:
                others.append(parameter)
        self.groups = list(shapes.values())
        self.momenta = [torch.zeros_like(torch.stack(group)) for group in self.groups]
        fused = others[0].is_cuda
        self.adam = torch.optim.AdamW(
            others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=fused
        )
        self._orthogonal: Callable[[Tensor], Tensor] = (
            torch.compile(orthogonal) if compiled else orthogonal
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update from the gradients, which are then cleared."""
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            momentum.lerp_(gradient, 0.05)
            update = self._orthogonal(gradient.lerp(momentum, 0.95))  # Nesterov
            rate = MUON_RATE * scale * max(1.0, update.size(-2) / update.size(-1)) ** 0.5
            torch._foreach_mul_(group, 1 - 0.01 * rate)
            torch._foreach_add_(group, list(update.unbind()), alpha=-rate)
        for parameters in self.adam.param_groups:
            parameters["lr"] = ADAM_RATE * scale
        self.adam.step()
        for group in self.groups:
            for parameter in group:
                parameter.grad = None
        self.adam.zero_grad(set_to_none=True)
