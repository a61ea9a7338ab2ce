"""The KL bench: estimators of the KL against the exact one, on a fresh rollout of the live policy.

Value: each estimator's mean over the sampled tokens against KL(π‖π_ref) over the whole vocabulary
at the same states. Gradient: the estimator's expected gradient over the vocabulary, without
sampling noise, against ∇KL on the adapter's parameters: as a term of the loss, Σ_v π(v) ∇k(v), and
in the reward, Σ_v π(v) k(v) ∇log π(v). After Schulman, Approximating KL Divergence (2020), and Tang
& Munos 2025, arXiv 2506.09477, who distinguish value from gradient.

The states are taken as given: that the policy changes which states it visits is ignored on both
sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grpolab.algorithms.functional import kl_estimate
from grpolab.engine.lane import Lane
from grpolab.engine.microbatches import few
from grpolab.engine.rollout import collect
from grpolab.engine.score import distributions, part
from grpolab.record import events as ev

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab

ESTIMATORS = ("k1", "k2", "k3", "unbiased")


def bench(lab: Lab, lane: Lane) -> ev.KlBenched:
    """Measure all estimators on a fresh rollout of the lane's policy. The lane does not change."""
    lab.phase("sampling", lane, "KL bench")
    rollout = collect(lab, lane, lab.step_number, purpose="kl-bench", quiet=True).rollout
    lab.phase("scoring", lane, "KL bench")
    tensors = list(lane.optimizer.tensors.values())
    tokens = float(rollout.mask.sum())
    names = ["exact", *(f"{e} {place}" for e in ESTIMATORS for place in ("loss", "reward"))]

    def work(rows: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        piece, _ = part(rollout, rows)
        temperature = lane.rollout.temperature
        logp = distributions(lane.backbone, lane.adapter, piece, temperature)  # [n, T, V]
        with torch.no_grad():
            ref = distributions(lane.backbone, lane.snapshots.reference, piece, temperature)
        fixed, on = logp.detach(), piece.mask.bool()
        p = fixed.exp()

        def mean(x: Tensor) -> Tensor:
            return (x.sum(-1) * piece.mask).sum() / tokens

        aims = {"exact": mean(logp.exp() * (logp - ref))}
        sampled = {"exact": (p * (fixed - ref)).sum(-1)[on]}
        drawn = piece.tokens.unsqueeze(-1)
        for name in ESTIMATORS:
            each = kl_estimate(logp, ref, name)
            weight = (logp - fixed).exp() if name == "unbiased" else 1.0  # ρ, 1 on its own samples
            aims[f"{name} loss"] = mean(p * weight * each)
            aims[f"{name} reward"] = mean(p * each.detach() * logp)
            sampled[name] = each.detach().gather(-1, drawn).squeeze(-1)[on]
        grads = []
        for name in names:
            found = torch.autograd.grad(
                aims[name], tensors, retain_graph=True, materialize_grads=True
            )
            grads.append(torch.cat([g.reshape(-1) for g in found]).double())
        return grads, sampled

    rows = torch.arange(len(rollout.group), device=lane.backbone.device)
    done = lane.workers.map(work, few(lane, rows, rollout.mask.shape[1]))
    total = [torch.stack(parts).sum(0) for parts in zip(*(g for g, _ in done), strict=True)]
    gradient = dict(zip(names, total, strict=True))
    value = {k: torch.cat([s[k] for _, s in done]).double() for k in done[0][1]}
    exact = value["exact"]
    out = []
    for name in ESTIMATORS:
        off = value[name] - exact
        row = {
            "value": float(value[name].mean()),
            "bias": float(off.mean()),
            "bias_se": float(off.std() / len(off) ** 0.5) if len(off) > 1 else 0.0,
            "std": float(value[name].std()) if len(off) > 1 else 0.0,
        }
        for place in ("loss", "reward"):
            row |= _compared(gradient[f"{name} {place}"], gradient["exact"], place)
        out.append(ev.KlEstimate(name, **row))
    return ev.KlBenched(
        step=lab.step_number,
        lane=lane.name,
        exact=float(exact.mean()),
        gradient=float(gradient["exact"].norm()),
        tokens=int(tokens),
        estimates=out,
    )


def _compared(found: Tensor, exact: Tensor, place: str) -> dict[str, float]:
    """Cosine with the exact gradient, and the distance from it relative to its norm."""
    length = float(exact.norm())
    if length == 0:
        return {f"{place}_cosine": 0.0, f"{place}_error": 0.0}
    norm = float(found.norm())
    cosine = float(found @ exact) / (norm * length) if norm else 0.0
    return {f"{place}_cosine": cosine, f"{place}_error": float((found - exact).norm()) / length}
