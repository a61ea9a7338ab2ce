"""What the algorithms with a critic share: their settings, the value loss, critic warm-up and value
pretraining. Each computes its advantage in its own file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from grpolab.algorithms.base import (
    Algorithm,
    Batch,
    BatchTotals,
    Credit,
    Forward,
    Loss,
    Policy,
    Report,
    Settings,
)
from grpolab.algorithms.functional import aggregate, reward_to_go
from grpolab.algorithms.settings import Aggregation, Gamma

if TYPE_CHECKING:
    from torch import Tensor


class ActorCriticSettings(Settings):
    gamma: Gamma = 1.0
    gae_lambda: float = Field(0.95, ge=0, le=1, description="λ: 1 whole returns, 0 one-step TD")
    whiten: bool = Field(
        True, description="scale advantages to mean 0 and variance 1 over the batch"
    )
    ddof: Literal[0, 1] = Field(1, description="of that variance: 0 population, 1 sample")
    clip_value: float = Field(
        1.0, gt=0, description="ε_v: how far a value counts as moved from the old one"
    )
    value_weight: float = Field(1.0, ge=0, description="weight of the value loss")
    critic_warmup: int = Field(
        0, ge=0, description="first steps of a new critic, in which only the critic is trained"
    )
    value_pretraining: int = Field(
        0, ge=0, description="rollouts that a new critic is trained on before the first step"
    )
    aggregation: Aggregation = "token-mean"


class ActorCritic(Algorithm):
    """Adds the value loss L_V = ½ mean_t max((V−R)², (V_clip−R)²), with
    V_clip = clip(V, V_old − ε_v, V_old + ε_v), to the loss of a subclass whose `advantage` returns
    a Credit with R."""

    @property
    def needs_critic(self) -> bool:
        return True

    @property
    def value_pretraining(self) -> int:
        return self.settings.value_pretraining

    def in_critic_warmup(self, batch: Batch) -> bool:
        return self.needs_critic and batch.critic_age < self.settings.critic_warmup

    def observe(self, batch: Batch, report: Report) -> None:
        if not self.in_critic_warmup(batch):  # the policy has not moved, so β stays too
            super().observe(batch, report)

    def loss(self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals) -> Loss:
        if self.in_critic_warmup(batch):
            return self.value_only(batch, credit, now, totals)
        return super().loss(batch, credit, now, totals)

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals
    ) -> dict[str, Tensor]:
        return {"value": self.value_loss(batch, credit, now, totals)}

    def value_loss(self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals) -> Tensor:
        """½ mean_t max((V−R)², (V_clip−R)²): 1707.06347 eq. 9 and its authors' code. []"""
        cfg, V, V_old, R = self.settings, now.value, batch.value, credit.returns
        assert V is not None and V_old is not None and R is not None
        V_clip = V_old + (V - V_old).clamp(-cfg.clip_value, cfg.clip_value)
        error = 0.5 * ((V - R) ** 2).maximum((V_clip - R) ** 2)
        return cfg.value_weight * aggregate(error, batch.mask, "token-mean", totals)

    def value_only(self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals) -> Loss:
        """The loss of a step in which only the critic is trained."""
        ones = now.logp.detach() * 0 + 1
        return Loss({"value": self.value_loss(batch, credit, now, totals)}, ones)

    def pretrain_critic(self, policy: Policy, batch: Batch, epochs: int) -> Credit:
        """Fit the critic to a rollout's Monte Carlo returns (λ = 1), the policy unchanged
        (2503.01491, §3.1). The credit returned has those returns as R."""
        shaped = self.shape(batch)
        assert shaped.token_reward is not None
        returns = reward_to_go(shaped.token_reward, batch.mask, self.settings.gamma)
        credit = Credit(returns * 0, returns)
        for epoch in range(epochs):
            for microbatches in policy.minibatches(epoch):
                totals = BatchTotals.of(batch, microbatches)

                def loss(
                    rows: Tensor, width: int, now: Forward, totals: BatchTotals = totals
                ) -> Loss:
                    assert now.value is not None
                    part = replace(batch.rows(rows, width), value=now.value.detach())
                    return self.value_only(part, credit.rows(rows, width), now, totals)

                policy.accumulate(microbatches, loss, critic_only=True)
                policy.step()
        return credit
