"""What an algorithm is: settings, an advantage for every token, an objective, and the update loop
that most share.

An algorithm sees the lane only through `Policy`. Nothing here or in the algorithm files imports
torch when it runs: tensors come in and their methods are enough.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.explain import Branch, TokenFacts
from grpolab.algorithms.functional import aggregate, kl_estimate, terminal_reward, weighted_kl
from grpolab.algorithms.settings import Settings
from grpolab.algorithms.types import Batch, Credit, Forward, Loss, Objective, Policy, Report, Whole

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Algorithm", "Batch", "Branch", "Credit", "Forward", "Loss", "Objective", "Policy", "Report",
    "Settings", "TokenFacts", "Whole",
]  # fmt: skip


class Algorithm:
    """Base of the family. A subclass names its paper, formula and settings, and defines
    `advantage` and `objective`; everything that combines with any algorithm is done here."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]  # readable in a terminal, one statement a line, each `symbol = …`
    lineage: ClassVar[tuple[tuple[str, str], ...]] = ()  # (ancestor, what was changed in it)
    aggregation: ClassVar[str] = ""  # where it is not a setting
    metrics: ClassVar[tuple[str, ...]] = ()  # of its steps, which not everybody's carry
    learning_rate: ClassVar[float] = 1.5e-3  # of a small adapter, where the scenario names none
    Settings: ClassVar[type[Settings]]
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings
        self.leash = 1.0  # what an adaptive controller has made of β

    # --- what an algorithm defines ---

    def advantage(self, batch: Batch) -> Tensor | Credit:
        """How much better than expected each row [N] or token [N, T] did, or a whole Credit.

        `batch.reward` and `batch.token_reward` carry the KL and the length penalty already. No
        gradient flows through it.
        """
        raise NotImplementedError

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        """What the policy is to maximise, per token [n, T] or per answer [n, 1]."""
        raise NotImplementedError

    def branch(self, token: TokenFacts) -> Branch:
        """The objective of one token in plain numbers, and why it is what it is."""
        raise NotImplementedError

    # --- what it needs ---

    @property
    def needs_critic(self) -> bool:
        return False

    @property
    def value_pretraining(self) -> int:
        """Rollouts that a new critic learns from before the first step."""
        return 0

    def waits(self, batch: Batch) -> bool:
        """Whether the policy stands still in this step, while its critic warms up."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether its loss or its reward looks at the reference."""
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
        """Whether the trainer must score the rollout again, to compare with the sampler."""
        return self.settings.tis_cap is not None

    @property
    def measures(self) -> bool:
        """Whether its update asks how far the policy is from the one that sampled."""
        return False

    @property
    def resample(self) -> int:
        """How often a rollout may replace groups of equal reward (dynamic sampling)."""
        return 0

    @property
    def beta(self) -> float:
        """β now: the setting, as the controller has moved it."""
        return self.settings.beta * self.leash

    @classmethod
    def mean(cls) -> str:
        """Which mean makes one number of the objective, by default."""
        field = cls.Settings.model_fields.get("aggregation")
        return field.default if field is not None else cls.aggregation

    # --- what the lab calls ---

    def shape(self, batch: Batch) -> Batch:
        """The batch with its rewards as this algorithm sees them: less the price of length, less
        β·KL where the KL counts in the reward. `reward` is the sum of `token_reward`; graded steps
        bear it at the last one."""
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
            found = replace(found, focus=_least_certain(batch, s.top_entropy))
        return found

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        """This piece's share of the loss."""
        found = self.policy_loss(batch, credit, now, whole)
        return replace(found, terms=found.terms | self.other_terms(batch, credit, now, whole))

    def policy_loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        """Its terms that move the policy: objective, KL, entropy."""
        s = self.settings
        how = getattr(s, "aggregation", self.aggregation)
        learner = now
        if credit.focus is not None:  # the other tokens keep their value and lose their gradient
            learner = replace(now, logp=now.logp.where(credit.focus, now.logp.detach()))
        aim = self.objective(batch, credit, learner)
        gain = aim.gain
        if s.tis_cap is not None and batch.sampler_logp is not None:
            gap = (batch.old_logp - batch.sampler_logp) * batch.mask
            if gain.shape[1] == 1:
                gap = gap.sum(1, keepdim=True)
            gain = gain * gap.exp().clamp(max=s.tis_cap)
        terms = {"policy": -aggregate(gain, batch.mask, how, whole)}
        each = "seq-mean-token-mean" if how == "sequence-mean" else how
        terms |= self.leash_terms(batch, now, whole, each)
        if s.entropy_bonus > 0:
            bonus = aggregate(now.entropy, batch.mask, each, whole)
            terms["entropy"] = -s.entropy_bonus * bonus
        return Loss(terms, aim.ratio, aim.clipped, aim.judged)

    def leash_terms(self, batch: Batch, now: Forward, whole: Whole, how: str) -> dict[str, Tensor]:
        """β·KL against the reference, where it counts in the loss."""
        s = self.settings
        if s.kl_place != "loss" or s.beta == 0 or batch.ref_logp is None:
            return {}
        kl = weighted_kl(batch, now, s.kl_estimator)
        return {"kl": self.beta * aggregate(kl, batch.mask, how, whole)}

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, whole: Whole
    ) -> dict[str, Tensor]:
        """Terms that this algorithm adds."""
        return {}

    def update(self, policy: Policy, batch: Batch, credit: Credit, epochs: int) -> Report:
        """`epochs` passes over the rollout, one optimizer step for each minibatch."""
        report = Report()
        for epoch in range(epochs):
            for pieces in policy.minibatches(epoch):
                whole = Whole.of(batch, pieces)

                def loss(rows: Tensor, width: int, now: Forward, whole: Whole = whole) -> Loss:
                    return self.loss(batch.rows(rows, width), credit.rows(rows, width), now, whole)

                done = policy.accumulate(pieces, loss, critic_only=self.waits(batch))
                report.grad_norm = policy.step()
                report.updates += 1
                report.take(batch, done)
        if self.waits(batch):
            report.entropy = None  # the policy was not run
        return report

    def observe(self, batch: Batch, report: Report) -> None:
        """Called once after the step's updates: move whatever the algorithm remembers between
        steps. Here, an adaptive β (1909.08593, §2.2)."""
        s = self.settings
        if s.kl_controller == "adaptive" and batch.ref_logp is not None:
            kl = kl_estimate(batch.old_logp, batch.ref_logp, "k1") * batch.mask
            error = float(kl.sum(1).mean()) / s.kl_target - 1
            self.leash *= 1 + s.kl_gain * min(max(error, -0.2), 0.2)

    def wants_new_reference(self) -> bool:
        """Asked once after the step's updates: whether the reference becomes the policy of now."""
        return False

    def state(self) -> dict[str, float]:
        """What the algorithm remembers between steps; JSON, part of a checkpoint."""
        return {"leash": self.leash}

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` gave."""
        self.leash = state.get("leash", 1.0)

    def _overlong(self, batch: Batch) -> Tensor | float:
        """Soft punishment of long answers (2503.14476, eq. 13). [N]."""
        s = self.settings
        if s.overlong_buffer == 0:
            return 0.0
        buffer = s.overlong_buffer * batch.max_tokens
        over = (batch.mask.sum(1) - (batch.max_tokens - buffer)) / buffer
        return s.overlong_penalty * over.clamp(0, 1)


def _least_certain(batch: Batch, share: float) -> Tensor:
    """The share of all tokens with the highest entropy (2506.01939, §5). [N, T] bool."""
    assert batch.entropy is not None
    on = batch.mask.bool()
    entropies = batch.entropy[on]
    kept = max(1, math.ceil(share * len(entropies) - 1e-9))
    return on & (batch.entropy >= entropies.topk(kept).values[-1])
