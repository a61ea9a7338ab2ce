"""AdamW on a named set of tensors (Loshchilov & Hutter 2019, arXiv 1711.05101), in place and
restorable by name.

The arithmetic is torch's functional `adamw`, which `import torch` has loaded already. The class
`torch.optim.AdamW` is not used: creating the first one imports torch's compiler, two seconds in
which the user of a small policy would wait.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETA1, BETA2, EPS = 0.9, 0.99, 1e-8


class AdamW:
    """β = (0.9, 0.99), ε = 1e-8.

    β₂ averages squared gradients over about a hundred updates, not a thousand: with 0.999 a single
    gradient fifty times the usual one (the k3 estimator produces such) moves a small adapter far.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.steps = 0
        self.first = {k: torch.zeros_like(v) for k, v in tensors.items()}
        self.second = {k: torch.zeros_like(v) for k, v in tensors.items()}

    def bytes(self) -> int:
        """Size of both moments."""
        return sum(t.nbytes for t in (*self.first.values(), *self.second.values()))

    @torch.no_grad()
    def step(self, learning_rate: float, max_grad_norm: float, weight_decay: float = 0.0) -> float:
        """Clip the gradients to a total norm of `max_grad_norm`, take one step and clear them.

        Returns the norm before clipping. If it is not finite, the step is skipped: parameters and
        moments stay as they are.
        """
        names = [k for k, v in self.tensors.items() if v.grad is not None]
        values = [self.tensors[k] for k in names]
        grads = [v.grad for v in values if v.grad is not None]
        if not grads:
            return 0.0
        norm = float(torch.stack(torch._foreach_norm(grads)).norm())
        if not norm < float("inf"):
            self.clear()
            return norm
        torch._foreach_mul_(grads, min(1.0, max_grad_norm / (norm + 1e-6)))
        adamw(
            values,
            grads,
            [self.first[k] for k in names],
            [self.second[k] for k in names],
            [],
            # torch counts for each tensor, and adds 1 itself
            list(torch.full((len(names),), float(self.steps)).unbind()),
            foreach=True,  # on a GPU few kernels for all tensors; on a CPU it makes no difference
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=learning_rate,
            weight_decay=weight_decay,
            eps=EPS,
            maximize=False,
        )
        self.steps += 1
        # weights derived from an adapter are renewed by these counts (`Lora.stamp`); not every
        # foreach kernel raises them
        torch.autograd.graph.increment_version(values)
        self.clear()
        return norm

    def clear(self) -> None:
        """Drop all gradients."""
        for v in self.tensors.values():
            v.grad = None

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Both moments and the step count, under `prefix`, for a checkpoint."""
        out = {f"{prefix}.first.{k}": v for k, v in self.first.items()}
        out |= {f"{prefix}.second.{k}": v for k, v in self.second.items()}
        out[f"{prefix}.steps"] = torch.tensor([self.steps])
        return out

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor], prefix: str) -> None:
        """Take over what `state` returned under this prefix."""
        for k in self.tensors:
            self.first[k].copy_(state[f"{prefix}.first.{k}"])
            self.second[k].copy_(state[f"{prefix}.second.{k}"])
        self.steps = int(state[f"{prefix}.steps"].item())
