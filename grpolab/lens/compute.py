"""What each algorithm makes of a batch, as one JSON object: `grpolab lens`. Float64 throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Algorithm, Batch, Forward
from grpolab.algorithms.pieces import explained_variance, kl_estimate, masked_mean
from grpolab.lens.batch_file import checked, samples
from grpolab.lens.choose import NO_DISTRIBUTION, choose, lacks
from grpolab.lens.explained import explained
from grpolab.lens.tensors import Look, from_json, look
from grpolab.problems import RequestError

OVERFLOWS = "cannot be computed: with these numbers and settings it overflows float64"


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
    """What the algorithms make of `batch` (see `batch_file`): their losses, metrics, advantages and
    gradients, and how alike the gradients are.

    `own` is an algorithm as some lane has it, settings and memory; it looks under its name in place
    of the preset's. Without `names` the whole family looks, and `left_out` says who cannot and why.
    `explain` is the (group, sample, token) whose objective each algorithm explains. Raises
    RequestError; what is wrong with the batch begins with `where`.

    {"algorithms": {NAME: {"preset", "settings", "aggregation", "loss", "terms", "metrics",
                           "groups": [{"samples": [{"advantages", "returns", "gradient"}]}],
                           "explain"}},
     "cosine": {NAME: {NAME: …}}, "left_out": {NAME: why},
     "groups": [{"prompt", "samples": [{"tokens", "reward"}]}]}
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
    """Numbers of one algorithm's look, means and extremes over the answer tokens."""
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
    """Cosine of every two gradients [N, T]; 0 where one of them is 0."""
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
    """JSON has no infinity: whether there is none in what was found."""
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
