"""The base class of every algorithm: what a subclass defines (settings, advantage, objective), and
what all of them share: reward shaping, KL and entropy terms, the update loop, the adaptive β.

No formula of a paper is here; it stands in the algorithm's own file. An algorithm sees the lane
only through `Policy`. Nothing here or in the algorithm files imports torch at run time: tensors
come in, and their methods are enough.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.explain import Branch, TokenFacts
from grpolab.algorithms.functional import aggregate, kl_estimate, terminal_reward, weighted_kl
from grpolab.algorithms.settings import Settings
from grpolab.algorithms.types import (
    Batch,
    BatchTotals,
    Credit,
    Forward,
    Loss,
    Objective,
    Policy,
    Report,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Algorithm", "Batch", "BatchTotals", "Branch", "Credit", "Forward", "Loss", "Objective",
    "Policy", "Report", "Settings", "TokenFacts",
]  # fmt: skip


class Algorithm:
    """Base of every algorithm. A subclass names its paper, formula and settings and defines
    `advantage`, `objective` and `branch`; what combines with any algorithm is done here."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]  # readable in a terminal, one statement a line, each `symbol = …`
    lineage: ClassVar[tuple[tuple[str, str], ...]] = ()  # (ancestor, what was changed in it)
    aggregation: ClassVar[str] = ""  # where it is fixed, not a setting
    metrics: ClassVar[tuple[str, ...]] = ()  # step metrics that only some algorithms report
    group_baseline: ClassVar[bool] = False  # where all rewards of a group are equal, its Â are 0
    learning_rate: ClassVar[float] = 1.5e-3  # of a small adapter, unless the scenario sets one
    Settings: ClassVar[type[Settings]]
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings
        self.kl_scale = 1.0  # factor on β, moved by an adaptive controller

    # --- what an algorithm defines ---

    def advantage(self, batch: Batch) -> Tensor | Credit:
        """Â of each row [N] or token [N, T], or a `Credit` that holds more than that.

        `batch.reward` and `batch.token_reward` have the KL (if it counts in the reward) and the
        length penalty subtracted already. No gradient flows through it.
        """
        raise NotImplementedError

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        """What the policy is to maximize, per token [n, T] or per answer [n, 1], before the mean
        that `aggregation` names. KL and entropy terms are not part of it."""
        raise NotImplementedError

    def branch(self, token: TokenFacts) -> Branch:
        """The objective of one token in plain numbers, with the reason in words."""
        raise NotImplementedError

    # --- what it needs ---

    @property
    def needs_critic(self) -> bool:
        return False

    @property
    def value_pretraining(self) -> int:
        """Rollouts that a new critic is trained on before the first step."""
        return 0

    def in_critic_warmup(self, batch: Batch) -> bool:
        """Whether only the critic is trained in this step."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether its loss or its reward contains the KL to the reference."""
        return self.settings.beta > 0 and self.settings.kl_place != "none"

    @property
    def needs_greedy(self) -> bool:
        """Whether each prompt's greedy answer must be graded too."""
        return False

    @property
    def needs_steps(self) -> bool:
        """Whether single steps of the answers must be graded."""
        return False

    @property
    def needs_entropy(self) -> bool:
        return self.settings.top_entropy < 1

    @property
    def needs_sampler_gap(self) -> bool:
        """Whether the trainer must recompute log-probs, to compare them with the sampler's."""
        return self.settings.tis_cap is not None

    @property
    def needs_kl_to_rollout(self) -> bool:
        """Whether its update measures the KL between rollout policy and current policy."""
        return False

    @property
    def renews_reference(self) -> bool:
        """Whether `wants_new_reference` is ever true, so that a frozen copy takes memory."""
        return False

    @property
    def resample(self) -> int:
        """How often groups of equal reward may be sampled again (dynamic sampling)."""
        return 0

    @property
    def beta(self) -> float:
        """β now: the setting times `kl_scale`."""
        return self.settings.beta * self.kl_scale

    @classmethod
    def mean(cls) -> str:
        """The default aggregation."""
        field = cls.Settings.model_fields.get("aggregation")
        return field.default if field is not None else cls.aggregation

    # --- what the lab calls ---

    def shape(self, batch: Batch) -> Batch:
        """The batch with shaped rewards: minus the length penalty, and minus β·KL if the KL counts
        in the reward. `reward` [N] is the sum of `token_reward` [N, T]; where steps are graded, the
        last step's reward changes by the same amount."""
        s = self.settings
        reward = batch.reward - self._overlong(batch)
        token_reward = terminal_reward(reward, batch.mask)
        if s.kl_place == "reward" and s.beta > 0 and batch.ref_logp is not None:
            kl = kl_estimate(batch.old_logp, batch.ref_logp, s.kl_estimator)
            token_reward = token_reward - self.beta * kl * batch.mask
            reward = token_reward.sum(1)
        steps = None if batch.steps is None else batch.steps.plus(reward - batch.reward)
        return replace(batch, reward=reward, token_reward=token_reward, steps=steps)

    def credit(self, batch: Batch) -> Credit:
        """Advantage of every token [N, T], and returns where a critic learns."""
        s = self.settings
        found = self.advantage(self.shape(batch))
        if not isinstance(found, Credit):
            found = Credit(found * batch.mask if found.ndim == 2 else found[:, None] * batch.mask)
        if s.top_entropy < 1 and batch.entropy is not None:
            found = replace(found, token_mask=_highest_entropy(batch, s.top_entropy))
        return found

    def loss(self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals) -> Loss:
        """This microbatch's part of the loss."""
        found = self.policy_loss(batch, credit, now, totals)
        return replace(found, terms=found.terms | self.other_terms(batch, credit, now, totals))

    def policy_loss(self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals) -> Loss:
        """The terms with a policy gradient: objective, KL, entropy."""
        s = self.settings
        how = getattr(s, "aggregation", self.aggregation)
        learner = now
        if credit.token_mask is not None:  # other tokens keep their value but get no gradient
            learner = replace(now, logp=now.logp.where(credit.token_mask, now.logp.detach()))
        objective = self.objective(batch, credit, learner)
        surrogate = objective.surrogate
        if s.tis_cap is not None and batch.sampler_logp is not None:
            log_weight = (batch.old_logp - batch.sampler_logp) * batch.mask
            if surrogate.shape[1] == 1:
                log_weight = log_weight.sum(1, keepdim=True)
            surrogate = surrogate * log_weight.exp().clamp(max=s.tis_cap)
        terms = {"policy": -aggregate(surrogate, batch.mask, how, totals)}
        each = "seq-mean-token-mean" if how == "sequence-mean" else how
        terms |= self.kl_terms(batch, now, totals, each)
        if s.entropy_bonus > 0:
            bonus = aggregate(now.entropy, batch.mask, each, totals)
            terms["entropy"] = -s.entropy_bonus * bonus
        return Loss(
            terms=terms,
            ratio=objective.ratio,
            clipped=objective.clipped,
            clip_log_ratio=objective.clip_log_ratio,
        )

    def kl_terms(
        self, batch: Batch, now: Forward, totals: BatchTotals, how: str
    ) -> dict[str, Tensor]:
        """β·KL to the reference, if it counts in the loss."""
        s = self.settings
        if s.kl_place != "loss" or s.beta == 0 or batch.ref_logp is None:
            return {}
        kl = weighted_kl(batch, now, s.kl_estimator)
        return {"kl": self.beta * aggregate(kl, batch.mask, how, totals)}

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals
    ) -> dict[str, Tensor]:
        """More terms of the loss, by name."""
        return {}

    def update(self, policy: Policy, batch: Batch, credit: Credit, epochs: int) -> Report:
        """`epochs` passes over the rollout, one optimizer step per minibatch."""
        report = Report()
        for epoch in range(epochs):
            for microbatches in policy.minibatches(epoch):
                totals = BatchTotals.of(batch, microbatches)

                def loss(
                    rows: Tensor, width: int, now: Forward, totals: BatchTotals = totals
                ) -> Loss:
                    return self.loss(batch.rows(rows, width), credit.rows(rows, width), now, totals)

                warmup = self.in_critic_warmup(batch)
                done = policy.accumulate(microbatches, loss, critic_only=warmup)
                report.grad_norm = policy.step()
                report.updates += 1
                report.take(batch, done)
        if self.in_critic_warmup(batch):
            report.entropy = None  # the policy was not run
        return report

    def observe(self, batch: Batch, report: Report) -> None:
        """Called once after the step's updates, to update the algorithm's state.

        Here the adaptive β (1909.08593, §2.2): β ← β (1 + K_β clip(KL/target − 1, −.2, .2)), with
        KL summed over each answer, mean over answers.
        """
        s = self.settings
        if s.kl_controller == "adaptive" and batch.ref_logp is not None:
            kl = kl_estimate(batch.old_logp, batch.ref_logp, "k1") * batch.mask
            error = float(kl.sum(1).mean()) / s.kl_target - 1
            self.kl_scale *= 1 + s.kl_gain * min(max(error, -0.2), 0.2)

    def wants_new_reference(self) -> bool:
        """Called once after the step's updates: whether to copy the policy into the reference."""
        return False

    def state(self) -> dict[str, float]:
        """What it keeps between steps; JSON, part of a checkpoint."""
        return {"kl_scale": self.kl_scale}

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` returned. `leash` is what older checkpoints call `kl_scale`."""
        self.kl_scale = state.get("kl_scale", state.get("leash", 1.0))

    def _overlong(self, batch: Batch) -> Tensor | float:
        """Soft length penalty (2503.14476, eq. 13). [N], or 0 where it is off."""
        s = self.settings
        if s.overlong_buffer == 0:
            return 0.0
        buffer = s.overlong_buffer * batch.max_tokens
        over = (batch.mask.sum(1) - (batch.max_tokens - buffer)) / buffer
        return s.overlong_penalty * over.clamp(0, 1)


def _highest_entropy(batch: Batch, fraction: float) -> Tensor:
    """The fraction of all tokens with the highest entropy (2506.01939, §5). [N, T] bool."""
    assert batch.entropy is not None
    on = batch.mask.bool()
    entropies = batch.entropy[on]
    kept = max(1, math.ceil(fraction * len(entropies) - 1e-9))
    return on & (batch.entropy >= entropies.topk(kept).values[-1])
