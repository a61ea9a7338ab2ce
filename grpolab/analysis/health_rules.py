"""The rules of `health`: each looks at one thing that goes wrong and says so, or None."""

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
    MORE_LEASH,
    MORE_PROMPTS,
    ONE_PASS,
    WARMER,
    Candidate,
    above,
    absent,
    below,
    beyond_float32,
    scaled,
    values,
    whole,
)
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

WINDOW = 300
"""Steps that are looked back on; the first few are looked at besides."""

FIRST = 3

Level = Literal["bad", "warn", "note"]


@dataclass(frozen=True)
class Finding:
    """What a rule found: before it is known which settings the lane has."""

    name: str
    level: Level
    title: str
    cause: str
    metric: str  # the curve that shows it
    evidence: tuple[tuple[str, float], ...]
    candidates: tuple[Candidate, ...]
    sure: bool = False  # said at once: it is not drawn from numbers that waver from step to step


class Record:
    """What the rules may look at: a lane's steps up to one of them."""

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

    def raw(self, metric: str, after: int = 0) -> Sequence[float]:
        """What the newest steps after one of them measured, be it no number; the newest last."""
        return self.lane.steps.between(metric, max(after, self.step - WINDOW), self.step)

    def series(self, metric: str, after: int = 0) -> list[float]:
        """The same without what is not finite."""
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


GROUPED = frozenset({
    "rloo", "opo", "reinforce++-baseline", "grpo", "grpo-iterative", "dr-grpo",
    "dapo", "gspo", "gspo-token", "cispo", "gmpo", "sapo", "kimi-md", "maxrl",
})  # fmt: skip
"""Algorithms to which a group of equal rewards says nothing: the group is its own baseline."""

SOLVED = 0.85
"""Share of right answers from which equal rewards mean that nothing is left to learn."""


def numbers(r: Record) -> Finding | None:
    """Updates without a finite gradient, or numbers that are none, in the last 20 steps."""
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
        "The gradient was NaN or infinite, so these updates were left out and taught nothing: "
        "mostly a ratio or a KL that grew beyond what a number can hold.",
        "grad_norm" if "grad_norm" in broken or not broken else broken[0], tuple(evidence),
        (LESS_RATE, Candidate("dual_clip", absent(3.0), "bounds what one blamed token can do"),
         Candidate("clip_high", absent(0.2), "bounds the ratio above"), ONE_PASS,
         Candidate("train.max_grad_norm", scaled(1 / 3), "smaller steps")),
        sure=True,
    )  # fmt: skip


def falling(r: Record) -> Finding | None:
    """The reward, or the held-out accuracy, well below what it was."""
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
            drop += [("held-out best", top.accuracy), ("held-out now", end.accuracy)]
            half = half or end.accuracy < top.accuracy / 2
    if not drop:
        return None
    return Finding(
        "reward-falling", "bad" if half else "warn", "The policy is getting worse",
        "It has left what it was good at: mostly steps that are too large, or too many updates "
        "from one rollout.",
        "reward" if drop[0][0].startswith("reward") else "held-out accuracy", tuple(drop),
        (LESS_RATE, MORE_LEASH, ONE_PASS, MORE_PROMPTS), sure="held-out now" in dict(drop),
    )  # fmt: skip


def entropy(r: Record) -> Finding | None:
    """Entropy gone while there was still something to learn, and nothing is learned any more."""
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
        "The policy has become sure of its answers before they were right, so all answers of a "
        "group are alike and nothing better is ever tried.",
        "entropy", (("entropy at first", start), ("entropy now", now), *_told(accuracy)),
        (Candidate("entropy_bonus", absent(0.01), "pays for staying undecided"),
         Candidate("clip_high", lambda now, _: round(now * 1.4, 4) if now else None,
                   "lets rare tokens rise further"),
         MORE_LEASH, WARMER, LESS_RATE),
    )  # fmt: skip


def kl(r: Record) -> Finding | None:
    """The KL to the reference bends upwards."""
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
        return None  # there is nothing left to go for
    return Finding(
        "kl-accelerating", "bad" if c > 0.5 else "warn", "The KL is accelerating",
        "Each step leads further from the reference than the one before: the policy is running "
        "away from what it could do at its start.",
        "kl_ref", (("KL now", c), ("its last rise", after), ("the rise before", before)),
        (MORE_LEASH, LESS_RATE, ONE_PASS),
    )  # fmt: skip


def clip(r: Record) -> Finding | None:
    """The clip holds many tokens back, nearly all on one side."""
    high, low = (r.recent(f"clip_fraction_{s}", after=r.switched) for s in ("high", "low"))
    if high is None or low is None or max(high, low) < 0.15:
        return None
    if max(high, low) < 3 * min(high, low):
        return None
    up = high > low
    side, word, way = ("high", "praised", "up") if up else ("low", "blamed", "down")
    wider = Candidate(
        f"clip_{side}", lambda now, _: min(float(f"{now * 1.5:.2g}"), 1.0) if now else None,
        f"lets {word} tokens go further {way}",
    )  # fmt: skip
    return Finding(
        "clip-saturated", "warn", f"The clip is saturated on the {side} side",
        f"Many {word} tokens have moved as far {way} as one rollout allows and get no gradient "
        "any more, while the other side goes on: the updates are lopsided.",
        f"clip_fraction_{side}", (("clipped high", high), ("clipped low", low)),
        (wider, ONE_PASS, LESS_RATE),
    )  # fmt: skip


