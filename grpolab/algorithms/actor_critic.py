"""What the algorithms with a critic share: GAE, the value loss, warm-up and value pretraining."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from grpolab.algorithms.base import (
    Algorithm,
    Batch,
    Credit,
    Forward,
    Loss,
    Policy,
    Report,
    Settings,
    Whole,
)
from grpolab.algorithms.functional import aggregate, gae, reward_to_go, whiten
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
    clip_value: float = Field(1.0, gt=0, description="how far a new value may leave the old one")
    value_weight: float = Field(1.0, ge=0, description="weight of the value loss")
    critic_warmup: int = Field(
        0, ge=0, description="steps in which a new critic learns and the policy waits"
    )
    value_pretraining: int = Field(
        0, ge=0, description="rollouts that a new critic learns from before the first step"
    )
    aggregation: Aggregation = "token-mean"


class ActorCritic(Algorithm):
    """Â = GAE(γ, λ), whitened over the batch; value loss ½ max((V−R)², (V_clip−R)²) with
    V_clip = clip(V, V_old − ε_v, V_old + ε_v)."""

    @property
    def needs_critic(self) -> bool:
        return True

    @property
    def value_pretraining(self) -> int:
        return self.settings.value_pretraining

    def policy_lambda(self, batch: Batch) -> float | Tensor:
        """λ of the advantages: one number, or one a row [N]."""
        return self.settings.gae_lambda

    @property
    def critic_lambda(self) -> float | None:
        """λ of the critic's targets; None: that of the advantages."""
        return None

    def advantage(self, batch: Batch) -> Tensor | Credit:
        s = self.settings
        assert batch.value is not None and batch.token_reward is not None
        reward, value, mask = batch.token_reward, batch.value, batch.mask
        advantage, returns = gae(reward, value, mask, s.gamma, self.policy_lambda(batch))
        if self.critic_lambda is not None:
            _, returns = gae(reward, value, mask, s.gamma, self.critic_lambda)
        return Credit(whiten(advantage, mask, s.ddof) if s.whiten else advantage, returns)

    def waits(self, batch: Batch) -> bool:
        return self.needs_critic and batch.critic_age < self.settings.critic_warmup

    def observe(self, batch: Batch, report: Report) -> None:
        if not self.waits(batch):  # what has not moved says nothing about β
            super().observe(batch, report)

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        if self.waits(batch):
            return self.value_only(batch, credit, now, whole)
        return super().loss(batch, credit, now, whole)

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, whole: Whole
    ) -> dict[str, Tensor]:
        return {"value": self.value_loss(batch, credit, now, whole)}

    def value_loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Tensor:
        """½ max((V−R)², (V_clip−R)²), 1707.06347 eq. 9 with the clip of its authors' code. []."""
        s = self.settings
        assert now.value is not None and batch.value is not None and credit.returns is not None
        near = batch.value + (now.value - batch.value).clamp(-s.clip_value, s.clip_value)
        error = ((now.value - credit.returns) ** 2).maximum((near - credit.returns) ** 2)
        return s.value_weight * aggregate(0.5 * error, batch.mask, "token-mean", whole)

    def value_only(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        """The loss of a step in which the policy waits."""
        ones = now.logp.detach() * 0 + 1
        return Loss({"value": self.value_loss(batch, credit, now, whole)}, ones)

    def pretrain_critic(self, policy: Policy, batch: Batch, epochs: int) -> Credit:
        """Fit the critic to whole returns (λ = 1) of a rollout and leave the policy alone
        (2503.01491, §3.1). The credit holds those returns."""
        shaped = self.shape(batch)
        assert shaped.token_reward is not None
        returns = reward_to_go(shaped.token_reward, batch.mask, self.settings.gamma)
        credit = Credit(returns * 0, returns)
        for epoch in range(epochs):
            for pieces in policy.minibatches(epoch):
                whole = Whole.of(batch, pieces)

                def loss(rows: Tensor, width: int, now: Forward, whole: Whole = whole) -> Loss:
                    assert now.value is not None
                    near = replace(batch.rows(rows, width), value=now.value.detach())
                    return self.value_only(near, credit.rows(rows, width), now, whole)

                policy.accumulate(pieces, loss, critic_only=True)
                policy.step()
        return credit
