"""AdamW on a named set of tensors (Loshchilov & Hutter 2019, arXiv 1711.05101), in place and
restorable by name.

torch.optim is not used because creating its first optimizer imports torch's compiler: two seconds
in which the user of a small policy would wait. Tests hold this to torch.optim.AdamW.
"""

from __future__ import annotations

import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.99


class AdamW:
    """β = (0.9, 0.99), ε = 1e-8.

    A second moment that remembers about a hundred updates, not a thousand: a single update with a
    gradient fifty times the usual (k3 makes such ones) would otherwise throw the small adapter far.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.steps = 0
        self.first = {k: torch.zeros_like(v) for k, v in tensors.items()}
        self.second = {k: torch.zeros_like(v) for k, v in tensors.items()}

    def bytes(self) -> int:
        return sum(t.nbytes for t in (*self.first.values(), *self.second.values()))

    @torch.no_grad()
    def step(self, learning_rate: float, max_grad_norm: float, weight_decay: float = 0.0) -> float:
        """Clip the gradients together to `max_grad_norm`, take one step, clear them; returns the
        norm before.

        A norm that is not finite skips the step: the parameters stay as they are.
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
        self.steps += 1
        first = [self.first[k] for k in names]
        second = [self.second[k] for k in names]
        torch._foreach_lerp_(first, grads, 1 - BETA1)
        torch._foreach_mul_(second, BETA2)
        torch._foreach_addcmul_(second, grads, grads, 1 - BETA2)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, (1 - BETA2**self.steps) ** 0.5)
        torch._foreach_add_(scale, 1e-8)
        if weight_decay:
            torch._foreach_mul_(values, 1 - learning_rate * weight_decay)
        torch._foreach_addcdiv_(values, first, scale, -learning_rate / (1 - BETA1**self.steps))
        # by these counts others see that values have changed; not every foreach kernel keeps them
        torch.autograd.graph.increment_version(values)
        self.clear()
        return norm

    def clear(self) -> None:
        for v in self.tensors.values():
            v.grad = None

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Moments under `prefix`, for a checkpoint."""
        out = {f"{prefix}.first.{k}": v for k, v in self.first.items()}
        out |= {f"{prefix}.second.{k}": v for k, v in self.second.items()}
        out[f"{prefix}.steps"] = torch.tensor([self.steps])
        return out

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor], prefix: str) -> None:
        for k in self.tensors:
            self.first[k].copy_(state[f"{prefix}.first.{k}"])
            self.second[k].copy_(state[f"{prefix}.second.{k}"])
        self.steps = int(state[f"{prefix}.steps"].item())
