"""What several algorithms are made of: group statistics, ratios, clipping, KL estimators, GAE,
aggregation.

Only methods of tensors are used and torch is never imported, so the front end can read settings
and formulas in milliseconds. N rows, T answer length; `mask` [N, T] is 1 on answer tokens and 0 on
padding; everything is natural logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from grpolab.algorithms.types import Batch, Forward, Whole

FARTHEST = 300.0
"""Log-ratios are held within ±this before exp: e^300 may still be squared in float64."""
FARTHEST_SHORT = 60.0
"""The same in float32 and shorter numbers."""


def held(log_ratio: Tensor) -> Tensor:
    """The log-ratio, not so far from 0 that its exp overflows. Any shape."""
    bound = FARTHEST if log_ratio.dtype.itemsize == 8 else FARTHEST_SHORT
    return log_ratio.clamp(-bound, bound)


# --- groups ---


def group_sum(x: Tensor, group: Tensor) -> Tensor:
    """Σ of x over each row's group, per row. x [N], group [N] of ids 0…K−1 -> [N]."""
    k = int(group.max().item()) + 1
    return x.new_zeros(k).index_add(0, group, x)[group]


def group_size(x: Tensor, group: Tensor) -> Tensor:
    """Rows in each row's group, as floats. [N] -> [N]."""
    return group_sum(x.new_ones(x.shape), group)


def group_extreme(x: Tensor, group: Tensor, which: str) -> Tensor:
    """The smallest ("amin") or largest ("amax") x of each row's group, per row. [N] -> [N]."""
    k = int(group.max().item()) + 1
    return x.new_zeros(k).scatter_reduce(0, group, x, which, include_self=False)[group]


def above_worst(x: Tensor, group: Tensor) -> Tensor:
    """x minus its group's smallest: exactly 0 where all are equal, so that no rounding of a mean
    pushes a group that has nothing to say. [N] -> [N]."""
    return x - group_extreme(x, group, "amin")


def group_mean(x: Tensor, group: Tensor) -> Tensor:
    """Mean of x over each row's group, per row. [N] -> [N]."""
    worst = group_extreme(x, group, "amin")
    return worst + group_sum(x - worst, group) / group_size(x, group)


def centred(x: Tensor, group: Tensor) -> Tensor:
    """r − m: x minus its group's mean. [N] -> [N]."""
    d = above_worst(x, group)
    return d - group_sum(d, group) / group_size(x, group)


def group_std(x: Tensor, group: Tensor, ddof: int) -> Tensor:
    """s: standard deviation of x over each row's group, per row; 0 in a group of `ddof` rows or
    fewer. [N] -> [N]."""
    squares = group_sum(centred(x, group) ** 2, group)
    return (squares / (group_size(x, group) - ddof).clamp(min=1)).sqrt()


def standardised(x: Tensor, group: Tensor, ddof: int, epsilon: float) -> Tensor:
    """(r − m) / (s + ε), 0 where all rewards of the group are equal. [N] -> [N].

    In float32, equal to 1e-6: a KL in the reward differs by rounding where nothing else does, and
    that is not to be blown up to a full-size advantage.
    """
    std = group_std(x, group, ddof)
    equal = std <= (1e-6 if x.element_size() <= 4 else 0.0)
    return centred(x, group).masked_fill(equal, 0.0) / (std + epsilon).masked_fill(equal, 1.0)


# --- tokens ---


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over all masked tokens. [N, T] -> []."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def whiten(x: Tensor, mask: Tensor, ddof: int = 1, epsilon: float = 1e-8) -> Tensor:
    """Mean 0 and variance 1 over all masked tokens, ε under the root; padding stays 0, and equal
    numbers become exactly 0. [N, T]."""
    above = (x - x.masked_fill(mask == 0, float("inf")).min()) * mask
    d = (above - masked_mean(above, mask)) * mask
    variance = (d**2).sum() / (mask.sum() - ddof).clamp(min=1)
    return d / (variance + epsilon).sqrt()


def explained_variance(returns: Tensor, value: Tensor, mask: Tensor) -> float:
    """1 − Var(return − value)/Var(return) over the masked tokens; 0 where returns are all equal."""
    on = mask.bool()
    spread = float(returns[on].var(unbiased=False))
    error = float((returns - value)[on].var(unbiased=False))
    return 1 - error / spread if spread > 1e-12 else 0.0


def terminal_reward(reward: Tensor, mask: Tensor) -> Tensor:
    """Per-token rewards that are 0 but at each row's last token, which gets the row's reward. [N]
    -> [N, T]."""
    last = (mask.sum(1).long() - 1).clamp(min=0)
    out = mask.new_zeros(mask.shape).to(reward.dtype)
    return out.scatter(1, last[:, None], reward[:, None]) * mask


