"""Why the loss is what it is, and whether anything is learned: a step's loss taken apart, in plain
words. Pure functions over the state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from grpolab.analysis.health import Record
from grpolab.analysis.health_rules import GROUPED, trend

TERMS = {
    "policy_loss": "what pushes answers up and down",
    "kl_loss": "β times the distance from the reference",
    "value_loss": "the critic's squared error",
    "entropy_loss": "minus the price paid for staying undecided",
    "imitation_loss": "likelihood of right answers",
}
"""The addends of the loss, as steps record them."""

FACTS = (
    ("policy_loss_first", "policy term at the first update, where every ratio is 1"),
    ("advantage_sum", "Σ Â over the answers"),
    ("advantage_mean", "mean Â of a token"),
    ("advantage_std", "spread of Â over the tokens"),
    ("grad_norm", "‖g‖, length of the gradient of the last update"),
    ("zero_std_groups", "share of groups with equal rewards"),
    ("updates_skipped", "updates left out: no finite gradient"),
    ("learning_rate", "learning rate"),
)


@dataclass(frozen=True)
class Term:
    name: str
    value: float
    meaning: str


def terms(metrics: Mapping[str, float]) -> list[Term]:
    """The loss of a step's last update, taken apart; they add up to `loss`."""
    return [Term(k, metrics[k], meaning) for k, meaning in TERMS.items() if k in metrics]


def facts(metrics: Mapping[str, float]) -> list[Term]:
    """The numbers beside it that tell whether there is something to learn."""
    return [Term(k, metrics[k], meaning) for k, meaning in FACTS if k in metrics]


def words(r: Record) -> list[str]:
    """What these numbers mean, one paragraph each. Empty before the first step."""
    if r.last is None:
        return []
    m = r.metrics
    out = [_loss(r, m), _gradient(r, m), _signal(r, m), _beside(m), _progress(r)]
    return [text for text in out if text]


def _loss(r: Record, m: Mapping[str, float]) -> str:
    first, spread = m.get("policy_loss_first", m.get("policy_loss")), m.get("advantage_std")
    if "policy_loss" not in m:
        return (
            "The policy stands still in this step while its critic learns, so the loss is the "
            "critic's alone."
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
    if r.algorithm in GROUPED or r.settings.get("advantage") == "group":
        why = "an answer is measured against its own group, so praise and blame add up to 0"
    elif r.settings.get("whiten"):
        why = "advantages are shifted to mean 0 over the batch"
    else:
        why = "answers are measured against the batch's mean"
    return (
        f"The policy term is 0 by construction, not by mistake: at the first update every ratio "
        f"ρ is 1, so it is minus the mean advantage, and {why}. It leaves 0 only as far as later "
        "updates of the same rollout move the ratios."
    )


def _gradient(r: Record, m: Mapping[str, float]) -> str:
    norm = m.get("grad_norm")
    if norm is None:
        return ""
    if not math.isfinite(norm):
        return "The gradient was not a finite number, so this update was left out."
    if norm == 0:
        if m.get("zero_std_groups", 0) >= 1:
            return "The gradient is 0: all groups have equal rewards, so there is nothing to push."
        return "The gradient is 0: this step moved nothing."
    rate = m.get("learning_rate")
    small = " The learning rate is 0, so nothing moves." if rate == 0 else ""
    return (
        f"The gradient is not 0: ‖g‖ = {norm:.3g}. Praised answers pull their tokens up and "
        "blamed ones push theirs down; these cancel in the sum of losses, not in the parameters, "
        f"since they are different tokens.{small}"
    )


def _signal(r: Record, m: Mapping[str, float]) -> str:
    dead = m.get("zero_std_groups")
    if dead is None:
        return ""
    grouped = r.algorithm in GROUPED or r.settings.get("advantage") == "group"
    if dead == 0:
        return "Every group has better and worse answers, so each of them teaches something."
    if not grouped:
        return (
            f"{dead:.0%} of the groups have equal rewards; {r.algorithm} does not compare whole "
            "answers within a group, so they still teach something."
        )
    spare = "None is left to learn from." if dead >= 1 else "Only the others are learned from."
    return f"{dead:.0%} of the groups have equal rewards: their advantages are 0. {spare}"


def _beside(m: Mapping[str, float]) -> str:
    found = [t for t in terms(m) if t.name != "policy_loss" and math.isfinite(t.value)]
    loss = m.get("loss", 0.0)
    if not found or not math.isfinite(loss):
        return ""
    largest = max(found, key=lambda t: abs(t.value))
    if abs(largest.value) <= abs(m.get("policy_loss", 0.0)):
        return ""
    return f"What the loss shows is mostly {largest.name} = {largest.value:.3g}: {largest.meaning}."


def _progress(r: Record) -> str:
    """Whether the reward moves at all: what one should look at instead of the loss."""
    change = trend(r)
    if change is None:
        return "Look at the reward and the held-out accuracy instead; it is too early to tell."
    by, noise = change
    many = min(16, len(r.series("reward")))
    if by > 2 * noise:
        verdict = f"rose by {by:.3g}, more than noise (± {noise:.2g}): it is learning"
    elif by < -2 * noise:
        verdict = f"fell by {-by:.3g}, more than noise (± {noise:.2g}): it is unlearning"
    else:
        verdict = f"changed by {by:+.3g}, no more than noise (± {noise:.2g})"
    return f"Look at the reward instead: over the last {many} steps it {verdict}."
