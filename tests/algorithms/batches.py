"""Ragged batches in float64 for tests of the algorithms, the gradients of a loss per token, and a
`Policy` whose parameters are the log-probs themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Algorithm, Batch, BatchTotals, Credit, Forward
from grpolab.algorithms.types import LossOf, Measured, Microbatch, Steps

NAMES = list(ALGORITHMS)
MAX_TOKENS = 16
WIDEST = 64
"""Noise is drawn at this width, so that padding does not change the tokens."""

# compared with the group mean, so that a group of equal rewards says nothing
GROUP_BASELINE = [
    "rloo", "opo", "reinforce++-baseline", "trpo", "grpo", "grpo-process", "grpo-iterative",
    "dr-grpo", "dapo", "gspo", "gspo-token", "cispo", "gmpo", "sapo", "kimi-md", "maxrl",
]  # fmt: skip
CRITIC = ["trpo", "ppo-kl", "ppo-adaptive-kl", "ppo", "vc-ppo", "vapo"]


def make_batch(
    lengths: list[int],
    group: list[int],
    reward: list[float],
    *,
    seed: int = 0,
    width: int | None = None,
    max_tokens: int = MAX_TOKENS,
) -> Batch:
    """A batch with everything that any algorithm may ask for. Every tensor has its own noise, so
    none is an accident of another."""
    g = torch.Generator().manual_seed(seed)
    n, t = len(lengths), width or max(lengths)
    mask = (torch.arange(t) < torch.tensor(lengths)[:, None]).double()

    def noise(scale: float) -> Tensor:
        return (torch.randn(n, WIDEST, generator=g, dtype=torch.float64)[:, :t] * scale) * mask

    old = -noise(1.0).abs() * mask
    ref, value = (old + noise(0.3)) * mask, noise(0.5)
    entropy, sampler = noise(1.0).abs(), (old + noise(0.2)) * mask
    greedy = torch.randn(max(group) + 1, generator=g, dtype=torch.float64)
    return Batch(
        mask=mask, group=torch.tensor(group), reward=torch.tensor(reward, dtype=torch.float64),
        old_logp=old, ref_logp=ref, value=value, max_tokens=max_tokens,
        greedy_reward=greedy[torch.tensor(group)], steps=random_steps(lengths, seed),
        entropy=entropy, sampler_logp=sampler,
    )  # fmt: skip


def random_steps(lengths: list[int], seed: int) -> Steps:
    """One to three graded steps a row, not always to its end."""
    rng = Random(seed)
    rows = [
        [(end, rng.choice((0.0, 0.5, 1.0))) for end in sorted(rng.sample(range(n), min(n, 3)))]
        for n in lengths
    ]
    rows = [row[: rng.randint(1, len(row))] for row in rows]
    return steps_of(rows)


def steps_of(rows: Sequence[Sequence[tuple[int, float]]]) -> Steps:
    """(end, reward) of every row, padded."""
    size = max(len(row) for row in rows)
    end = [[e for e, _ in row] + [0] * (size - len(row)) for row in rows]
    reward = [[r for _, r in row] + [9.0] * (size - len(row)) for row in rows]
    mask = [[1.0] * len(row) + [0.0] * (size - len(row)) for row in rows]
    return Steps(
        torch.tensor(end),
        torch.tensor(reward, dtype=torch.float64),
        torch.tensor(mask, dtype=torch.float64),
    )


def with_equal_steps(batch: Batch, reward: float) -> Batch:
    """Every step of every answer worth the same."""
    assert batch.steps is not None
    return replace(batch, steps=replace(batch.steps, reward=batch.steps.reward * 0 + reward))


def current(batch: Batch, *, drift: float = 0.0, seed: int = 1) -> Forward:
    """The policy now: `drift` is the spread of its log ratios. Everything is a leaf."""
    g = torch.Generator().manual_seed(seed)
    t = batch.mask.shape[1]
    noise = torch.randn(3, len(batch.mask), WIDEST, generator=g, dtype=torch.float64)[..., :t]
    step = noise * batch.mask
    assert batch.value is not None
    return Forward(
        logp=(batch.old_logp + drift * step[0]).requires_grad_(),
        entropy=step[1].abs().requires_grad_(),
        value=(batch.value + 0.5 * drift * step[2]).requires_grad_(),
    )


def whole_of(batch: Batch) -> BatchTotals:
    return BatchTotals(len(batch.mask), int(batch.mask.sum()), batch.max_tokens)


def make(name: str, **settings: Any) -> Algorithm:
    cls = ALGORITHMS[name]
    return cls(cls.Settings(**settings))


def make_groupwise(name: str, **settings: Any) -> Algorithm:
    """An algorithm of GROUP_BASELINE without a KL; where a critic is the default, without it."""
    settings = {"advantage": "group"} | settings if name == "trpo" else settings
    return make(name, **({"beta": 0.0} | settings))


def loss_and_gradient(
    algorithm: Algorithm, batch: Batch, now: Forward, credit: Credit | None = None
) -> tuple[float, Tensor]:
    """The loss, and ∂loss/∂log-prob of every token [N, T]."""
    loss = algorithm.loss(batch, credit or algorithm.credit(batch), now, whole_of(batch)).total
    (gradient,) = torch.autograd.grad(loss, [now.logp], retain_graph=True)
    return loss.item(), gradient


def advantage(algorithm: Algorithm, batch: Batch) -> list[float]:
    """The advantage of each row's first token."""
    return algorithm.credit(batch).advantage[:, 0].tolist()


