"""TRPO: the natural gradient, with a step as long as the KL allows.

Paper    Schulman et al. 2015, Trust Region Policy Optimization, arXiv 1502.05477, §6 and appendix C
Formula  maximise J(θ) = mean_t ρ_t Â_t   subject to  KL(π_old‖π_θ) ≤ δ, mean per token
         x ≈ F⁻¹ g by conjugate gradients,   step = √(2δ / xᵀFx) · x
         halve the step until J has improved and the measured KL ≤ δ; else stay
Differs  δ is .001 a token, .01 in the paper's control tasks: an answer has tens of tokens. The step
         (not δ) shrinks with the run's schedule.
         F is damped, and estimated on a tenth of the rows, as by the authors; Fv is Jᵀ diag(p) J v
         with the derivatives J of all log-probs over the vocabulary. With several updates per
         rollout every one is held to δ against the rollout policy. Â is PPO's GAE, or a group's
         (r − m)/s, which is the paper's `vine` in spirit: several answers from one state. Learning
         rate, weight decay and gradient norm of `train` have no say here, only in the critic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from grpolab.algorithms.actor_critic import ActorCritic, ActorCriticSettings
from grpolab.algorithms.base import (
    Batch,
    Branch,
    Credit,
    Forward,
    Loss,
    Objective,
    Policy,
    Report,
    TokenFacts,
    Whole,
)
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import standardised, token_ratio
from grpolab.algorithms.types import Measured

if TYPE_CHECKING:
    from torch import Tensor


class TrpoSettings(ActorCriticSettings):
    advantage: Literal["gae", "group"] = Field(
        "gae", description="a critic's GAE, or the group's (r − m)/s without a critic"
    )
    max_kl: float = Field(0.001, gt=0, description="δ: largest KL of a step, mean per token")
    damping: float = Field(0.1, ge=0, description="added to F's diagonal")
    cg_steps: int = Field(10, ge=1, description="conjugate gradient iterations")
    fisher_share: float = Field(0.1, gt=0, le=1, description="share of the rows that F is from")
    backtracks: int = Field(10, ge=1, description="tries of the line search, each half as long")


class Trpo(ActorCritic):
    name = "trpo"
    title = "Trust region policy optimization"
    paper = "arXiv 1502.05477, §6, appendix C"
    formula = (
        "Â = whiten_batch(GAE(γ, λ) of r_t and V)\n"
        "L = −mean_tokens ρ Â, subject to KL ≤ δ_max\n"
        "step = √(2 δ_max / xᵀ F x) x, F x = −∇L"
    )
    lineage = (("is-pg", "the step is bounded by the KL, measured in the policy's own geometry"),)
    metrics = ("kl_step", "line_search", "surrogate_gain")
    Settings = TrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    @property
    def needs_critic(self) -> bool:
        return self.settings.advantage == "gae"

    @property
    def measures(self) -> bool:
        return True

    def advantage(self, batch: Batch) -> Tensor | Credit:
        if self.needs_critic:
            return super().advantage(batch)
        return standardised(batch.reward, batch.group, 0, 0.0)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        ratio = token_ratio(batch, now)
        return Objective(ratio * credit.advantage, ratio)

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, whole: Whole
    ) -> dict[str, Tensor]:
        return super().other_terms(batch, credit, now, whole) if self.needs_critic else {}

    def branch(self, token: TokenFacts) -> Branch:
        return clipped_branch(token, token.ratio, None, None)

    def update(self, policy: Policy, batch: Batch, credit: Credit, epochs: int) -> Report:
        """`epochs` natural-gradient steps, each held to δ against the rollout policy. A critic
        takes an ordinary step beside each."""
        if self.waits(batch):
            return super().update(policy, batch, credit, epochs)
        report = Report()
        for epoch in range(epochs):
            for pieces in policy.minibatches(epoch):
                whole = Whole.of(batch, pieces)

                def loss(rows: Tensor, width: int, now: Forward, whole: Whole = whole) -> Loss:
                    return self.loss(batch.rows(rows, width), credit.rows(rows, width), now, whole)

                def gain(at: Measured, whole: Whole = whole, pieces=pieces) -> float:
                    return self._objective_at(at, batch, credit, whole, pieces)

                done = policy.accumulate(pieces, loss)
                report.take(batch, done)
                gradient = policy.take_gradient()
                report.grad_norm = float(gradient.norm())
                policy.step()  # the critic's; the policy has no gradient left
                if 0 < report.grad_norm < float("inf"):
                    report.extra |= self._natural_step(policy, gradient, gain)
                report.updates += 1
        return report

    def _natural_step(
        self, policy: Policy, gradient: Tensor, gain: Callable[[Measured], float]
    ) -> dict[str, float]:
        s = self.settings
        fisher = policy.fisher(s.fisher_share)

        def damped(v: Tensor) -> Tensor:
            return fisher(v) + s.damping * v

        x, ax = conjugate_gradients(damped, -gradient, s.cg_steps)
        curvature = float(x.dot(ax))
        if not 0 < curvature < float("inf"):
            return {"line_search": 0.0, "surrogate_gain": 0.0}
        step = x * (2 * s.max_kl / curvature) ** 0.5 * policy.share
        start, before = policy.position(), gain(policy.measure())
        for attempt in range(s.backtracks):
            policy.move(start + step * 0.5**attempt)
            now = policy.measure()
            better = gain(now) - before
            if now.divergence <= s.max_kl and better > 0:
                return {
                    "kl_step": now.divergence, "line_search": 0.5**attempt,
                    "surrogate_gain": better,
                }  # fmt: skip
        policy.move(start)
        return {"line_search": 0.0, "surrogate_gain": 0.0}

    def _objective_at(
        self, at: Measured, batch: Batch, credit: Credit, whole: Whole, pieces: Sequence[Tensor]
    ) -> float:
        """What the step is to improve, on the same rows and with the same terms as its gradient."""
        total = 0.0
        for rows in pieces:
            width = int(batch.mask[rows].sum(1).max().item())
            now = Forward(at.logp[rows, :width], at.entropy[rows, :width], None)
            part = batch.rows(rows, width), credit.rows(rows, width)
            total -= float(self.policy_loss(*part, now, whole).total)
        return total


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """x with A x ≈ b for a positive A given by its products, and A x, which is put together from
    those that were made. All [P]."""
    x, ax, r = b * 0, b * 0, b.clone()
    p, rr = r.clone(), float(r.dot(r))
    enough = tolerance * rr
    for _ in range(steps):
        if rr <= enough:
            break
        ap = product(p)
        pap = float(p.dot(ap))
        if pap <= 0:  # rounding has used up what the products can tell
            break
        alpha = rr / pap
        x, ax, r = x + alpha * p, ax + alpha * ap, r - alpha * ap
        following = float(r.dot(r))
        p, rr = r + following / rr * p, following
    return x, ax
