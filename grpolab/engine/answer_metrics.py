"""What the answers of a step tell, whatever the algorithm."""

from __future__ import annotations

from collections.abc import Sequence

from grpolab.algorithms.records import Batch
from grpolab.engine.gather import Gathered
from grpolab.rewards import Reward


def answer_metrics(
    batch: Batch, gathered: Gathered, parts: Sequence[tuple[Reward, float]]
) -> dict[str, float]:
    """Metrics by name: shares and means over the rows; lengths in tokens."""
    graded, count = gathered.graded, len(gathered.graded)
    groups = len(gathered.prompts)
    out = {
        "reward": float(batch.reward.mean()),
        "reward_std": float(batch.reward.std(unbiased=False)),
        "accuracy": sum(g.correct for g in graded) / count,
        "length": float(batch.mask.sum(1).mean()),
        "truncated": float((~gathered.rollout.finished).float().mean()),
    }
    size = count // groups
    rewards_of = [gathered.reward[at : at + size] for at in range(0, count, size)]
    out["zero_std_groups"] = sum(len(set(r)) == 1 for r in rewards_of) / groups
    if gathered.drawn > groups:
        out["groups_replaced"] = float(gathered.drawn - groups)
    for reward, weight in parts:  # unweighted: the share that meets this criterion
        if reward.name not in out and weight:
            out[reward.name] = sum(g.parts.get(reward.name, 0.0) for g in graded) / weight / count
    return out
