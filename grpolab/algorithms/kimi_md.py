"""Kimi's online mirror descent: a penalty on the squared log-ratio of an answer instead of a clip.

Paper    Kimi Team 2025, Kimi k1.5, arXiv 2501.12599, §2.3.2, eq. 3
Formula  Â_i = r_i − m                                     m: mean of r over the group
         ∇J = 1/G Σ_i { Â_i ∇log π(answer) − τ/2 ∇(log π(answer)/π_old(answer))² }
         `objective` is the first term, `kl_terms` the second
Differs  the gradient is the paper's; the value that is reported is Â log π − τ/2 (log ρ_ans)².
         π_old is the rollout policy. The paper does not print τ; .1 here. Its length
         penalty (§2.3.3) is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from grpolab.algorithms.base import (
    Algorithm,
    Batch,
    BatchTotals,
    Branch,
    Credit,
    Forward,
    Objective,
    Settings,
    TokenFacts,
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
        ("reinforce", "the group's mean as baseline, a penalty on the squared log-ratio"),
        ("ppo-kl", "the penalty is a square of the answer's log-ratio"),
    )
    aggregation = "sequence-mean"
    learning_rate = 8e-4
    metrics = ("kl_loss",)
    group_baseline = True
    Settings = KimiMdSettings

    def advantage(self, batch: Batch) -> Tensor:
        return centred(batch.reward, batch.group)  # Â = r − m

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        advantage = credit.advantage[:, :1]  # [n, 1]: `credit` spread Â over the tokens
        logp_answer = (now.logp * batch.mask).sum(1, keepdim=True)  # Σ_t log π
        return Objective(advantage * logp_answer, token_ratio(batch, now))

    def kl_terms(
        self, batch: Batch, now: Forward, totals: BatchTotals, how: str
    ) -> dict[str, Tensor]:
        log_rho = ((now.logp - batch.old_logp) * batch.mask).sum(1)  # log ρ_ans = Σ_t log ρ_t
        square = self.settings.tau / 2 * (log_rho**2).sum() / totals.rows
        return {"kl": square + super().kl_terms(batch, now, totals, how).get("kl", 0.0)}

    def branch(self, token: TokenFacts) -> Branch:
        pull = self.settings.tau * token.answer_log_ratio
        return weighted(
            1.0, token, f"log π is weighted with Â; the squared log-ratio subtracts {pull:.4g}"
        )