def groups(r: Record) -> Finding | None:
    """Groups, or whole rollouts, in which all rewards are equal."""
    grouped = r.algorithm in GROUPED or r.settings.get("advantage") == "group"
    dead, accuracy = r.recent("zero_std_groups"), r.recent("accuracy")
    spread = r.recent("reward_std")
    if dead is None or (dead < 0.5 if grouped else spread is None or spread > 1e-9):
        return None
    evidence = (("share of groups", dead), *_told(accuracy))
    more = Candidate("resample", below(3), "replaces groups without a signal by other prompts")
    tries = (more, Candidate("rollout.group_size", whole(2), "more chances that one is different"),
             WARMER, MORE_PROMPTS)  # fmt: skip
    if accuracy is not None and accuracy >= SOLVED:
        return Finding(
            "dead-groups", "note", "Most groups are all right",
            "All answers to a prompt earn the same because nearly all are right: the task is "
            "nearly solved and there is little left to learn from it.",
            "zero_std_groups", evidence, tries,
        )  # fmt: skip
    return Finding(
        "dead-groups", "bad" if dead >= 0.9 else "warn", "Most groups have equal rewards",
        "All answers to a prompt earn the same, so no answer is better than its group, every "
        "advantage there is 0, and these answers teach nothing.",
        "zero_std_groups", evidence, tries,
    )  # fmt: skip


def critic(r: Record) -> Finding | None:
    """A critic that forecasts worse than a constant would."""
    explained = r.series("explained_variance", r.switched)
    now = fmean(explained[-5:]) if len(explained) >= 8 else 0.0
    if now > -0.05:
        return None
    rate = scaled(1 / 3) if now < -1 else scaled(2.0)
    return Finding(
        "critic-worse-than-mean", "bad" if now < -1 else "warn",
        "The critic is worse than a mean",
        "Its values explain less of the returns than one constant number would, so it adds noise "
        "to the advantages instead of taking it away.",
        "explained_variance", (("explained variance", now),),
        (Candidate("train.critic_learning_rate", rate, "lets it follow the returns"),
         Candidate("gae_lambda", below(1.0), "relies on whole returns, less on the critic"),
         MORE_PROMPTS),
    )  # fmt: skip


def cut(r: Record) -> Finding | None:
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
        "They end before they say their result, so they are graded as wrong however good their "
        "way was.",
        "truncated", tuple(evidence),
        (Candidate("rollout.max_tokens", lambda n, _: -(-n * 3 // 2 // 8) * 8,
                   "room to come to an end"),
         Candidate("overlong_buffer", absent(0.2), "long answers cost a little, before the cut"),
         COOLER, MORE_PROMPTS),
    )  # fmt: skip


def sampler(r: Record) -> Finding | None:
    """Sampler and trainer disagree about what the policy is."""
    gap = r.recent("sampler_gap")
    if gap is None or gap < 0.02:
        return None
    return Finding(
        "sampler-gap", "bad" if gap > 0.1 else "warn", "Sampler and trainer disagree",
        "The log-probs that the sampler gave its tokens are not the trainer's, so ratios are off "
        "before the first update: another precision, or top-p that cut the distribution.",
        "sampler_gap", (("mean gap in nats", gap),),
        (Candidate("rollout.top_p", below(1.0), "the whole distribution is sampled"),
         Candidate("tis_cap", absent(2.0), "weighs tokens by the gap, up to this"),
         Candidate("model.compute", beyond_float32, "the sampler's products in full precision"),
         LESS_RATE, ONE_PASS),
    )  # fmt: skip


def gradient(r: Record) -> Finding | None:
    """Every gradient is scaled down, and by far."""
    share = r.series("updates_clipped", r.switched)[-20:]
    norms, most = r.series("grad_norm", r.switched)[-20:], r.known.get("train.max_grad_norm")
    if len(share) < 10 or fmean(share) < 0.99 or not isinstance(most, int | float):
        return None
    if not norms or median(norms) < 3 * most:
        return None
    return Finding(
        "gradient-always-clipped", "note", "Every gradient is scaled down",
        "Each is far longer than max_grad_norm allows, so all updates have one length: a noisy "
        "rollout counts as much as a clear one.",
        "grad_norm", (("median norm", median(norms)), ("max_grad_norm", float(most))),
        (Candidate("train.max_grad_norm", lambda now, _: max(float(f"{median(norms):.1g}"), now),
                   "about the usual norm: only outliers are scaled"),
         MORE_PROMPTS, Candidate("train.minibatches", above(1), "gradients of the whole rollout")),
    )  # fmt: skip


Rule = Callable[[Record], Finding | None]
RULES: tuple[Rule, ...] = (
    numbers, falling, entropy, kl, clip, groups, critic, cut, sampler, gradient,
)  # fmt: skip


def rising(r: Record) -> bool:
    """Whether the reward still rises, beyond its noise, over the last 16 steps."""
    return (change := trend(r)) is not None and change[0] > change[1]


def trend(r: Record) -> tuple[float, float] | None:
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


def _told(accuracy: float | None) -> tuple[tuple[str, float], ...]:
    return () if accuracy is None else (("accuracy", accuracy),)
