"""The named helpers that formulas are written with: group statistics, whitening, returns, GAE,
ratios, clipping, KL estimators, aggregation. Each docstring begins with its formula.

Only tensor methods are used and torch is never imported, so the front end can read settings and
formulas in milliseconds. N rows, n rows of a microbatch, T answer tokens; `mask` [N, T] is 1 on
answer tokens and 0 on padding; logarithms are natural.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from grpolab.algorithms.types import Batch, BatchTotals, Forward

MAX_LOG_RATIO = 300.0
"""Log-ratios are bounded to ±this before exp: e^300 can still be squared in float64."""
MAX_LOG_RATIO_SHORT = 60.0
"""The same in float32 and shorter types."""


def bounded(log_ratio: Tensor) -> Tensor:
    """clip(log ρ, −MAX_LOG_RATIO, MAX_LOG_RATIO), so that exp does not overflow. Any shape."""
    bound = MAX_LOG_RATIO if log_ratio.dtype.itemsize == 8 else MAX_LOG_RATIO_SHORT
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


def above_min(x: Tensor, group: Tensor) -> Tensor:
    """x − min of its group: exactly 0 where all are equal, so that a mean's rounding gives no
    gradient to a group of equal rewards. [N] -> [N]."""
    return x - group_extreme(x, group, "amin")


def group_mean(x: Tensor, group: Tensor) -> Tensor:
    """Mean of x over each row's group, per row. [N] -> [N]."""
    lowest = group_extreme(x, group, "amin")
    return lowest + group_sum(x - lowest, group) / group_size(x, group)


def centred(x: Tensor, group: Tensor) -> Tensor:
    """r − m, m the mean of the row's group; exactly 0 where all are equal. [N] -> [N]."""
    d = above_min(x, group)
    return d - group_sum(d, group) / group_size(x, group)


def batch_centred(x: Tensor) -> Tensor:
    """r − mean r over the whole batch; exactly 0 where all are equal. [N] -> [N]."""
    d = x - x.min()
    return d - d.mean()


def leave_one_out(x: Tensor, group: Tensor) -> Tensor:
    """r_i − 1/(G−1) Σ_{j≠i} r_j, the mean of the group's other rows; 0 in a group of one.
    [N] -> [N]."""
    d, size = above_min(x, group), group_size(x, group)
    others = (group_sum(d, group) - d) / (size - 1).clamp(min=1)
    return (d - others) * (size > 1)


def group_std(x: Tensor, group: Tensor, ddof: int) -> Tensor:
    """s: standard deviation of x over each row's group, per row; 0 in a group of `ddof` rows or
    fewer. [N] -> [N]."""
    squares = group_sum(centred(x, group) ** 2, group)
    return (squares / (group_size(x, group) - ddof).clamp(min=1)).sqrt()


def standardised(x: Tensor, group: Tensor, ddof: int, epsilon: float) -> Tensor:
    """(r − m) / (s + ε), m and s the mean and std of the row's group; 0 where all rewards of the
    group are equal. [N] -> [N].

    In float32 equal means s ≤ 1e-6: rewards that contain a KL differ by rounding alone, which must
    not be scaled up to a full-size advantage.
    """
    std = group_std(x, group, ddof)
    equal = std <= (1e-6 if x.element_size() <= 4 else 0.0)
    return centred(x, group).masked_fill(equal, 0.0) / (std + epsilon).masked_fill(equal, 1.0)


