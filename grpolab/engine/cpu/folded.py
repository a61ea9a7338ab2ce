"""Linears with one adapter and the norm before them folded in, made once for sampling and learning
alike until the adapter's values change."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

from grpolab.engine.layout import stacked
from grpolab.engine.lora import Lora


class Folded:
    """(W + scale · B A) N of stacked linears, as the adapter is now; N is diagonal, the norm's
    weights, so that the norm itself is nothing but a division."""

    def __init__(
        self, weights: dict[str, Tensor], lora: Lora | None, dtype: torch.dtype, *, keep: bool
    ) -> None:
        self.weights, self.lora, self.dtype, self.keep = weights, lora, dtype, keep
        self.stamp = lora.stamp() if lora is not None else ()
        self._made: dict[str, Tensor] = {}
        self._lock = Lock()

    def current(self, lora: Lora | None) -> bool:
        """Whether this is still what that adapter makes of the weights."""
        return self.lora is lora and (lora is None or self.stamp == lora.stamp())

    def __call__(self, names: Sequence[str], norm: Tensor | None) -> Tensor:
        """Of these linears, stacked. [Σ out, in]."""
        if not self.keep:
            return self._make(names, norm)
        with self._lock:  # threads come to a layer together
            found = self._made.get(names[0])
            if found is None:
                found = self._made[names[0]] = self._make(names, norm)
            return found

    @torch.no_grad()
    def _make(self, names: Sequence[str], norm: Tensor | None) -> Tensor:
        weight = stacked(self.weights, list(names), "weight")
        weight = weight if self.lora is None else self.lora.folded(weight, names)
        return (weight if norm is None else weight * norm).to(self.dtype)

    def held(self) -> list[Tensor]:
        """What it keeps in memory; where nothing is folded in and fp32 asked for, the backbone's
        own."""
        with self._lock:
            return list(self._made.values())
