"""A batch under each algorithm, as one JSON object: what `grpolab lens` prints. Float64 throughout.

`lens` is the whole computation for a batch from a file; `look` is its tensor part, which the engine
uses for live rollouts too; `explained` is the detail of one token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS, explain
from grpolab.algorithms.base import Algorithm, Batch, BatchTotals, Credit, Forward, Loss
from grpolab.algorithms.explain import TokenFacts
from grpolab.algorithms.functional import explained_variance, kl_estimate, masked_mean, reward_to_go
from grpolab.algorithms.types import Steps
from grpolab.errors import RequestError
from grpolab.lens.ask import NO_DISTRIBUTION, choose, lacks
from grpolab.lens.batch_file import checked, missing, samples

WARM = 1 << 30
"""Age of the critic in a batch from a file: longer than any warm-up."""


@dataclass(frozen=True)
class Look:
    """A rollout under one algorithm, detached from the autograd graph."""

    credit: Credit
    loss: Loss
    gradient: Tensor  # [N, T] ∂loss/∂logp, 0 on padding


def look(batch: Batch, now: Forward, algorithms: Mapping[str, Algorithm]) -> dict[str, Look]:
    """Each algorithm's credit, loss and gradient, the rollout taken as one minibatch.

    `now` is detached first. An entropy bonus has no gradient here.
    """
    totals = BatchTotals(len(batch.mask), int(batch.mask.sum().item()), batch.max_tokens)
    return {name: _look(batch, now, totals, algorithm) for name, algorithm in algorithms.items()}


def _look(batch: Batch, now: Forward, totals: BatchTotals, algorithm: Algorithm) -> Look:
    with torch.no_grad():
        credit = algorithm.credit(batch)
    with torch.enable_grad():
        logp = now.logp.detach().requires_grad_()
        still = replace(now, logp=logp, entropy=now.entropy.detach(), value=_detached(now.value))
        loss = algorithm.loss(batch, credit, still, totals)
        gradient = None
        if loss.total.requires_grad:
            (gradient,) = torch.autograd.grad(loss.total, [logp], allow_unused=True)
    gradient = torch.zeros_like(batch.mask) if gradient is None else gradient * batch.mask
    terms = {name: term.detach() for name, term in loss.terms.items()}
    detached = Loss(terms, loss.ratio.detach(), _detached(loss.clipped))
    return Look(credit, detached, gradient)


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()


def from_json(data: Mapping[str, Any]) -> tuple[Batch, Forward]:
    """A checked batch as float64 tensors, rows in the order of groups and samples. The critic
    counts as warmed up."""
    found = list(samples(data))
    rows = [sample for _, _, sample in found]
    width = max(len(row["logprobs"]) for row in rows)

    def column(values: Sequence[float]) -> Tensor:  # whole numbers may exceed what torch reads
        return torch.tensor([float(x) for x in values], dtype=torch.float64)

    def table(values: Sequence[Sequence[float]]) -> Tensor:  # [N, T]
        out = torch.zeros(len(values), width, dtype=torch.float64)
        for i, row in enumerate(values):
            out[i, : len(row)] = column(row)
        return out

    def optional(key: str) -> Tensor | None:
        return None if missing(data, key) else table([row[key] for row in rows])

    logp = table([row["logprobs"] for row in rows])
    value, entropy = optional("values"), optional("entropies")
    greedy = [data["groups"][g].get("greedy_reward") for g, _, _ in found]
    steps = None if missing(data, "step_rewards") else [row["step_rewards"] for row in rows]
    batch = Batch(
        mask=table([[1.0] * len(row["logprobs"]) for row in rows]),
        group=torch.tensor([g for g, _, _ in found]),
        reward=column([row["reward"] for row in rows]),
        old_logp=table([row["old_logprobs"] for row in rows]),
        ref_logp=optional("ref_logprobs"),
        value=value,
        max_tokens=data["max_tokens"],
        greedy_reward=None if missing(data, "greedy_reward") else column(greedy),
        steps=None if steps is None else _steps(steps),
        entropy=entropy,
        sampler_logp=optional("sampler_logprobs"),
        critic_age=WARM,
    )
    return batch, Forward(logp, torch.zeros_like(logp) if entropy is None else entropy, value)


def _steps(rows: Sequence[Sequence[Mapping[str, Any]]]) -> Steps:
    shape = (len(rows), max(1, *map(len, rows)))
    steps = Steps(
        end=torch.zeros(shape, dtype=torch.long),
        reward=torch.zeros(shape, dtype=torch.float64),
        mask=torch.zeros(shape, dtype=torch.float64),
    )
    for i, row in enumerate(rows):
        for j, step in enumerate(row):
            steps.end[i, j], steps.reward[i, j], steps.mask[i, j] = step["end"], step["reward"], 1
    return steps


def explained(
    algorithm: Algorithm, found: Look, batch: Batch, now: Forward, row: int, token: int
) -> dict[str, Any]:
    """What `--explain` shows of a token: the formula's terms with their values, and the branch of
    the objective that the token is on."""
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
    """The facts about one token. The reward is what r in the formula stands for: minus the length
    penalty, and minus the KL in the reward where the formula has no r_t or R for it."""

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
    """The rewards that the token's is compared with: of its group's answers, or of their steps."""
    same = batch.group == batch.group[row]
    if algorithm.needs_steps and batch.steps is not None:
        return batch.steps.reward[same][batch.steps.mask[same].bool()]
    return reward[same]


def _returns(algorithm: Algorithm, shaped: Batch) -> Tensor:
    """R without a critic: the reward-to-go of each token, or the reward of the answer."""
    assert shaped.token_reward is not None
    gamma = getattr(algorithm.settings, "gamma", None)
    if gamma is None:
        return shaped.reward[:, None].expand(shaped.mask.shape)
    return reward_to_go(shaped.token_reward, shaped.mask, gamma)


def _mean_clipped(
    algorithm: Algorithm, found: Look, rho: Tensor, row: int, length: int
) -> float | None:
    """The answer's mean log ρ, each clipped on the side given by the sign of Â, as GMPO does."""
    s = algorithm.settings
    if not {"clip_low", "clip_high"} <= set(type(s).model_fields):
        return None
    positive = found.credit.advantage[row] > 0
    high = math.inf if s.clip_high is None else s.clip_high
    low = math.inf if s.clip_low is None else s.clip_low
    clipped = rho.clamp(max=high).where(positive, rho.clamp(min=-low))
    return float(clipped.sum()) / max(length, 1)