def reward_to_go(reward: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """G_t = Σ_{u ≥ t} γ^(u−t) r_u. [N, T] -> [N, T]."""
    out, running = reward.new_zeros(reward.shape), reward.new_zeros(len(reward))
    for t in range(reward.shape[1] - 1, -1, -1):
        running = (reward[:, t] + gamma * running) * mask[:, t]
        out[:, t] = running
    return out


def gae(
    reward: Tensor, value: Tensor, mask: Tensor, gamma: float, lam: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (1506.02438, eq. 16) and the returns Â + V. All [N, T];
    `lam` one number, or one a row [N].

    δ_t = r_t + γ V_{t+1} − V_t with V after the last token 0;  Â_t = δ_t + γ λ Â_{t+1}.
    """
    following = value.new_zeros(value.shape[0])
    running = value.new_zeros(value.shape[0])
    advantage = value.new_zeros(value.shape)
    for t in range(mask.shape[1] - 1, -1, -1):
        live = mask[:, t]
        delta = reward[:, t] + gamma * following - value[:, t]
        running = (delta + gamma * lam * running) * live
        advantage[:, t] = running
        following = value[:, t] * live
    return advantage, (advantage + value) * mask


# --- ratios and clipping ---


def log_ratio(batch: Batch, now: Forward) -> Tensor:
    """log ρ_t = log π − log π_old, 0 on padding. [n, T]."""
    return held((now.logp - batch.old_logp) * batch.mask)


def token_ratio(batch: Batch, now: Forward) -> Tensor:
    """ρ_t = π(token)/π_old(token), 1 on padding. [n, T]."""
    return log_ratio(batch, now).exp()


def answer_ratio(batch: Batch, now: Forward) -> Tensor:
    """π(answer)/π_old(answer), the product of the token ratios. [n, 1]."""
    whole = ((now.logp - batch.old_logp) * batch.mask).sum(1, keepdim=True)
    return held(whole).exp()


def sequence_ratio(batch: Batch, now: Forward) -> Tensor:
    """ρ_seq = exp(mean_t log ρ_t), the geometric mean of the token ratios (2507.18071, eq. 7).
    [n, 1]."""
    lengths = batch.mask.sum(1, keepdim=True).clamp(min=1)
    mean = ((now.logp - batch.old_logp) * batch.mask).sum(1, keepdim=True) / lengths
    return held(mean).exp()


def clipped_surrogate(
    ratio: Tensor,
    advantage: Tensor,
    clip_low: float | None,
    clip_high: float | None,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """min(ρÂ, clip(ρ, 1−ε_low, 1+ε_high)Â) and where the clipped branch won (1707.06347, eq. 7).

    Any one shape. None leaves that side open. `dual_clip` c > 1: where Â < 0, not below cÂ
    (1912.09729, eq. 3).
    """
    gain = ratio * advantage
    clipped = gain != gain
    if clip_low is not None or clip_high is not None:
        low = 0.0 if clip_low is None else 1 - clip_low
        held = ratio.clamp(low, None if clip_high is None else 1 + clip_high) * advantage
        clipped = held < gain
        gain = gain.minimum(held)
    if dual_clip is not None:
        floor = dual_clip * advantage
        low = (advantage < 0) & (gain < floor)
        gain, clipped = floor.where(low, gain), clipped | low
    return gain, clipped


# --- KL ---


def kl_estimate(logp: Tensor, ref_logp: Tensor, estimator: str) -> Tensor:
    """Per-token estimate of KL(π‖π_ref) from samples of π (Schulman, Approximating KL Divergence).
    [N, T] -> [N, T].

    With d = log π_ref − log π:  k1 = −d (unbiased, signed) · k2 = d²/2 · k3 = e^d − 1 − d
    (unbiased, never negative). `unbiased` is k3 until it is weighted, see `weighted_kl`.
    """
    d = ref_logp - logp
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return 0.5 * d**2
    if estimator in ("k3", "unbiased"):
        d = held(d)
        return d.exp() - 1 - d
    raise ValueError(f"unknown KL estimator {estimator!r}")


def weighted_kl(batch: Batch, now: Forward, estimator: str) -> Tensor:
    """The estimate of KL(π‖π_ref) as a loss term. `unbiased` weights k3 with ρ, the gradient
    through both, which makes value and gradient right on samples of π_old (2512.02556, §3.1).
    [n, T]."""
    assert batch.ref_logp is not None
    kl = kl_estimate(now.logp, batch.ref_logp, estimator)
    return token_ratio(batch, now) * kl if estimator == "unbiased" else kl


# --- one number ---


def aggregate(x: Tensor, mask: Tensor, how: str, whole: Whole) -> Tensor:
    """One number from losses, additive over the pieces that `whole` was split into. [n, T] -> [].

    token-mean               Σ over all tokens / tokens of the whole
    seq-mean-token-mean      mean over rows of each row's token mean
    seq-mean-token-sum       mean over rows of each row's sum
    seq-mean-token-sum-norm  Σ / (rows · longest answer allowed)
    sequence-mean            x is one number a row [n, 1]: mean over rows
    """
    if how == "sequence-mean":
        return x.sum() / whole.rows
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
