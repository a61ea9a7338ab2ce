"""How a step's updates changed the log-probs of its own tokens: one more forward pass, before the
next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.algorithms.functional import kl_estimate, masked_mean
from grpolab.engine.lane import Lane
from grpolab.engine.record import packed
from grpolab.record import events as ev

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def measure(lab: Lab, lane: Lane) -> ev.After:
    """Compare the newest step's tokens under the current policy and under the one that sampled
    them. The lane does not change. Raises ValueError before the first step."""
    last = lane.last_step
    if last is None:
        raise ValueError("there is no rollout yet: make a step first")
    lab.phase("scoring", lane, "after the updates")
    batch = last.batch
    logp = lane.policy_logp(last.collected.rollout, last.temperature)
    moved = float(masked_mean(kl_estimate(batch.old_logp, logp, "k3"), batch.mask))
    return ev.After(last.step, lane.name, packed(logp - batch.old_logp, batch.mask), moved)