OVERFLOWS = "cannot be computed: it overflows float64 with these numbers and settings"


def lens(
    batch: dict[str, Any],
    names: Sequence[str] | None = None,
    preset: str = "paper",
    settings: Mapping[str, Any] | None = None,
    explain: tuple[int, int, int] | None = None,
    *,
    where: str = "batch",
    own: Algorithm | None = None,
    own_preset: str = "paper",
) -> dict[str, Any]:
    """`batch` (see `batch_file`) under each algorithm: loss, metrics, advantages and gradients, and
    the cosines between the gradients.

    `own` is an algorithm with the settings and state of a lane; it replaces the one of its name.
    Without `names` every algorithm is computed that can be, and `left_out` says why others cannot.
    `explain` is the (group, sample, token) to explain under each algorithm. Raises RequestError;
    errors in the batch begin with `where`.

    {"algorithms": {NAME: {"preset", "settings", "aggregation", "loss", "terms", "metrics",
    "groups": [{"samples": [{"advantages", "returns", "gradient"}]}], "explain"}}, "cosine": {NAME:
    {NAME: …}}, "left_out": {NAME: why}, "groups": [{"prompt", "samples": [{"tokens", "reward"}]}]}
    """
    data = checked(batch, where)
    algorithms, left_out = choose(names, preset, settings)
    if own is not None:
        algorithms[own.name] = own
    if ((settings or {}).get("entropy_bonus") or 0) > 0:
        raise RequestError(f"{where}: an algorithm {NO_DISTRIBUTION}")
    for name, algorithm in list(algorithms.items()):
        if reason := lacks(algorithm, data):
            left_out[name] = reason
            del algorithms[name]
            if names or not algorithms:
                raise RequestError(f"{where}: {name} {reason}")
    row = None if explain is None else _row(data, explain)

    tensors, now = from_json(data)
    looks = look(tensors, now, algorithms)
    for name in [name for name, found in looks.items() if not _finite(found, tensors)]:
        left_out[name] = OVERFLOWS
        del algorithms[name], looks[name]
        if names or not algorithms:
            raise RequestError(f"{where}: {name} {OVERFLOWS}")
    out: dict[str, Any] = {}
    for name, algorithm in algorithms.items():
        found = looks[name]
        out[name] = {
            "preset": own_preset if algorithm is own else preset,
            "settings": algorithm.settings.model_dump(mode="json"),
            "aggregation": getattr(algorithm.settings, "aggregation", algorithm.aggregation),
            "loss": float(found.loss.total) + 0.0,
            "terms": {"policy": 0.0, "kl": 0.0, "value": 0.0}
            | {term: float(value) + 0.0 for term, value in found.loss.terms.items()},
            "metrics": metrics(tensors, now, found) | _zero_std(data),
            "groups": _by_group(data, tensors, found),
        }
        if row is not None and explain is not None:
            out[name]["explain"] = explained(algorithm, found, tensors, now, row, explain[2])
    return {
        "algorithms": out,
        "cosine": cosine({name: found.gradient for name, found in looks.items()}),
        "left_out": {name: left_out[name] for name in ALGORITHMS if name in left_out},
        "groups": [
            {
                "prompt": group.get("prompt", ""),
                "samples": [
                    {"tokens": sample.get("tokens"), "reward": float(sample["reward"])}
                    for sample in group["samples"]
                ],
            }
            for group in data["groups"]
        ],
    }