# ---------------------------------------------------------------- settings that combine


def takes(name: str, settings: dict[str, Any]) -> bool:
    """Whether the algorithm has these settings and they make sense for it."""
    if not settings.keys() <= ALGORITHMS[name].Settings.model_fields.keys():
        return False
    own_kl = name in ("ppo-kl", "ppo-adaptive-kl")  # KL(old‖new), in the loss alone
    return not own_kl or (
        settings.get("kl_place") != "reward" and settings.get("kl_estimator") != "unbiased"
    )


ORTHOGONAL: list[dict[str, Any]] = [
    {},
    *(
        {"beta": 0.3, "kl_place": place, "kl_estimator": estimator}
        for place in ("loss", "reward")
        for estimator in ("k1", "k2", "k3", "unbiased")
    ),
    {"dual_clip": 1.1},
    {"clip_low": None},
    {"clip_high": None},
    {"tis_cap": 1.1},
    {"top_entropy": 0.4},
    {"overlong_buffer": 0.9, "overlong_penalty": 0.7},
    {"entropy_bonus": 0.2},
    *(
        {"aggregation": how}
        for how in (
            *("token-mean", "seq-mean-token-mean", "seq-mean-token-sum"),
            "seq-mean-token-sum-norm",
        )
    ),
    {"beta": 0.2, "kl_place": "loss", "kl_estimator": "k3", "tis_cap": 1.2, "top_entropy": 0.5}
    | {"overlong_buffer": 0.8, "entropy_bonus": 0.1},
    {"beta": 0.2, "kl_place": "reward", "kl_estimator": "k1", "tis_cap": 1.2, "top_entropy": 0.5}
    | {"overlong_buffer": 0.8, "entropy_bonus": 0.1},
]


def combinations(name: str) -> list[dict[str, Any]]:
    return [settings for settings in ORTHOGONAL if takes(name, settings)]


TELLING = ["reinforce", "reinforce++", "ppo-kl", "ppo", "grpo", "grpo-process", "gspo", "vapo"]
"""Algorithms of every kind of credit and of ratio. What a setting does that others have too is
shown with these, and slowly with all."""


def name_and_settings(*, keep: Callable[[dict[str, Any]], bool] = lambda settings: True) -> Any:
    """Every algorithm with its combinations. Those that are not telling have their defaults and all
    settings at once; one by one, they are slow."""
    cases = []
    for name in NAMES:
        every = [settings for settings in combinations(name) if keep(settings)]
        if name in TELLING:
            cases.append(pytest.param(name, every, id=name))
            continue
        few = [settings for settings in every if not settings or len(settings) > 4]
        rest = [settings for settings in every if settings not in few]
        cases.append(pytest.param(name, few, id=name))
        if rest:
            cases.append(pytest.param(name, rest, id=f"{name}-rest", marks=pytest.mark.slow))
    return pytest.mark.parametrize(("name", "every"), cases)


# ---------------------------------------------------------------- a policy to run an update on


class Tape:
    """A `Policy` whose parameters are the log-probs, entropies and values of one rollout. It never
    moves; `gradients` keeps what each optimizer step would have been made from [3, N, T]."""

    def __init__(self, batch: Batch, now: Forward, splits: Sequence[Sequence[Sequence[int]]]):
        self.batch, self.now, self.splits = batch, now, splits
        self.sum = torch.zeros(3, *batch.mask.shape, dtype=torch.float64)
        self.gradients: list[Tensor] = []

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        for pieces in self.splits:
            yield [torch.tensor(rows) for rows in pieces]

    def accumulate(
        self, pieces: Sequence[Tensor], loss: LossOf, *, critic_only: bool = False
    ) -> list[Microbatch]:
        done = []
        assert self.now.value is not None
        for rows in pieces:
            width = int(self.batch.mask[rows].sum(1).max())
            leaves = [
                x[rows, :width].detach().requires_grad_()
                for x in (self.now.logp, self.now.entropy, self.now.value)
            ]
            now = Forward(*leaves)
            found = loss(rows, width, now)
            slopes = torch.autograd.grad(found.total, leaves, allow_unused=True)
            for into, slope in zip(self.sum, slopes, strict=True):
                if slope is not None:
                    into[rows, :width] += slope
            terms = {name: term.detach() for name, term in found.terms.items()}
            seen = Forward(leaves[0].detach(), leaves[1].detach(), None)
            done.append(
                Microbatch(rows, seen, replace(found, terms=terms, ratio=found.ratio.detach()))
            )
        return done

    def step(self) -> float:
        self.gradients.append(self.sum.clone())
        self.sum.zero_()
        return float(self.gradients[-1][0].norm())

    def measure(self) -> Measured:
        return Measured(self.now.logp.detach(), self.now.entropy.detach(), 0.0)

    def take_gradient(self) -> Tensor:
        """None of it, so that a natural gradient has nowhere to go."""
        return torch.zeros(1, dtype=torch.float64)
