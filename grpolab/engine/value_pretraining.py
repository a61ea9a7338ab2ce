"""Value pretraining: a new critic learns from rollouts of the unchanged policy before the first
step (Yuan et al. 2025, arXiv 2503.01491, §3.1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpolab.algorithms.actor_critic import ActorCritic
from grpolab.algorithms.functional import explained_variance
from grpolab.engine import apply_cue
from grpolab.engine.lane import Lane
from grpolab.engine.learner import Learner
from grpolab.engine.rollout import collect

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab

PASSES = 4
"""Passes of the critic over each rollout."""


def pretrain(lab: Lab, lane: Lane) -> None:
    """Train the lane's critic on as many rollouts as its algorithm asks for; the policy does not
    change. The time counts as rollout, score and update, like that of a step."""
    algorithm, critic = lane.algorithm, lane.critic
    assert isinstance(algorithm, ActorCritic) and critic is not None
    count = algorithm.value_pretraining
    while critic.pretrained < count:
        now = time.perf_counter()
        detail = f"value pretraining, rollout {critic.pretrained + 1} of {count}"
        lab.phase("sampling", lane, detail)
        number = critic.pretrained + 1
        collected = collect(lab, lane, number, purpose=f"pretraining/{lab.step_number}", quiet=True)
        now = lab.clock.add("rollout", now)
        batch = lab.score(lane, collected)
        now = lab.clock.add("score", now)
        lab.phase("updating", lane, detail)
        learner = Learner(lane, collected.rollout, lab.step_number + 1)
        credit = algorithm.pretrain_critic(learner, batch, PASSES)
        critic.pretrained += 1
        assert batch.value is not None and credit.returns is not None
        critic.judge(explained_variance(credit.returns, batch.value, batch.mask))
        lab.clock.add("update", now)
    apply_cue.tell_critic(lab, lane)
