"""One token under one algorithm: the formula's terms with their numbers, and the branch that its
objective is on."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from grpolab.algorithms import explain
from grpolab.algorithms.base import Algorithm, Batch, Forward
from grpolab.algorithms.explain import TokenFacts
from grpolab.algorithms.pieces import reward_to_go
from grpolab.lens.tensors import Look


def explained(
    algorithm: Algorithm, found: Look, batch: Batch, now: Forward, row: int, token: int
) -> dict[str, Any]:
    """What `--explain` shows of row `row`, token `token`."""
    facts = token_facts(algorithm, found, batch, now, row, token)
    branch = algorithm.branch(facts)
    return {
        "formula": algorithm.formula,
        "terms": [asdict(term) for term in explain.token_terms(algorithm, facts)],
        "branch": asdict(branch) | {"candidates": [list(c) for c in branch.candidates]},
        "push": branch.push,
    }


def token_facts(
    algorithm: Algorithm, found: Look, batch: Batch, now: Forward, row: int, token: int
) -> TokenFacts:
    """All that is known about one token. Rewards are those that the formula's r stands for: less
    the price of length, and less the KL in the reward where the formula has no r_t or R for it."""

    def at(x: Tensor | None) -> float | None:
        return None if x is None else float(x[row, token])

    symbols = {term.symbol for term in explain.terms(type(algorithm))}
    shaped = algorithm.shape(batch)
    single = symbols & {"r_t", "R"}
    reward = algorithm.shape(replace(batch, ref_logp=None)).reward if single else shaped.reward
    group = _pool(algorithm, batch, reward, row)
    rho = (now.logp - batch.old_logp)[row] * batch.mask[row]
    length = int(batch.mask[row].sum().item())
    return TokenFacts(
        reward=float(reward[row]),
        group=tuple(group.tolist()),
        advantage=float(found.credit.advantage[row, token]),
        logp=float(now.logp[row, token]),
        old_logp=float(batch.old_logp[row, token]),
        length=length,
        answer_log_ratio=float(rho.sum()),
        rows=len(batch.mask),
        tokens=int(batch.mask.sum().item()),
        max_tokens=batch.max_tokens,
        ref_logp=at(batch.ref_logp),
        value=at(batch.value),
        returns=at(found.credit.returns if "V" in symbols else _returns(algorithm, shaped)),
        entropy=at(batch.entropy),
        mean_clipped_log_ratio=_mean_clipped(algorithm, found, rho, row, length),
    )


def _pool(algorithm: Algorithm, batch: Batch, reward: Tensor, row: int) -> Tensor:
    """The rewards that the token's are compared with: of the group's answers, or of their steps."""
    same = batch.group == batch.group[row]
    if algorithm.needs_steps and batch.steps is not None:
        return batch.steps.reward[same][batch.steps.mask[same].bool()]
    return reward[same]


def _returns(algorithm: Algorithm, shaped: Batch) -> Tensor:
    """R without a critic: what follows from each token on, or the answer's one number."""
    assert shaped.token_reward is not None
    gamma = getattr(algorithm.settings, "gamma", None)
    if gamma is None:
        return shaped.reward[:, None].expand(shaped.mask.shape)
    return reward_to_go(shaped.token_reward, shaped.mask, gamma)


def _mean_clipped(
    algorithm: Algorithm, found: Look, rho: Tensor, row: int, length: int
) -> float | None:
    """The answer's mean log ρ, each bounded on the side that Â pushes it to, as GMPO does."""
    s = algorithm.settings
    if not {"clip_low", "clip_high"} <= set(type(s).model_fields):
        return None
    praised = found.credit.advantage[row] > 0
    high = math.inf if s.clip_high is None else s.clip_high
    low = math.inf if s.clip_low is None else s.clip_low
    held = rho.clamp(max=high).where(praised, rho.clamp(min=-low))
    return float(held.sum()) / max(length, 1)
