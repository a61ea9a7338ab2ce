"""The rules of `health`: each checks a lane's numbers for one problem and returns a Finding with
title and cause, or None. When a finding is shown is decided in `health`; suggestions that several
rules make are in `health_suggestions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median, stdev
from typing import Any, Literal

from grpolab.analysis.health_suggestions import (
    COOLER,
    LESS_RATE,
    MORE_KL_PENALTY,
    MORE_PROMPTS,
    ONE_PASS,
    WARMER,
    Candidate,
    above,
    absent,
    below,
    full_precision,
    scaled,
    values,
    whole,
)
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

WINDOW = 300
"""Steps that a rule looks back on."""

FIRST = 3
"""Steps at the start of a run that newer ones are compared with."""

Level = Literal["bad", "warn", "note"]


@dataclass(frozen=True)
class Finding:
    """What a rule found. `candidates` are settings to try, if the lane has them."""

    name: str
    level: Level
    title: str
    cause: str
    metric: str  # the curve that shows it
    evidence: tuple[tuple[str, float], ...]
    candidates: tuple[Candidate, ...]
    sure: bool = False  # reported at once: it does not rest on numbers that vary from step to step


class Evidence:
    """What the rules read: a lane's steps up to one of them."""

    def __init__(self, state: LabState, lane: LaneState, at: int | None = None) -> None:
        self.state, self.lane = state, lane
        self.last = lane.last if at is None else lane.steps.upto(at)
        self.step = self.last.step if self.last else 0
        self.metrics = self.last.metrics if self.last else {}
        self.evals = [e for e in lane.evals if e.step <= self.step]
        self.algorithm, _, self.settings = lane.in_force(self.step)
        self.switched = max((s.step for s in lane.switches if s.step < self.step), default=0)
        task = [
            c.step
            for c in lane.changes
            if c.key.startswith(("task.", "rewards.")) and c.step < self.step
        ]
        self.task_changed = max(task, default=0)

    @cached_property
    def known(self) -> dict[str, Any]:
        """Every setting that the step was computed with."""
        return values(self.state, self.lane, self.step)

    @cached_property
    def grouped(self) -> bool:
        """Whether the baseline is the group, so that equal rewards give no gradient."""
        from grpolab.algorithms import ALGORITHMS  # with pydantic: no first frame waits for it

        known = ALGORITHMS.get(self.algorithm)  # None: recorded by code that had other algorithms
        group = known is not None and known.group_baseline
        return group or self.settings.get("advantage") == "group"  # a setting of trpo

    def raw(self, metric: str, after: int = 0) -> Sequence[float]:
        """What the newest steps after step `after` measured, NaN included; the newest last."""
        return self.lane.steps.between(metric, max(after, self.step - WINDOW), self.step)

    def series(self, metric: str, after: int = 0) -> list[float]:
        """The finite values of `raw`."""
        return [x for x in self.raw(metric, after) if math.isfinite(x)]

    def recent(self, metric: str, count: int = 5, least: int = 3, after: int = 0) -> float | None:
        """Mean of the newest few values; None where there are fewer than `least`."""
        found = self.series(metric, after)[-count:]
        return fmean(found) if len(found) >= least else None

    def early(self, metric: str) -> float | None:
        """Mean over the first steps that measured it."""
        found = self.lane.steps.between(metric, -1, self.step, FIRST)
        first = [x for x in found if math.isfinite(x)]
        return fmean(first) if first else None


SOLVED = 0.85
"""Accuracy from which equal rewards mean that the task is nearly solved."""


