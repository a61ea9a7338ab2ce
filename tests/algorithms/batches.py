"""Ragged batches in float64 for tests of the algorithms, and the gradient of a loss per token."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Algorithm, Batch, Credit, Forward, Whole


def make_batch(
    lengths: list[int],
    group: list[int],
    reward: list[float],
    *,
    seed: int = 0,
    width: int | None = None,
) -> Batch:
    g = torch.Generator().manual_seed(seed)
    n, t = len(lengths), width or max(lengths)
    mask = (torch.arange(t) < torch.tensor(lengths)[:, None]).double()

    def noise(
        scale: float,
    ) -> Tensor:  # drawn at a fixed width, so that padding does not change the tokens
        return (torch.randn(n, 64, generator=g, dtype=torch.float64)[:, :t] * scale) * mask

    old = -noise(1.0).abs() * mask
    return Batch(
        mask=mask, group=torch.tensor(group),
        reward=torch.tensor(reward, dtype=torch.float64), old_logp=old,
        ref_logp=(old + noise(0.3)) * mask, value=noise(0.5), max_tokens=64,
    )  # fmt: skip


def current(batch: Batch, *, drift: float = 0.0, seed: int = 1) -> Forward:
    g = torch.Generator().manual_seed(seed)
    step = (
        torch.randn(len(batch.mask), 64, generator=g, dtype=torch.float64)[:, : batch.mask.shape[1]]
        * drift
    )
    logp = (batch.old_logp + step * batch.mask).detach().requires_grad_()
    assert batch.value is not None
    value = (batch.value + 0.5 * step * batch.mask).detach().requires_grad_()
    return Forward(logp, torch.zeros_like(batch.mask), value)


def whole_of(batch: Batch) -> Whole:
    return Whole(len(batch.mask), int(batch.mask.sum()), batch.max_tokens)


def make(name: str, **settings: object) -> Algorithm:
    cls = ALGORITHMS[name]
    return cls(cls.Settings(**settings))


def loss_and_gradient(
    algorithm: Algorithm, batch: Batch, now: Forward, credit: Credit | None = None
) -> tuple[float, Tensor]:
    """The loss, and ∂loss/∂log-prob of every token [N, T]."""
    loss = algorithm.loss(batch, credit or algorithm.credit(batch), now, whole_of(batch))
    (grad,) = torch.autograd.grad(loss.total, [now.logp], retain_graph=True)
    return float(loss.total), grad
