"""What several algorithms are made of: group statistics, masked means, KL estimators, GAE,
clipping.

Only methods of tensors are used and torch is never imported, so the front end can read settings
and formulas in milliseconds. N rows, T answer length; `mask` [N, T] is 1 on answer tokens and 0 on
padding; everything is natural logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from grpolab.algorithms.base import Whole

Aggregation = Literal[
    "token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"
]
KlEstimator = Literal["k1", "k2", "k3"]


def group_sum(x: Tensor, group: Tensor) -> Tensor:
    """Σ of x over each row's group, per row. x [N], group [N] of ids 0…K−1 -> [N]."""
    k = int(group.max().item()) + 1
    return x.new_zeros(k).index_add(0, group, x)[group]


def group_size(x: Tensor, group: Tensor) -> Tensor:
    """Rows in each row's group, as floats. [N] -> [N]."""
    return group_sum(x.new_ones(x.shape), group)


def group_mean(x: Tensor, group: Tensor) -> Tensor:
    """Mean of x over each row's group, per row. [N] -> [N]."""
    return group_sum(x, group) / group_size(x, group)


def group_std(x: Tensor, group: Tensor, ddof: int) -> Tensor:
    """Standard deviation of x over each row's group, per row; 0 in a group of `ddof` rows or
    fewer. [N] -> [N]."""
    squares = group_sum((x - group_mean(x, group)) ** 2, group)
    return (squares / (group_size(x, group) - ddof).clamp(min=1)).sqrt()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over all masked tokens. [N, T] -> []."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def whiten(x: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean 0 and variance 1 (ddof 1) over all masked tokens; padding stays 0. [N, T] -> [N, T]."""
    mean = masked_mean(x, mask)
    n = mask.sum()
    variance = (((x - mean) * mask) ** 2).sum() / (n - 1).clamp(min=1)
    return (x - mean) * mask / (variance + eps).sqrt()


def aggregate(x: Tensor, mask: Tensor, how: Aggregation, whole: Whole) -> Tensor:
    """One number from per-token losses, additive over the pieces that `whole` was split into. [n,
    T] -> [].

    token-mean               Σ over all tokens / tokens of the whole
    seq-mean-token-mean      mean over rows of each row's token mean
    seq-mean-token-sum       mean over rows of each row's sum
    seq-mean-token-sum-norm  Σ / (rows · longest answer allowed)
    """
    x = x * mask
    if how == "token-mean":
        return x.sum() / max(whole.tokens, 1)
    if how == "seq-mean-token-mean":
        return (x.sum(1) / mask.sum(1).clamp(min=1)).sum() / whole.rows
    if how == "seq-mean-token-sum":
        return x.sum() / whole.rows
    if how == "seq-mean-token-sum-norm":
        return x.sum() / (whole.rows * whole.max_tokens)
    raise ValueError(f"unknown aggregation {how!r}")


def kl_estimate(logp: Tensor, ref_logp: Tensor, estimator: KlEstimator) -> Tensor:
    """Per-token estimate of KL(π‖π_ref) from samples of π (Schulman, Approximating KL Divergence).
    [N, T] -> [N, T].

    With d = log π_ref − log π:  k1 = −d (unbiased, signed) · k2 = d²/2 · k3 = e^d − 1 − d
    (unbiased, never negative).
    """
    d = ref_logp - logp
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return 0.5 * d**2
    if estimator == "k3":
        return d.exp() - 1 - d
    raise ValueError(f"unknown KL estimator {estimator!r}")


def terminal_reward(reward: Tensor, mask: Tensor) -> Tensor:
    """Per-token rewards that are 0 but at each row's last token, which gets the row's reward. [N]
    -> [N, T]."""
    last = (mask.sum(1).long() - 1).clamp(min=0)
    out = mask.new_zeros(mask.shape).to(reward.dtype)
    return out.scatter(1, last[:, None], reward[:, None]) * mask


def gae(
    reward: Tensor, value: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (1506.02438, eq. 16) and the returns Â + V. All [N, T].

    δ_t = r_t + γ V_{t+1} − V_t with V after the last token 0;  Â_t = δ_t + γ λ Â_{t+1}.
    """
    width = mask.shape[1]
    following = value.new_zeros(value.shape[0])
    running = value.new_zeros(value.shape[0])
    advantage = value.new_zeros(value.shape)
    for t in range(width - 1, -1, -1):
        live = mask[:, t]
        delta = reward[:, t] + gamma * following - value[:, t]
        running = (delta + gamma * lam * running) * live
        advantage[:, t] = running
        following = value[:, t] * live
    return advantage, (advantage + value) * mask


def clipped_surrogate(
    ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """min(ρÂ, clip(ρ, 1−ε_low, 1+ε_high)Â) and where the clipped branch won (1707.06347, eq. 7).
    Any one shape."""
    free = ratio * advantage
    held = ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    return free.minimum(held), held < free
