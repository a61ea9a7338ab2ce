"""Why the loss is what it is, and whether anything is learned: the terms of a step's loss,
explained. Pure functions over the state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from grpolab.analysis.health_rules import Evidence, trend

TERMS = {
    "policy_loss": "the surrogate: increases and decreases probabilities",
    "kl_loss": "β times the KL to reference",
    "value_loss": "the critic's squared error",
    "entropy_loss": "minus the entropy bonus",
    "imitation_loss": "likelihood of right answers",
}
"""The terms of the loss, as steps record them."""

FACTS = (
    ("policy_loss_first", "policy term at the first update, where every ratio is 1"),
    ("advantage_sum", "Σ Â over the answers"),
    ("advantage_mean", "mean Â of a token"),
    ("advantage_std", "standard deviation of Â over the tokens"),
    ("grad_norm", "‖g‖, norm of the last update's gradient"),
    ("zero_std_groups", "share of groups of zero variance"),
    ("updates_skipped", "updates skipped: no finite gradient"),
    ("learning_rate", "learning rate"),
)


@dataclass(frozen=True)
class Term:
    name: str
    value: float
    meaning: str


def terms(metrics: Mapping[str, float]) -> list[Term]:
    """The terms of the last update's loss; they add up to `loss`."""
    return [Term(k, metrics[k], meaning) for k, meaning in TERMS.items() if k in metrics]


def facts(metrics: Mapping[str, float]) -> list[Term]:
    """The other numbers that show whether there is a gradient to learn from."""
    return [Term(k, metrics[k], meaning) for k, meaning in FACTS if k in metrics]


def paragraphs(r: Evidence) -> list[str]:
    """What these numbers mean, one paragraph for each. Empty before the first step."""
    if r.last is None:
        return []
    m = r.metrics
    out = [_loss(r, m), _gradient(r, m), _variance(r, m), _other_terms(m), _progress(r)]
    return [text for text in out if text]


def _loss(r: Evidence, m: Mapping[str, float]) -> str:
    first, spread = m.get("policy_loss_first", m.get("policy_loss")), m.get("advantage_std")
    if "policy_loss" not in m:
        return (
            "In this step only the critic learns (critic warm-up), so the loss is the critic's "
            "alone."
        )
    if first is None or spread is None:
        return ""
    if abs(first) > max(0.05 * spread, 1e-3):
        if abs(first + m.get("advantage_mean", math.nan)) <= 0.05 * max(spread, 1e-9):
            return (
                "At the first update every ratio is 1, so the policy term is minus the mean "
                "advantage; it is not 0 because these advantages do not add up to 0."
            )
        return (
            "The policy term is not 0 here because it weighs log π, or sums over tokens, instead "
            "of averaging ratios. Its size still says nothing about progress: only its gradient "
            "counts."
        )
    if r.grouped:
        why = "each answer is compared with its own group, so the advantages add up to 0"
    elif r.settings.get("whiten"):
        why = "advantages are shifted to mean 0 over the batch"
    else:
        why = "answers are compared with the batch mean"
    return (
        f"The policy term is 0 by construction: at the first update every ratio ρ is 1, so it is "
        f"minus the mean advantage, and {why}. It differs from 0 only as far as later updates of "
        "the same rollout move the ratios."
    )


def _gradient(r: Evidence, m: Mapping[str, float]) -> str:
    norm = m.get("grad_norm")
    if norm is None:
        return ""
    if not math.isfinite(norm):
        return "The gradient was not finite, so this update was skipped."
    if norm == 0:
        if m.get("zero_std_groups", 0) >= 1:
            return "The gradient is 0: all groups have zero variance, so every advantage is 0."
        return "The gradient is 0: this step changed nothing."
    rate = m.get("learning_rate")
    small = " The learning rate is 0, so nothing changes." if rate == 0 else ""
    return (
        f"The gradient is not 0: ‖g‖ = {norm:.3g}. Reinforced answers increase the probability of "
        "their tokens, penalized ones decrease it; these cancel in the sum of losses, not in the "
        f"parameters, since they are different tokens.{small}"
    )


def _variance(r: Evidence, m: Mapping[str, float]) -> str:
    equal = m.get("zero_std_groups")
    if equal is None:
        return ""
    if equal == 0:
        return "Every group has better and worse answers, so each of them gives a gradient."
    if not r.grouped:
        return (
            f"{equal:.0%} of the groups have zero variance; {r.algorithm} does not compare whole "
            "answers within a group, so they still give a gradient."
        )
    rest = "No group gives a gradient." if equal >= 1 else "Only the others give a gradient."
    return f"{equal:.0%} of the groups have zero variance: their advantages are 0. {rest}"


def _other_terms(m: Mapping[str, float]) -> str:
    found = [t for t in terms(m) if t.name != "policy_loss" and math.isfinite(t.value)]
    loss = m.get("loss", 0.0)
    if not found or not math.isfinite(loss):
        return ""
    largest = max(found, key=lambda t: abs(t.value))
    if abs(largest.value) <= abs(m.get("policy_loss", 0.0)):
        return ""
    return f"What the loss shows is mostly {largest.name} = {largest.value:.3g}: {largest.meaning}."


def _progress(r: Evidence) -> str:
    """Whether the reward changes: what to look at instead of the loss."""
    change = trend(r)
    if change is None:
        return "Look at the reward and the test accuracy instead; it is too early to tell."
    by, noise = change
    many = min(16, len(r.series("reward")))
    if by > 2 * noise:
        verdict = f"rose by {by:.3g}, clearly more than noise (± {noise:.2g}): it is learning"
    elif by < -2 * noise:
        verdict = f"fell by {-by:.3g}, clearly more than noise (± {noise:.2g}): it is getting worse"
    else:
        verdict = f"changed by {by:+.3g}, no more than noise (± {noise:.2g})"
    return f"Look at the reward instead: over the last {many} steps it {verdict}."