# --- tokens ---


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over all masked tokens. [N, T] -> []."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def whiten(x: Tensor, mask: Tensor, ddof: int = 1, epsilon: float = 1e-8) -> Tensor:
    """(x − mean x) / √(var x + ε) over all tokens of the batch; 0 on padding, and exactly 0 where
    all are equal. [N, T] -> [N, T]."""
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
    """r_t = the row's reward at its last token, 0 before. [N] -> [N, T]."""
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
    """Â_t = δ_t + γ λ Â_{t+1} with δ_t = r_t + γ V_{t+1} − V_t, and the returns R = Â + V.

    Generalized advantage estimation (1506.02438, eq. 16). All [N, T]; V after the last token is 0;
    λ is one number, or one per row [N].
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
    return bounded((now.logp - batch.old_logp) * batch.mask)


def token_ratio(batch: Batch, now: Forward) -> Tensor:
    """ρ_t = π(token)/π_old(token), 1 on padding. [n, T]."""
    return log_ratio(batch, now).exp()


def answer_ratio(batch: Batch, now: Forward) -> Tensor:
    """ρ_ans = Π_t ρ_t = π(answer)/π_old(answer). [n, 1]."""
    total = ((now.logp - batch.old_logp) * batch.mask).sum(1, keepdim=True)
    return bounded(total).exp()


def sequence_ratio(batch: Batch, now: Forward) -> Tensor:
    """ρ_seq = exp(1/|o| Σ_t log ρ_t), the geometric mean of the token ratios (2507.18071, eq. 7).
    [n, 1]."""
    lengths = batch.mask.sum(1, keepdim=True).clamp(min=1)
    mean = ((now.logp - batch.old_logp) * batch.mask).sum(1, keepdim=True) / lengths
    return bounded(mean).exp()


def clipped_surrogate(
    ratio: Tensor,
    advantage: Tensor,
    clip_low: float | None,
    clip_high: float | None,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â), and where min() chose the clipped branch (1707.06347,
    eq. 7).

    All of one shape. None leaves that side open. `dual_clip` c > 1: where Â < 0, at least c Â
    (1912.09729, eq. 3).
    """
    surrogate = ratio * advantage
    clipped = surrogate != surrogate
    if clip_low is not None or clip_high is not None:
        low = 0.0 if clip_low is None else 1 - clip_low
        high = None if clip_high is None else 1 + clip_high
        bound = ratio.clamp(low, high) * advantage
        clipped = bound < surrogate
        surrogate = surrogate.minimum(bound)
    if dual_clip is not None:
        floor = dual_clip * advantage
        below = (advantage < 0) & (surrogate < floor)
        surrogate, clipped = floor.where(below, surrogate), clipped | below
    return surrogate, clipped


# --- KL ---


def kl_estimate(logp: Tensor, ref_logp: Tensor, estimator: str) -> Tensor:
    """k1 = −d, k2 = d²/2 or k3 = e^d − 1 − d, with d = log π_ref − log π. [N, T] -> [N, T].

    Per-token estimates of KL(π‖π_ref) from samples of π (Schulman, Approximating KL Divergence). k1
    is unbiased and signed, k3 unbiased and never negative. `unbiased` gives k3 here; `weighted_kl`
    weights it.
    """
    d = ref_logp - logp
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return 0.5 * d**2
    if estimator in ("k3", "unbiased"):
        d = bounded(d)
        return d.exp() - 1 - d
    raise ValueError(f"unknown KL estimator {estimator!r}")


def weighted_kl(batch: Batch, now: Forward, estimator: str) -> Tensor:
    """The KL estimate as a loss term; `unbiased` is ρ·k3. [n, T].

    The gradient of `unbiased` flows through both factors, so that value and gradient are unbiased
    on samples of π_old (2512.02556, §3.1).
    """
    assert batch.ref_logp is not None
    kl = kl_estimate(now.logp, batch.ref_logp, estimator)
    return token_ratio(batch, now) * kl if estimator == "unbiased" else kl


# --- one number ---


def aggregate(x: Tensor, mask: Tensor, how: str, totals: BatchTotals) -> Tensor:
    """One number from per-token losses; the parts of all microbatches add up to it. [n, T] -> [].

    token-mean               Σ over all tokens / tokens of the minibatch
    seq-mean-token-mean      mean over rows of each row's token mean
    seq-mean-token-sum       mean over rows of each row's sum
    seq-mean-token-sum-norm  Σ over all tokens / (rows · longest answer allowed)
    sequence-mean            x has one number per row [n, 1]: mean over rows
    """
    if how == "sequence-mean":
        return x.sum() / totals.rows
    x = x * mask
    if how == "token-mean":
        return x.sum() / max(totals.tokens, 1)
    if how == "seq-mean-token-mean":
        return (x.sum(1) / mask.sum(1).clamp(min=1)).sum() / totals.rows
    if how == "seq-mean-token-sum":
        return x.sum() / totals.rows
    if how == "seq-mean-token-sum-norm":
        return x.sum() / (totals.rows * totals.max_tokens)
    raise ValueError(f"unknown aggregation {how!r}")
