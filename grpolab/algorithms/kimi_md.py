"""Kimi's online mirror descent: no clip, a square holds the answer's log-ratio near 0.

Paper    Kimi Team 2025, Kimi k1.5, arXiv 2501.12599, §2.3.2, eq. 3
Formula  Â_i = r_i − mean r
         ∇J = 1/G Σ_i { Â_i ∇log π(answer) − τ/2 ∇(log π(answer)/π_old(answer))² }
Differs  the gradient is the paper's, the value that is shown is Â log π − τ/2 (log ρ)²; π_old is
         the rollout policy. τ is not printed in the paper; .1 here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from grpolab.algorithms.base import (
    Algorithm,
    Batch,
    Branch,
    Credit,
    Forward,
    Objective,
    Settings,
    TokenFacts,
    Whole,
)
from grpolab.algorithms.explain import weighted
from grpolab.algorithms.functional import centred, token_ratio

if TYPE_CHECKING:
    from torch import Tensor


class KimiMdSettings(Settings):
    tau: float = Field(0.1, ge=0, description="τ: weight of the squared log-ratio")


class KimiMd(Algorithm):
    name = "kimi-md"
    title = "Online mirror descent"
    paper = "arXiv 2501.12599, §2.3.2"
    formula = (
        "m = mean of r over the group\nÂ = r − m\nL = −mean_rows (Â Σ_t log π − τ/2 (Σ_t log ρ)²)"
    )
    lineage = (
        ("reinforce", "the group's mean as baseline, a squared log-ratio as leash"),
        ("ppo-kl", "the penalty is a square of the answer's log-ratio"),
    )
    aggregation = "sequence-mean"
    learning_rate = 8e-4
    metrics = ("kl_loss",)
    Settings = KimiMdSettings

    def advantage(self, batch: Batch) -> Tensor:
        return centred(batch.reward, batch.group)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        answer = (now.logp * batch.mask).sum(1, keepdim=True)
        return Objective(credit.advantage[:, :1] * answer, token_ratio(batch, now))

    def leash_terms(self, batch: Batch, now: Forward, whole: Whole, how: str) -> dict[str, Tensor]:
        rho = ((now.logp - batch.old_logp) * batch.mask).sum(1)
        square = self.settings.tau / 2 * (rho**2).sum() / whole.rows
        return {"kl": square + super().leash_terms(batch, now, whole, how).get("kl", 0.0)}

    def branch(self, token: TokenFacts) -> Branch:
        pull = self.settings.tau * token.answer_log_ratio
        return weighted(
            1.0, token, f"log π is weighted with Â; the square pulls it back by {pull:.4g}"
        )
