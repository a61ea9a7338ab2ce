"""The tensor part of the lens, for batches from a file and for rollouts in the engine alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from grpolab.algorithms.base import Algorithm, Batch, Credit, Forward, Loss, Whole
from grpolab.algorithms.records import Steps
from grpolab.lens.batch_file import missing, samples

WARM = 1 << 30
"""Age of the critic in a batch from a file: nobody's warm-up is longer."""


@dataclass(frozen=True)
class Look:
    """What one algorithm makes of a rollout. Nothing in it carries a graph."""

    credit: Credit
    loss: Loss
    gradient: Tensor  # [N, T] ∂loss/∂logp, 0 on padding


def look(batch: Batch, now: Forward, algorithms: Mapping[str, Algorithm]) -> dict[str, Look]:
    """Each algorithm's credit, loss and gradient, the rollout taken as one minibatch.

    `now` is detached first; it may come from anywhere. An entropy bonus has no gradient here.
    """
    whole = Whole(len(batch.mask), int(batch.mask.sum().item()), batch.max_tokens)
    return {name: _look(batch, now, whole, algorithm) for name, algorithm in algorithms.items()}


def _look(batch: Batch, now: Forward, whole: Whole, algorithm: Algorithm) -> Look:
    with torch.no_grad():
        credit = algorithm.credit(batch)
    with torch.enable_grad():
        logp = now.logp.detach().requires_grad_()
        still = replace(now, logp=logp, entropy=now.entropy.detach(), value=_detached(now.value))
        loss = algorithm.loss(batch, credit, still, whole)
        gradient = None
        if loss.total.requires_grad:
            (gradient,) = torch.autograd.grad(loss.total, [logp], allow_unused=True)
    gradient = torch.zeros_like(batch.mask) if gradient is None else gradient * batch.mask
    terms = {name: term.detach() for name, term in loss.terms.items()}
    return Look(credit, Loss(terms, loss.ratio.detach(), _detached(loss.clipped)), gradient)


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()


def from_json(data: Mapping[str, Any]) -> tuple[Batch, Forward]:
    """A checked batch in float64, rows in the order of groups and samples. The critic counts as
    warm."""
    found = list(samples(data))
    rows = [sample for _, _, sample in found]
    width = max(len(row["logprobs"]) for row in rows)

    def column(values: Sequence[float]) -> Tensor:  # whole numbers may exceed what torch reads
        return torch.tensor([float(x) for x in values], dtype=torch.float64)

    def table(values: Sequence[Sequence[float]]) -> Tensor:  # [N, T]
        out = torch.zeros(len(values), width, dtype=torch.float64)
        for i, row in enumerate(values):
            out[i, : len(row)] = column(row)
        return out

    def optional(key: str) -> Tensor | None:
        return None if missing(data, key) else table([row[key] for row in rows])

    logp = table([row["logprobs"] for row in rows])
    value, entropy = optional("values"), optional("entropies")
    greedy = [data["groups"][g].get("greedy_reward") for g, _, _ in found]
    steps = None if missing(data, "step_rewards") else [row["step_rewards"] for row in rows]
    batch = Batch(
        mask=table([[1.0] * len(row["logprobs"]) for row in rows]),
        group=torch.tensor([g for g, _, _ in found]),
        reward=column([row["reward"] for row in rows]),
        old_logp=table([row["old_logprobs"] for row in rows]),
        ref_logp=optional("ref_logprobs"),
        value=value,
        max_tokens=data["max_tokens"],
        greedy_reward=None if missing(data, "greedy_reward") else column(greedy),
        steps=None if steps is None else _steps(steps),
        entropy=entropy,
        sampler_logp=optional("sampler_logprobs"),
        critic_age=WARM,
    )
    return batch, Forward(logp, torch.zeros_like(logp) if entropy is None else entropy, value)


def _steps(rows: Sequence[Sequence[Mapping[str, Any]]]) -> Steps:
    shape = (len(rows), max(1, *map(len, rows)))
    steps = Steps(
        end=torch.zeros(shape, dtype=torch.long),
        reward=torch.zeros(shape, dtype=torch.float64),
        mask=torch.zeros(shape, dtype=torch.float64),
    )
    for i, row in enumerate(rows):
        for j, step in enumerate(row):
            steps.end[i, j], steps.reward[i, j], steps.mask[i, j] = step["end"], step["reward"], 1
    return steps
