"""The numbers of a step that mean the same under every algorithm."""

from __future__ import annotations

from grpolab.algorithms.base import Algorithm
from grpolab.algorithms.functional import explained_variance, kl_estimate, masked_mean
from grpolab.algorithms.types import Batch, Credit, Report


def step_metrics(
    algorithm: Algorithm, batch: Batch, credit: Credit, report: Report
) -> dict[str, float]:
    """Loss, gradient, ratio, KL, entropy and critic of a step, plus the algorithm's own numbers."""
    mask, on = batch.mask, batch.mask.bool()
    out = {"loss": sum(report.terms.values()), "grad_norm": report.grad_norm}
    out |= {f"{name}_loss": value for name, value in report.terms.items()}
    advantage = credit.advantage[on]
    out["advantage_std"] = float(advantage.std(unbiased=False)) if advantage.numel() else 0.0
    means = (credit.advantage * mask).sum(1) / mask.sum(1).clamp(min=1)
    out["advantage_sum"] = float(means.sum())
    out["advantage_mean"] = float(masked_mean(credit.advantage, mask))
    if "policy" in report.first:
        out["policy_loss_first"] = report.first["policy"]
    if report.logp is not None and report.ratio is not None and on.any():
        ratio = report.ratio[on]
        out |= {"ratio_max": float(ratio.max()), "ratio_min": float(ratio.min())}
        out["kl_old"] = float(masked_mean(kl_estimate(batch.old_logp, report.logp, "k3"), mask))
    if report.entropy is not None:
        out["entropy"] = float(masked_mean(report.entropy, mask))
    if report.clipped is not None:
        out["clip_fraction"] = float(masked_mean(report.clipped.to(mask.dtype), mask))
        positive = credit.advantage > 0
        out["clip_fraction_high"] = float(masked_mean((report.clipped & positive) * 1.0, mask))
        out["clip_fraction_low"] = out["clip_fraction"] - out["clip_fraction_high"]
    if batch.ref_logp is not None:
        out["kl_ref"] = float(masked_mean(kl_estimate(batch.old_logp, batch.ref_logp, "k3"), mask))
    if batch.sampler_logp is not None:
        gap = (batch.old_logp - batch.sampler_logp).abs()
        out["sampler_gap"] = float(masked_mean(gap, mask))
    if algorithm.needs_reference:
        out["beta"] = algorithm.beta
    if credit.returns is not None and batch.value is not None:
        out["explained_variance"] = explained_variance(credit.returns, batch.value, mask)
    return out | report.extra