def numbers(r: Evidence) -> Finding | None:
    """Updates without a finite gradient, or NaN or infinity in a metric, in the last 20 steps."""
    since = r.step - 20
    skipped = sum(r.series("updates_skipped", since))
    watched = ("loss", "grad_norm", "policy_loss", "kl_ref", "ratio_max", "entropy")
    broken = [k for k in watched if not all(map(math.isfinite, r.raw(k, since)))]
    if not skipped and not broken:
        return None
    evidence = [("updates_skipped", skipped)] if skipped else []
    evidence += [(k, next(x for x in r.raw(k, since) if not math.isfinite(x))) for k in broken]
    return Finding(
        "nan-skipped", "bad", "Updates without a finite gradient",
        "The gradient was NaN or infinite, so these updates were skipped. The usual cause is a "
        "ratio or a KL that overflowed.",
        "grad_norm" if "grad_norm" in broken or not broken else broken[0], tuple(evidence),
        (LESS_RATE, Candidate("dual_clip", absent(3.0), "bounds the loss of one penalized token"),
         Candidate("clip_high", absent(0.2), "bounds the ratio from above"), ONE_PASS,
         Candidate("train.max_grad_norm", scaled(1 / 3), "smaller steps")),
        sure=True,
    )  # fmt: skip


def falling(r: Evidence) -> Finding | None:
    """The reward, or the test accuracy, well below its best."""
    found = r.series("reward", r.task_changed)
    k = max(3, min(10, len(found) // 4))
    evals = [e for e in r.evals if e.step >= r.task_changed]
    drop: list[tuple[str, float]] = []
    half = False
    if len(found) >= max(12, 2 * k):
        now, before = found[-k:], found[: len(found) - k]
        means = [fmean(before[i : i + k]) for i in range(len(before) - k + 1)]
        at = max(range(len(means)), key=means.__getitem__)
        best, last = means[at], fmean(now)
        noise = math.hypot(_error(before[at : at + k]), _error(now))
        if best - last > max(3 * noise, 0.1 * abs(best), 1e-6):
            drop += [("reward best", best), ("reward now", last)]
            half = last < best / 2
    if len(evals) > 1:
        top, end = max(evals, key=lambda e: e.accuracy), evals[-1]
        noise = 3 * math.sqrt(0.5 / max(1, end.prompts))
        if top.accuracy - end.accuracy > max(0.1, noise):
            drop += [("test accuracy best", top.accuracy), ("test accuracy now", end.accuracy)]
            half = half or end.accuracy < top.accuracy / 2
    if not drop:
        return None
    return Finding(
        "reward-falling", "bad" if half else "warn", "The policy is getting worse",
        "Reward or accuracy dropped below its best. The usual cause is too large a learning rate, "
        "or too many updates per rollout.",
        "reward" if drop[0][0].startswith("reward") else "test accuracy", tuple(drop),
        (LESS_RATE, MORE_KL_PENALTY, ONE_PASS, MORE_PROMPTS),
        sure="test accuracy now" in dict(drop),
    )  # fmt: skip


def entropy(r: Evidence) -> Finding | None:
    """Entropy near 0 while accuracy is low and the reward no longer rises."""
    start, now = r.early("entropy"), r.recent("entropy")
    accuracy = r.recent("accuracy")
    if start is None or now is None or len(r.series("entropy")) < 10 or start <= 0:
        return None
    if now > 0.35 * start or (accuracy is not None and accuracy >= SOLVED) or rising(r):
        return None
    if (alike := r.recent("zero_std_groups")) is not None and alike < 0.4:
        return None
    return Finding(
        "entropy-collapsing", "bad" if now < 0.1 * start else "warn", "Entropy is collapsing",
        "The policy became certain of its answers before they were right: the answers of a group "
        "are nearly identical, so better ones are no longer explored.",
        "entropy", (("entropy at first", start), ("entropy now", now), *_with(accuracy)),
        (Candidate("entropy_bonus", absent(0.01), "rewards a higher entropy"),
         Candidate("clip_high", lambda now, _: round(now * 1.4, 4) if now else None,
                   "lets the probability of rare tokens increase further"),
         MORE_KL_PENALTY, WARMER, LESS_RATE),
    )  # fmt: skip


def kl(r: Evidence) -> Finding | None:
    """The KL to the reference grows faster and faster."""
    found = r.series("kl_ref")[-12:]
    if len(found) < 9:
        return None
    third = len(found) // 3
    a, b, c = (fmean(found[len(found) - n * third :][:third]) for n in (3, 2, 1))
    before, after = b - a, c - b
    if c < 0.1 or after < 0.01 or after <= 2 * before or after < 0.25 * c:
        return None
    accuracy = r.recent("accuracy")
    if c <= 0.5 and accuracy is not None and accuracy >= SOLVED:
        return None  # nearly solved
    return Finding(
        "kl-accelerating", "bad" if c > 0.5 else "warn", "The KL to the reference is accelerating",
        "Each step moves the policy further from the reference than the step before.",
        "kl_ref", (("KL now", c), ("last increase", after), ("increase before", before)),
        (MORE_KL_PENALTY, LESS_RATE, ONE_PASS),
    )  # fmt: skip


def clip(r: Evidence) -> Finding | None:
    """Many tokens are clipped, nearly all on one side."""
    high, low = (r.recent(f"clip_fraction_{s}", after=r.switched) for s in ("high", "low"))
    if high is None or low is None or max(high, low) < 0.15:
        return None
    if max(high, low) < 3 * min(high, low):
        return None
    up = high > low
    side, name = ("high", "upper") if up else ("low", "lower")
    word, way = ("reinforced", "up") if up else ("penalized", "down")
    wider = Candidate(
        f"clip_{side}", lambda now, _: min(float(f"{now * 1.5:.2g}"), 1.0) if now else None,
        f"lets the ratio of {word} tokens go further {way}",
    )  # fmt: skip
    return Finding(
        "clip-saturated", "warn", f"Many tokens are clipped at the {name} bound",
        f"The ratio of many {word} tokens reached the {name} bound, so they get no gradient, while "
        "few tokens are clipped at the other bound: the updates are one-sided.",
        f"clip_fraction_{side}", (("clipped high", high), ("clipped low", low)),
        (wider, ONE_PASS, LESS_RATE),
    )  # fmt: skip


def groups(r: Evidence) -> Finding | None:
    """Groups of zero variance, or whole rollouts in which all rewards are equal."""
    equal, accuracy = r.recent("zero_std_groups"), r.recent("accuracy")
    spread = r.recent("reward_std")
    if equal is None or (equal < 0.5 if r.grouped else spread is None or spread > 1e-9):
        return None
    evidence = (("share of groups", equal), *_with(accuracy))
    more = Candidate("resample", below(3), "replaces groups of zero variance by other prompts")
    tries = (more, Candidate("rollout.group_size", whole(2), "makes equal rewards less probable"),
             WARMER, MORE_PROMPTS)  # fmt: skip
    if accuracy is not None and accuracy >= SOLVED:
        return Finding(
            "dead-groups", "note", "Most groups are entirely right",
            "All answers to a prompt get the same reward because nearly all are right: the task is "
            "nearly solved, and little gradient is left.",
            "zero_std_groups", evidence, tries,
        )  # fmt: skip
    return Finding(
        "dead-groups", "bad" if equal >= 0.9 else "warn", "Most groups have zero variance",
        "All answers to a prompt get the same reward, so every advantage in the group is 0 and "
        "these answers give no gradient.",
        "zero_std_groups", evidence, tries,
    )  # fmt: skip


def critic(r: Evidence) -> Finding | None:
    """A critic that predicts returns worse than a constant would."""
    explained = r.series("explained_variance", r.switched)
    now = fmean(explained[-5:]) if len(explained) >= 8 else 0.0
    if now > -0.05:
        return None
    rate = scaled(1 / 3) if now < -1 else scaled(2.0)
    return Finding(
        "critic-worse-than-mean", "bad" if now < -1 else "warn",
        "The critic is worse than a constant",
        "Its values predict the returns worse than their mean would, so it adds variance to the "
        "advantages instead of reducing it.",
        "explained_variance", (("explained variance", now),),
        (Candidate("train.critic_learning_rate", rate, "lets it follow the returns"),
         Candidate("gae_lambda", below(1.0), "relies more on returns, less on the critic"),
         MORE_PROMPTS),
    )  # fmt: skip


def cut(r: Evidence) -> Finding | None:
    """Answers that reached max_tokens."""
    share = r.recent("truncated")
    if share is None or share < 0.1:
        return None
    length = r.recent("length")
    most = r.known.get("rollout.max_tokens")
    evidence = [("share cut", share)]
    evidence += [("mean length", length)] if length is not None else []
    evidence += [("max_tokens", float(most))] if isinstance(most, int) else []
    return Finding(
        "answers-cut", "bad" if share >= 0.5 else "warn", "Answers are cut at max_tokens",
        "They end before they state a result, so they are graded as wrong even if the reasoning "
        "is right.",
        "truncated", tuple(evidence),
        (Candidate("rollout.max_tokens", lambda n, _: -(-n * 3 // 2 // 8) * 8,
                   "room to finish"),
         Candidate("overlong_buffer", absent(0.2), "penalizes long answers gradually"),
         COOLER, MORE_PROMPTS),
    )  # fmt: skip


def sampler(r: Evidence) -> Finding | None:
    """The log-probs of the sampler differ from the trainer's."""
    gap = r.recent("sampler_gap")
    if gap is None or gap < 0.02:
        return None
    return Finding(
        "sampler-gap", "bad" if gap > 0.1 else "warn", "Training–inference mismatch",
        "The sampler's log-probs of its tokens differ from the trainer's, so ratios are not 1 "
        "before the first update: another precision, or top-p that truncates the distribution.",
        "sampler_gap", (("mean difference in nats", gap),),
        (Candidate("rollout.top_p", below(1.0), "samples from the whole distribution"),
         Candidate("tis_cap", absent(2.0), "truncated importance weights for the mismatch"),
         Candidate("model.compute", full_precision, "sampling in full precision"),
         LESS_RATE, ONE_PASS),
    )  # fmt: skip


def gradient(r: Evidence) -> Finding | None:
    """Gradient clipping on every update, by a large factor."""
    share = r.series("updates_clipped", r.switched)[-20:]
    norms, most = r.series("grad_norm", r.switched)[-20:], r.known.get("train.max_grad_norm")
    if len(share) < 10 or fmean(share) < 0.99 or not isinstance(most, int | float):
        return None
    if not norms or median(norms) < 3 * most:
        return None
    return Finding(
        "gradient-always-clipped", "note", "Gradient clipping on every update",
        "Every gradient norm is far above max_grad_norm, so all updates have the same length: a "
        "noisy rollout counts as much as an informative one.",
        "grad_norm", (("median norm", median(norms)), ("max_grad_norm", float(most))),
        (Candidate("train.max_grad_norm", lambda now, _: max(float(f"{median(norms):.1g}"), now),
                   "about the median norm: only outliers are clipped"),
         MORE_PROMPTS, Candidate("train.minibatches", above(1), "one update per pass: less noise")),
    )  # fmt: skip


Rule = Callable[[Evidence], Finding | None]
RULES: tuple[Rule, ...] = (
    numbers, falling, entropy, kl, clip, groups, critic, cut, sampler, gradient,
)  # fmt: skip


def rising(r: Evidence) -> bool:
    """Whether the reward rises by more than its standard error over the last 16 steps."""
    return (change := trend(r)) is not None and change[0] > change[1]


def trend(r: Evidence) -> tuple[float, float] | None:
    """How the reward changed from the first half of the last 16 steps to the second, and the
    standard error of that; None where there are fewer than 8 steps."""
    found = r.series("reward")[-16:]
    if len(found) < 8:
        return None
    half = len(found) // 2
    before, now = found[:half], found[half:]
    return fmean(now) - fmean(before), math.hypot(_error(before), _error(now))


def _error(values: list[float]) -> float:
    """Standard error of the mean."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _with(accuracy: float | None) -> tuple[tuple[str, float], ...]:
    return () if accuracy is None else (("accuracy", accuracy),)
