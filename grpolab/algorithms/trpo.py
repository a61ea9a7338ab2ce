"""TRPO: a natural gradient step, as long as the KL constraint allows.

Paper    Schulman et al. 2015, Trust Region Policy Optimization, arXiv 1502.05477, §6 and appendix C
Formula  maximize J(θ) = mean_t ρ_t Â_t   subject to  KL(π_old‖π_θ) ≤ δ, mean per token
         x ≈ F⁻¹ g by conjugate gradients,   step = √(2δ / xᵀFx) · x
         halve the step until J has improved and the measured KL ≤ δ; else do not move
Differs  δ is .001 per token, .01 in the paper's control tasks: an answer has tens of tokens. The
         step (not δ) is scaled by the learning rate schedule.
         F is damped, and estimated on a tenth of the rows, as by the authors; Fv is Jᵀ diag(p) J v,
         J the derivatives of all log-probs over the vocabulary. With several updates per rollout,
         each must keep KL(π_old‖π_θ) ≤ δ, π_old the rollout policy. Â is PPO's GAE, or a group's
         (r − m)/s, which resembles the paper's `vine`: several answers from one state. Learning
         rate, weight decay and maximal gradient norm of `train` apply to the critic only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from grpolab.algorithms.actor_critic import ActorCritic, ActorCriticSettings
from grpolab.algorithms.base import (
    Batch,
    BatchTotals,
    Branch,
    Credit,
    Forward,
    Loss,
    Objective,
    Policy,
    Report,
    TokenFacts,
)
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import gae, standardised, token_ratio, whiten
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
    fisher_share: float = Field(
        0.1, gt=0, le=1, description="share of the rows that F is estimated on"
    )
    backtracks: int = Field(10, ge=1, description="attempts of the line search, each half as long")


class Trpo(ActorCritic):
    name = "trpo"
    title = "Trust region policy optimization"
    paper = "arXiv 1502.05477, §6, appendix C"
    formula = (
        "Â = whiten_batch(GAE(γ, λ) of r_t and V)\n"
        "L = −mean_tokens ρ Â, subject to KL ≤ δ_max\n"
        "step = √(2 δ_max / xᵀ F x) x, F x = −∇L"
    )
    lineage = (("is-pg", "the step is a natural gradient, its length bounded by the KL"),)
    metrics = ("kl_step", "line_search", "surrogate_gain")
    Settings = TrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    @property
    def needs_critic(self) -> bool:
        return self.settings.advantage == "gae"

    @property
    def needs_kl_to_rollout(self) -> bool:
        return True

    def advantage(self, batch: Batch) -> Tensor | Credit:
        cfg, mask = self.settings, batch.mask
        if cfg.advantage == "group":
            return standardised(batch.reward, batch.group, ddof=0, epsilon=0.0)  # Â = (r − m) / s
        r, V = batch.token_reward, batch.value
        assert r is not None and V is not None
        advantage, R = gae(r, V, mask, cfg.gamma, cfg.gae_lambda)  # Â = GAE(γ, λ), R = Â + V
        if cfg.whiten:
            advantage = whiten(advantage, mask, cfg.ddof)
        return Credit(advantage, R)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        advantage, rho = credit.advantage, token_ratio(batch, now)
        return Objective(rho * advantage, rho)  # ρ Â

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals
    ) -> dict[str, Tensor]:
        return super().other_terms(batch, credit, now, totals) if self.needs_critic else {}

    def branch(self, token: TokenFacts) -> Branch:
        return clipped_branch(token, token.ratio, None, None)

    def update(self, policy: Policy, batch: Batch, credit: Credit, epochs: int) -> Report:
        """`epochs` passes of natural gradient steps, each with KL(π_old‖π_θ) ≤ δ. A critic takes an
        ordinary step with each."""
        if self.in_critic_warmup(batch):
            return super().update(policy, batch, credit, epochs)
        report = Report()
        for epoch in range(epochs):
            for microbatches in policy.minibatches(epoch):
                totals = BatchTotals.of(batch, microbatches)

                def loss(
                    rows: Tensor, width: int, now: Forward, totals: BatchTotals = totals
                ) -> Loss:
                    return self.loss(batch.rows(rows, width), credit.rows(rows, width), now, totals)

                def value(at: Measured, totals: BatchTotals = totals, rows=microbatches) -> float:
                    return self._objective_at(at, batch, credit, totals, rows)

                done = policy.accumulate(microbatches, loss)
                report.take(batch, done)
                gradient = policy.take_gradient()
                report.grad_norm = float(gradient.norm())
                policy.step()  # of the critic; the policy's gradient was taken
                if 0 < report.grad_norm < float("inf"):
                    report.extra |= self._natural_step(policy, gradient, value)
                report.updates += 1
        return report

    def _natural_step(
        self, policy: Policy, gradient: Tensor, value: Callable[[Measured], float]
    ) -> dict[str, float]:
        """Move the policy by one step of the line search; returns its metrics. `value` is J."""
        cfg = self.settings
        fisher = policy.fisher(cfg.fisher_share)

        def damped(v: Tensor) -> Tensor:
            return fisher(v) + cfg.damping * v

        x, ax = conjugate_gradients(damped, -gradient, cfg.cg_steps)  # x ≈ F⁻¹ g
        curvature = float(x.dot(ax))
        if not 0 < curvature < float("inf"):
            return {"line_search": 0.0, "surrogate_gain": 0.0}
        step = x * (2 * cfg.max_kl / curvature) ** 0.5 * policy.lr_scale  # √(2δ / xᵀFx) x
        start, before = policy.position(), value(policy.measure())
        for attempt in range(cfg.backtracks):
            policy.move(start + step * 0.5**attempt)
            now = policy.measure()
            better = value(now) - before
            if now.divergence <= cfg.max_kl and better > 0:
                return {
                    "kl_step": now.divergence, "line_search": 0.5**attempt,
                    "surrogate_gain": better,
                }  # fmt: skip
        policy.move(start)
        return {"line_search": 0.0, "surrogate_gain": 0.0}

    def _objective_at(
        self,
        at: Measured,
        batch: Batch,
        credit: Credit,
        totals: BatchTotals,
        microbatches: Sequence[Tensor],
    ) -> float:
        """J plus the other policy terms, on the rows and with the terms that the gradient has."""
        total = 0.0
        for rows in microbatches:
            width = int(batch.mask[rows].sum(1).max().item())
            now = Forward(at.logp[rows, :width], at.entropy[rows, :width], None)
            part = batch.rows(rows, width), credit.rows(rows, width)
            total -= float(self.policy_loss(*part, now, totals).total)
        return total


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """x with A x ≈ b for a positive definite A, given as a function that multiplies by it, and A x,
    summed up from the products that were made anyway. All [P]."""
    x, ax, r = b * 0, b * 0, b.clone()
    p, rr = r.clone(), float(r.dot(r))
    enough = tolerance * rr
    for _ in range(steps):
        if rr <= enough:
            break
        ap = product(p)
        pap = float(p.dot(ap))
        if pap <= 0:  # rounding errors dominate
            break
        alpha = rr / pap
        x, ax, r = x + alpha * p, ax + alpha * ap, r - alpha * ap
        following = float(r.dot(r))
        p, rr = r + following / rr * p, following
    return x, ax