def metrics(batch: Batch, now: Forward, found: Look) -> dict[str, float]:
    """Metrics of one algorithm: means and extremes over the answer tokens."""
    mask, on = batch.mask, batch.mask.bool()
    ratio = found.loss.ratio.expand(mask.shape)[on]
    out = {
        "clip_fraction": 0.0,
        "kl_old": float(masked_mean(kl_estimate(batch.old_logp, now.logp, "k3"), mask)),
        "ratio_max": float(ratio.max()),
        "ratio_min": float(ratio.min()),
        "advantage_std": float(found.credit.advantage[on].std(unbiased=False)),
    }
    if found.loss.clipped is not None:
        out["clip_fraction"] = float(found.loss.clipped.expand(mask.shape)[on].to(mask).mean())
    if batch.ref_logp is not None:
        out["kl_ref"] = float(masked_mean(kl_estimate(now.logp, batch.ref_logp, "k3"), mask))
    if found.credit.returns is not None and batch.value is not None:
        out["explained_variance"] = explained_variance(found.credit.returns, batch.value, mask)
    return out


def cosine(gradients: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Cosine between every two gradients [N, T]; 0 if one of them is 0."""
    if not gradients:
        return {}
    flat = torch.stack([g.flatten() for g in gradients.values()])  # [A, N·T]
    flat = flat / _nonzero(flat.abs().amax(1, keepdim=True))  # so that no square underflows
    flat = flat / _nonzero(flat.norm(dim=1, keepdim=True))
    table = (flat @ flat.T).clamp(-1, 1)
    table = (table + table.T) / 2 + 0.0
    table.diagonal().copy_((table.diagonal() > 0.5).to(table))
    rows = (dict(zip(gradients, row, strict=True)) for row in table.tolist())
    return dict(zip(gradients, rows, strict=True))


def _nonzero(x: Tensor) -> Tensor:
    return x.masked_fill(x == 0, 1.0)


def _row(data: Mapping[str, Any], place: tuple[int, int, int]) -> int:
    """Which row of the tensors a (group, sample, token) is in. Raises RequestError."""
    g, s, t = place
    for n, (group, sample, found) in enumerate(samples(data)):
        if (group, sample) == (g, s):
            if not 0 <= t < len(found["logprobs"]):
                last = len(found["logprobs"]) - 1
                raise RequestError(f"no token {t} in sample {s} of group {g}; valid: 0 to {last}")
            return n
    groups = data["groups"]
    if not 0 <= g < len(groups):
        raise RequestError(f"no group {g} in the batch; valid: 0 to {len(groups) - 1}")
    last = len(groups[g]["samples"]) - 1
    raise RequestError(f"no sample {s} in group {g}; valid: 0 to {last}")


def _finite(found: Look, batch: Batch) -> bool:
    """Whether all numbers are finite: JSON has no infinity."""
    parts = [found.gradient, found.credit.advantage * batch.mask, *found.loss.terms.values()]
    parts += [found.loss.total]
    return all(bool(part.isfinite().all()) for part in parts)


def _zero_std(data: Mapping[str, Any]) -> dict[str, int]:
    rewards = ([sample["reward"] for sample in group["samples"]] for group in data["groups"])
    return {"zero_std_groups": sum(len(set(of_group)) == 1 for of_group in rewards)}


def _by_group(data: Mapping[str, Any], batch: Batch, found: Look) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [{"samples": []} for _ in data["groups"]]
    lengths = batch.mask.sum(1).long().tolist()
    returns = found.credit.returns
    for i, (g, _, _) in enumerate(samples(data)):
        n = lengths[i]
        groups[g]["samples"].append(
            {
                "advantages": (found.credit.advantage[i, :n] + 0.0).tolist(),
                "returns": None if returns is None else (returns[i, :n] + 0.0).tolist(),
                "gradient": (found.gradient[i, :n] + 0.0).tolist(),
            }
        )
    return groups
