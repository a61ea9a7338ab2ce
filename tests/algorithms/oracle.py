"""What each algorithm makes of a lens batch, written a second time and without the package.

Plain floats, `math`, sums written out; gradients by formulas derived by hand. It serves as the
other opinion in `test_against_oracle.py`, so it must never import grpolab.

Letters as in the papers: r reward, A advantage (Â), rho ratio, V value, R return, m and s a
group's mean and standard deviation, N rows, T tokens, L the answer-length limit.
Every gain comes with its slope in logp; at a kink the free branch's slope counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, exp, expm1, fsum, sqrt

LIMIT = 300.0  # what is exponentiated stays within ±LIMIT


# ---------------------------------------------------------------- settings and their defaults

COMMON = {
    "beta": 0.0,
    "kl_place": "loss",
    "kl_estimator": "k3",
    "overlong_buffer": 0.0,
    "overlong_penalty": 1.0,
    "top_entropy": 1.0,
    "tis_cap": None,
}
CLIP = {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": None}
GROUP_STD = {"ddof": 0, "std_epsilon": 0.0}
KL_IN_REWARD = {"kl_place": "reward", "kl_estimator": "k1"}
GAE = {"gamma": 1.0, "gae_lambda": 0.95, "whiten": True, "ddof": 1}
PPO = GAE | CLIP | KL_IN_REWARD | {"clip_value": 1.0, "value_weight": 1.0}
PPO_KL = GAE | {"beta": 1.0}
GRPO = CLIP | GROUP_STD | {"beta": 0.04, "scale": "std"}
GSPO = CLIP | GROUP_STD | {"clip_low": 3e-4, "clip_high": 4e-4}
VC_PPO = PPO | {"critic_lambda": 1.0}

TOKEN_MEAN, ROW_MEAN = "token-mean", "seq-mean-token-mean"
ROW_SUM, ROW_NORM = "seq-mean-token-sum", "seq-mean-token-sum-norm"
SEQUENCE = "sequence-mean"  # the objective is one number a row

OWN: dict[str, tuple[str, dict]] = {
    "reinforce": (ROW_SUM, {"baseline": "batch", "importance": False}),
    "is-pg": (ROW_SUM, {"baseline": "batch"}),
    "remax": (ROW_SUM, KL_IN_REWARD),
    "rloo": (SEQUENCE, KL_IN_REWARD | CLIP | {"clip_low": None, "clip_high": None}),
    "reinforce++": (
        TOKEN_MEAN,
        KL_IN_REWARD | CLIP | {"beta": 0.01, "gamma": 1.0, "ddof": 1, "std_epsilon": 1e-8},
    ),
    "reinforce++-baseline": (
        TOKEN_MEAN,
        CLIP | {"beta": 0.01, "kl_estimator": "k2", "ddof": 1, "std_epsilon": 1e-8},
    ),
    "trpo": (TOKEN_MEAN, GAE | {"advantage": "gae"}),
    "ppo-kl": (TOKEN_MEAN, PPO_KL),
    "ppo-adaptive-kl": (TOKEN_MEAN, PPO_KL),
    "ppo": (TOKEN_MEAN, PPO | {"beta": 0.01}),
    "grpo": (ROW_MEAN, GRPO),
    "grpo-process": (ROW_MEAN, GRPO),
    "grpo-iterative": (ROW_MEAN, GRPO),
    "dr-grpo": (ROW_NORM, CLIP),
    "dapo": (TOKEN_MEAN, CLIP | GROUP_STD | {"clip_high": 0.28, "overlong_buffer": 0.2}),
    "gspo": (SEQUENCE, GSPO),
    "gspo-token": (ROW_MEAN, GSPO),
    "cispo": (TOKEN_MEAN, GROUP_STD | {"clip_low": None, "clip_high": 4.0}),
    "gmpo": (SEQUENCE, GROUP_STD | {"clip_low": 0.4, "clip_high": 0.4}),
    "sapo": (ROW_MEAN, GROUP_STD | {"tau_positive": 1.0, "tau_negative": 1.05}),
    "kimi-md": (SEQUENCE, {"tau": 0.1}),
    "vc-ppo": (TOKEN_MEAN, VC_PPO),
    "vapo": (
        TOKEN_MEAN,
        VC_PPO
        | {"clip_high": 0.28, "gae_lambda": None, "length_alpha": 0.05}
        | {"imitation_weight": 0.1, "positive_at": 1.0},
    ),
    "opo": (ROW_SUM, {}),
    "maxrl": (TOKEN_MEAN, CLIP),
    "raft": (TOKEN_MEAN, {}),
}
DEFAULTS = {name: COMMON | own | {"aggregation": how} for name, (how, own) in OWN.items()}


# ---------------------------------------------------------------- small mathematics


def clamp(x: float, low: float | None, high: float | None) -> float:
    """None leaves that side open."""
    if low is not None and x < low:
        return low
    return high if high is not None and x > high else x


def bounded_exp(x: float) -> tuple[float, float]:
    """exp of x clamped to ±LIMIT, and its slope in x."""
    y = exp(clamp(x, -LIMIT, LIMIT))
    return y, y if abs(x) <= LIMIT else 0.0


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def mean(xs: list[float]) -> float:
    """The mean of equal numbers is that number, without a rounding error."""
    return xs[0] if min(xs) == max(xs) else fsum(xs) / len(xs)


def above_mean(xs: list[float]) -> list[float]:
    """x − m in rationals, so that nearly equal numbers keep their difference."""
    m = sum(map(Fraction, xs)) / len(xs)
    return [float(Fraction(x) - m) for x in xs]


def variance(xs: list[float], ddof: int) -> float:
    return 0.0 if len(xs) <= ddof else fsum(a * a for a in above_mean(xs)) / (len(xs) - ddof)


def kl_estimate(estimator: str, p: float, q: float) -> tuple[float, float]:
    """An estimate of KL(p‖q) from the log-probs of one token drawn from p; its slope in p."""
    d = q - p
    if estimator == "k1":
        return -d, 1.0
    if estimator == "k2":
        return d * d / 2, -d
    bounded = clamp(d, -LIMIT, LIMIT)  # k3, and "unbiased" but for its weight
    return expm1(bounded) - bounded, -expm1(d) if d == bounded else 0.0


# ---------------------------------------------------------------- the batch


@dataclass
class Row:
    raw: float  # the reward as given
    r: float  # after overlong shaping
    r_t: list[float]  # per token: r at the last one, and the KL part where it is in the reward
    logp: list[float]
    old: list[float]
    ref: list[float] | None
    V: list[float] | None
    sampler: list[float] | None
    entropies: list[float] | None
    steps: list[dict] | None
    greedy: float | None

    def __len__(self) -> int:
        return len(self.logp)

    @cached_property
    def total(self) -> float:
        """The row's reward as one number."""
        return fsum(self.r_t)

    @cached_property
    def log_rho(self) -> list[float]:
        return [new - old for new, old in zip(self.logp, self.old, strict=True)]


@dataclass
class Rows:
    groups: list[list[Row]]
    L: int

    @cached_property
    def all(self) -> list[Row]:
        return [row for group in self.groups for row in group]

    @cached_property
    def N(self) -> int:
        return len(self.all)

    @cached_property
    def T(self) -> int:
        return sum(len(row) for row in self.all)


def read(batch: dict, s: dict) -> Rows:
    L = batch["max_tokens"]
    groups = [
        [read_row(sample, group.get("greedy_reward"), L, s) for sample in group["samples"]]
        for group in batch["groups"]
    ]
    return Rows(groups, L)


def read_row(sample: dict, greedy: float | None, L: int, s: dict) -> Row:
    logp, old, ref = sample["logprobs"], sample["old_logprobs"], sample.get("ref_logprobs")
    r, b = sample["reward"], s["overlong_buffer"]
    if b > 0:
        r -= s["overlong_penalty"] * clamp((len(logp) - (1 - b) * L) / (b * L), 0.0, 1.0)
    r_t = [0.0] * (len(logp) - 1) + [r]
    if s["kl_place"] == "reward" and s["beta"] > 0:
        kl = [kl_estimate(s["kl_estimator"], p, q)[0] for p, q in zip(old, ref, strict=True)]
        r_t = [reward - s["beta"] * k for reward, k in zip(r_t, kl, strict=True)]
    extra = (sample.get(key) for key in ("values", "sampler_logprobs", "entropies"))
    return Row(sample["reward"], r, r_t, logp, old, ref, *extra, sample.get("step_rewards"), greedy)


# ---------------------------------------------------------------- advantages

# [row][token], rows in the order of the batch
PerToken = list[list[float]]


def over_tokens(b: Rows, A: list[float]) -> PerToken:
    """One number a row, the same for each of its tokens."""
    return [[a] * len(row) for row, a in zip(b.all, A, strict=True)]


def minus_group_mean(b: Rows) -> list[float]:
    """r − m."""
    return [a for group in b.groups for a in above_mean([row.total for row in group])]


def standardised(b: Rows, ddof: int, eps: float) -> list[float]:
    """(r − m) / (s + eps), 0 where all rewards are equal."""
    s = [sqrt(variance([row.total for row in group], ddof)) for group in b.groups for _ in group]
    scale = [deviation + eps or 1.0 for deviation in s]
    return [a / x for a, x in zip(minus_group_mean(b), scale, strict=True)]


def group_advantage(b: Rows, s: dict) -> PerToken:
    if s.get("scale") == "none":
        return over_tokens(b, minus_group_mean(b))
    return over_tokens(b, standardised(b, s["ddof"], s["std_epsilon"]))


def minus_baseline(b: Rows, s: dict) -> PerToken:
    """A moving average has only this batch to go by, and starts at its mean."""
    r = [row.total for row in b.all]
    baseline = 0.0 if s["baseline"] == "none" else mean(r)
    return over_tokens(b, [x - baseline for x in r])


def rewards_to_go(row: Row, gamma: float) -> list[float]:
    """Σ_{k ≥ t} γ^(k−t) r_k."""
    n = len(row)
    return [fsum(gamma ** (k - t) * row.r_t[k] for k in range(t, n)) for t in range(n)]


def gae(row: Row, gamma: float, lam: float) -> list[float]:
    """Σ_{k ≥ t} (γλ)^(k−t) δ_k with δ_k = r_k + γ V_{k+1} − V_k; V after the last token is 0."""
    V, n = [*row.V, 0.0], len(row)
    delta = [row.r_t[k] + gamma * V[k + 1] - V[k] for k in range(n)]
    return [fsum((gamma * lam) ** (k - t) * delta[k] for k in range(t, n)) for t in range(n)]


def whitened(x: PerToken, ddof: int = 1, eps: float = 1e-8) -> PerToken:
    """(x − mean) / √(var + eps) over all tokens of the batch."""
    tokens = [a for row in x for a in row]
    m, scale = mean(tokens), sqrt(variance(tokens, ddof) + eps)
    return [[(a - m) / scale for a in row] for row in x]


# ---------------------------------------------------------------- gains
# A token's gain is (value, slope in its logp, on the clipped branch?);
# a row's gain is (value, slope in the logp of each token, each token clipped?).


def min_clip(A: float, rho: float, s: dict) -> tuple[float, float, bool]:
    """min(ρA, clip(ρ)A), for A < 0 not below c·A; its slope is in ρ."""
    low, high, c = s["clip_low"], s["clip_high"], s["dual_clip"]
    free = rho * A
    bounds = None if low is None else 1 - low, None if high is None else 1 + high
    clip = clamp(rho, *bounds) * A
    value, slope, clipped = (clip, 0.0, True) if clip < free else (free, A, False)
    if c is not None and A < 0 and c * A > value:
        return c * A, 0.0, True
    return value, slope, clipped


def log_gain(A: float, row: Row, t: int, s: dict) -> tuple[float, float, bool]:
    """A · logp."""
    return A * row.logp[t], A, False


def ratio_gain(A: float, row: Row, t: int, s: dict) -> tuple[float, float, bool]:
    """A · ρ_t."""
    rho, d_rho = bounded_exp(row.log_rho[t])
    return A * rho, A * d_rho, False


def clip_gain(A: float, row: Row, t: int, s: dict) -> tuple[float, float, bool]:
    rho, d_rho = bounded_exp(row.log_rho[t])
    value, slope, clipped = min_clip(A, rho, s)
    return value, slope * d_rho, clipped


def cispo_gain(A: float, row: Row, t: int, s: dict) -> tuple[float, float, bool]:
    """sg(clamp ρ_t) · A · logp."""
    rho, _ = bounded_exp(row.log_rho[t])
    low, high = s["clip_low"], s["clip_high"]
    weight = clamp(rho, None if low is None else 1 - low, None if high is None else 1 + high)
    return weight * A * row.logp[t], weight * A, weight != rho


def sapo_gain(A: float, row: Row, t: int, s: dict) -> tuple[float, float, bool]:
    """4/τ · σ(τ(ρ_t − 1)) · A."""
    rho, d_rho = bounded_exp(row.log_rho[t])
    tau = s["tau_positive"] if A > 0 else s["tau_negative"]
    x = tau * (rho - 1)
    return 4 / tau * sigmoid(x) * A, 4 * sigmoid(x) * sigmoid(-x) * d_rho * A, False


def gspo_token_gain(A: float, row: Row, t: int, s: dict) -> tuple[float, float, bool]:
    """min-clip of sg(ρ_seq) · ρ_t / sg(ρ_t): its value is ρ_seq, its slope in logp_t too."""
    rho_seq, _ = bounded_exp(mean(row.log_rho))
    value, slope, clipped = min_clip(A, rho_seq, s)
    return value, slope * rho_seq, clipped


def gspo_gain(A: float, row: Row, s: dict) -> tuple[float, list[float], list[bool]]:
    """min-clip of exp(mean_t log ρ_t)."""
    rho, d_rho = bounded_exp(mean(row.log_rho))
    value, slope, clipped = min_clip(A, rho, s)
    return value, [slope * d_rho / len(row)] * len(row), [clipped] * len(row)


def rloo_gain(A: float, row: Row, s: dict) -> tuple[float, list[float], list[bool]]:
    """min-clip of exp(Σ_t log ρ_t)."""
    rho, d_rho = bounded_exp(fsum(row.log_rho))
    value, slope, clipped = min_clip(A, rho, s)
    return value, [slope * d_rho] * len(row), [clipped] * len(row)


def gmpo_gain(A: float, row: Row, s: dict) -> tuple[float, list[float], list[bool]]:
    """A · exp(mean_t h_t), log ρ_t bounded on the side that A pushes it to."""
    low, high = s["clip_low"], s["clip_high"]
    floor = None if low is None or A >= 0 else -low
    ceiling = None if high is None or A <= 0 else high
    h = [clamp(x, floor, ceiling) for x in row.log_rho]
    clipped = [x != bounded for x, bounded in zip(row.log_rho, h, strict=True)]
    value, slope = bounded_exp(mean(h))
    return A * value, [0.0 if c else A * slope / len(row) for c in clipped], clipped


def sum_log_gain(A: float, row: Row, s: dict) -> tuple[float, list[float], list[bool]]:
    """A · Σ_t logp."""
    return A * fsum(row.logp), [A] * len(row), [False] * len(row)


# ---------------------------------------------------------------- from gains to the loss


def token_weight(b: Rows, row: Row, aggregation: str) -> float:
    """With which weight a token enters the whole."""
    return {
        TOKEN_MEAN: 1 / b.T,
        ROW_MEAN: 1 / (b.N * len(row)),
        ROW_SUM: 1 / b.N,
        ROW_NORM: 1 / (b.N * b.L),
        SEQUENCE: 1 / (b.N * len(row)),  # for what stays per token: its KL
    }[aggregation]


def open_tokens(b: Rows, share: float) -> list[list[bool]]:
    """Which tokens the policy gradient passes: the share with the highest entropies."""
    if share >= 1:
        return [[True] * len(row) for row in b.all]
    places = [(i, t) for i, row in enumerate(b.all) for t in range(len(row))]
    places.sort(key=lambda place: -b.all[place[0]].entropies[place[1]])
    chosen = set(places[: max(1, ceil(share * b.T - 1e-9))])
    return [[(i, t) in chosen for t in range(len(row))] for i, row in enumerate(b.all)]


def sampler_weight(row: Row, tokens: range, cap: float | None) -> float:
    """min(Π old/sampler, cap), a constant."""
    if cap is None:
        return 1.0
    return min(bounded_exp(fsum(row.old[t] - row.sampler[t] for t in tokens))[0], cap)


def policy_term(b: Rows, s: dict, A: PerToken, gain: Callable) -> tuple[float, list, list]:
    """−aggregate(gain), its gradient, and which tokens are on the clipped branch."""
    parts, gradient, clipped = [], [], []
    for row, a, passes in zip(b.all, A, open_tokens(b, s["top_entropy"]), strict=True):
        if s["aggregation"] == SEQUENCE:
            w = sampler_weight(row, range(len(row)), s["tis_cap"]) / b.N
            value, slopes, flags = gain(a[0], row, s)
            parts.append(w * value)
            weights = [w] * len(row)
        else:
            gains = [gain(a[t], row, t, s) for t in range(len(row))]
            values, slopes, flags = zip(*gains, strict=True)
            share = token_weight(b, row, s["aggregation"])
            weights = [
                share * sampler_weight(row, range(t, t + 1), s["tis_cap"]) for t in range(len(row))
            ]
            parts += [w * value for w, value in zip(weights, values, strict=True)]
        gradient.append(
            [-w * d if p else 0.0 for w, d, p in zip(weights, slopes, passes, strict=True)]
        )
        clipped.append(list(flags))
    return -fsum(parts), gradient, clipped


def kl_to_reference(b: Rows, s: dict) -> tuple[float, PerToken]:
    """beta · aggregate(KL(new‖ref)) where it is in the loss."""

    def token(row: Row, t: int) -> tuple[float, float]:
        kl, slope = kl_estimate(s["kl_estimator"], row.logp[t], row.ref[t])
        if s["kl_estimator"] != "unbiased":
            return kl, slope
        rho, d_rho = bounded_exp(row.log_rho[t])
        return rho * kl, d_rho * kl + rho * slope

    return kl_sum(b, s, token)


def kl_from_old(b: Rows, s: dict) -> tuple[float, PerToken]:
    """beta · aggregate(KL(old‖new)): the penalty of PPO's section 4."""

    def token(row: Row, t: int) -> tuple[float, float]:
        x = row.log_rho[t]
        bounded = clamp(x, -LIMIT, LIMIT)
        return {
            "k1": (-x, -1.0),
            "k2": (x * x / 2, x),
            "k3": (expm1(bounded) - bounded, expm1(bounded) if x == bounded else 0.0),
        }[s["kl_estimator"]]

    return kl_sum(b, s, token)


def kl_sum(b: Rows, s: dict, token: Callable) -> tuple[float, PerToken]:
    if s["kl_place"] != "loss" or s["beta"] <= 0:
        return 0.0, [[0.0] * len(row) for row in b.all]
    parts, gradient = [], []
    for row in b.all:
        w = s["beta"] * token_weight(b, row, s["aggregation"])
        estimates = [token(row, t) for t in range(len(row))]
        parts += [w * value for value, _ in estimates]
        gradient.append([w * slope for _, slope in estimates])
    return fsum(parts), gradient


def loss(
    b: Rows,
    s: dict,
    A: PerToken,
    gain: Callable,
    *,
    kl: Callable = kl_to_reference,
    returns: PerToken | None = None,
    more: dict[str, tuple[float, PerToken]] | None = None,
) -> dict:
    """policy + kl + value + whatever more the algorithm has, and what it is made of."""
    policy, gradient, clipped = policy_term(b, s, A, gain)
    terms = {"policy": policy, "kl": 0.0, "value": value_loss(b, s, returns)}
    others = [("kl", kl(b, s)), *(more or {}).items()]
    for name, (value, slopes) in others:
        terms[name] = terms.get(name, 0.0) + value
        gradient = [
            [g + slope for g, slope in zip(*pair, strict=True)]
            for pair in zip(gradient, slopes, strict=True)
        ]
    return {
        "loss": fsum(terms.values()),
        "terms": terms,
        "advantages": by_group(b, A),
        "returns": None if returns is None else by_group(b, returns),
        "gradient": by_group(b, gradient),
        "clipped": by_group(b, clipped),
        "metrics": metrics(b, clipped),
    }


def value_loss(b: Rows, s: dict, returns: PerToken | None) -> float:
    """weight · token-mean ½·max((V − R)², (V_clip − R)²). A lens batch has one V, so V_clip = V."""
    if returns is None:
        return 0.0
    pairs = [zip(row.V, R, strict=True) for row, R in zip(b.all, returns, strict=True)]
    return s.get("value_weight", 1.0) * fsum((V - R) ** 2 / 2 for ps in pairs for V, R in ps) / b.T


def metrics(b: Rows, clipped: list[list[bool]]) -> dict:
    found = {
        "clip_fraction": sum(sum(row) for row in clipped) / b.T,
        "zero_std_groups": sum(len({row.raw for row in group}) == 1 for group in b.groups),
    }
    if all(row.ref is not None for row in b.all):
        pairs = [pair for row in b.all for pair in zip(row.logp, row.ref, strict=True)]
        found["kl_ref"] = fsum(kl_estimate("k3", p, q)[0] for p, q in pairs) / b.T
    return found


def by_group(b: Rows, x: list) -> list:
    rows = iter(x)
    return [[next(rows) for _ in group] for group in b.groups]


# ---------------------------------------------------------------- the algorithms


def reinforce(b: Rows, s: dict) -> dict:
    return loss(b, s, minus_baseline(b, s), ratio_gain if s["importance"] else log_gain)


def is_pg(b: Rows, s: dict) -> dict:
    return loss(b, s, minus_baseline(b, s), ratio_gain)


def remax(b: Rows, s: dict) -> dict:
    A = [[R - row.greedy for R in rewards_to_go(row, 1.0)] for row in b.all]
    return loss(b, s, A, log_gain)


def rloo(b: Rows, s: dict) -> dict:
    A = []
    for group in b.groups:
        for i, row in enumerate(group):
            others = [other.total for j, other in enumerate(group) if j != i]
            A.append(row.total - mean(others) if others else 0.0)
    return loss(b, s, over_tokens(b, A), rloo_gain)


def reinforce_pp(b: Rows, s: dict) -> dict:
    A = whitened([rewards_to_go(row, s["gamma"]) for row in b.all], s["ddof"], s["std_epsilon"])
    return loss(b, s, A, clip_gain)


def reinforce_pp_baseline(b: Rows, s: dict) -> dict:
    A = whitened(over_tokens(b, minus_group_mean(b)), s["ddof"], s["std_epsilon"])
    return loss(b, s, A, clip_gain)


def with_critic(b: Rows, s: dict) -> tuple[PerToken, PerToken]:
    """GAE, whitened if so set, and the returns: unwhitened A + V."""
    A = [gae(row, s["gamma"], s["gae_lambda"]) for row in b.all]
    R = [[a + V for a, V in zip(x, row.V, strict=True)] for x, row in zip(A, b.all, strict=True)]
    return (whitened(A, s["ddof"]) if s["whiten"] else A), R


def trpo(b: Rows, s: dict) -> dict:
    """The surrogate, whose gradient the natural gradient step starts from."""
    if s["advantage"] == "group":
        return loss(b, s, over_tokens(b, standardised(b, 0, 0.0)), ratio_gain)
    A, R = with_critic(b, s)
    return loss(b, s, A, ratio_gain, returns=R)


def ppo_kl(b: Rows, s: dict) -> dict:
    A, R = with_critic(b, s)
    return loss(b, s, A, ratio_gain, returns=R, kl=kl_from_old)


def ppo(b: Rows, s: dict) -> dict:
    A, R = with_critic(b, s)
    return loss(b, s, A, clip_gain, returns=R)


def grpo(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), clip_gain)


def step_rewards(row: Row) -> list[tuple[int, float]]:
    """(end, reward) of each step; the last bears what length and KL cost the row."""
    *before, last = [(step["end"], step["reward"]) for step in row.steps]
    return [*before, (last[0], last[1] + row.total - row.raw)]


def grpo_process(b: Rows, s: dict) -> dict:
    A = []
    for group in b.groups:
        pool = [reward for row in group for _, reward in step_rewards(row)]
        above, scale = iter(above_mean(pool)), 1.0
        if s["scale"] == "std":
            scale = sqrt(variance(pool, s["ddof"])) + s["std_epsilon"]
        for row in group:
            steps = [(end, next(above) / (scale or 1.0)) for end, _ in step_rewards(row)]
            A.append([fsum(x for end, x in steps if end >= t) for t in range(len(row))])
    return loss(b, s, A, clip_gain)


def dr_grpo(b: Rows, s: dict) -> dict:
    return loss(b, s, over_tokens(b, minus_group_mean(b)), clip_gain)


def dapo(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), clip_gain)


def gspo(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), gspo_gain)


def gspo_token(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), gspo_token_gain)


def cispo(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), cispo_gain)


def gmpo(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), gmpo_gain)


def sapo(b: Rows, s: dict) -> dict:
    return loss(b, s, group_advantage(b, s), sapo_gain)


def kimi_md(b: Rows, s: dict) -> dict:
    """The mirror-descent penalty τ/2 · mean_rows (Σ_t log ρ_t)² counts as KL."""
    S = [fsum(row.log_rho) for row in b.all]
    penalty = s["tau"] / 2 * fsum(x * x for x in S) / b.N
    slopes = over_tokens(b, [s["tau"] * x / b.N for x in S])
    A = over_tokens(b, minus_group_mean(b))
    return loss(b, s, A, sum_log_gain, more={"kl": (penalty, slopes)})


def decoupled(b: Rows, s: dict, lam: Callable[[Row], float]) -> tuple[PerToken, PerToken]:
    """GAE with the policy's λ; returns by GAE with the critic's."""
    A = [gae(row, s["gamma"], lam(row)) for row in b.all]
    for_critic = [gae(row, s["gamma"], s["critic_lambda"]) for row in b.all]
    R = [
        [a + V for a, V in zip(x, row.V, strict=True)]
        for x, row in zip(for_critic, b.all, strict=True)
    ]
    return (whitened(A, s["ddof"]) if s["whiten"] else A), R


def vc_ppo(b: Rows, s: dict) -> dict:
    A, R = decoupled(b, s, lambda row: s["gae_lambda"])
    return loss(b, s, A, clip_gain, returns=R)


def vapo(b: Rows, s: dict) -> dict:
    def policy_lambda(row: Row) -> float:
        if s["gae_lambda"] is not None:
            return s["gae_lambda"]
        return clamp(1 - 1 / (s["length_alpha"] * len(row)), 0.0, 1.0)

    A, R = decoupled(b, s, policy_lambda)
    positive = [row.raw >= s["positive_at"] for row in b.all]  # as graded
    n = sum(len(row) for row, yes in zip(b.all, positive, strict=True) if yes)
    w = s["imitation_weight"] / n if n else 0.0
    log_likelihood = fsum(
        x for row, yes in zip(b.all, positive, strict=True) if yes for x in row.logp
    )
    imitation = -w * log_likelihood, over_tokens(b, [-w if yes else 0.0 for yes in positive])
    return loss(b, s, A, clip_gain, returns=R, more={"imitation": imitation})


def opo(b: Rows, s: dict) -> dict:
    A = []
    for group in b.groups:
        tokens = sum(len(row) for row in group)
        baseline = fsum(len(row) * row.total for row in group) / tokens
        if len({row.total for row in group}) == 1:
            baseline = group[0].total
        A += [row.total - baseline for row in group]
    return loss(b, s, over_tokens(b, A), log_gain)


def maxrl(b: Rows, s: dict) -> dict:
    A = []
    for group in b.groups:
        m = mean([row.total for row in group])
        A += [(row.total - m) / m if m > 0 else 0.0 for row in group]
    return loss(b, s, over_tokens(b, A), clip_gain)


def raft(b: Rows, s: dict) -> dict:
    best = [max(row.total for row in group) for group in b.groups for _ in group]
    A = [float(row.total == top) for row, top in zip(b.all, best, strict=True)]
    return loss(b, s, over_tokens(b, A), log_gain)


ALGORITHMS: dict[str, Callable[[Rows, dict], dict]] = {
    "reinforce": reinforce,
    "is-pg": is_pg,
    "remax": remax,
    "rloo": rloo,
    "reinforce++": reinforce_pp,
    "reinforce++-baseline": reinforce_pp_baseline,
    "trpo": trpo,
    "ppo-kl": ppo_kl,
    "ppo-adaptive-kl": ppo_kl,
    "ppo": ppo,
    "grpo": grpo,
    "grpo-process": grpo_process,
    "grpo-iterative": grpo,
    "dr-grpo": dr_grpo,
    "dapo": dapo,
    "gspo": gspo,
    "gspo-token": gspo_token,
    "cispo": cispo,
    "gmpo": gmpo,
    "sapo": sapo,
    "kimi-md": kimi_md,
    "vc-ppo": vc_ppo,
    "vapo": vapo,
    "opo": opo,
    "maxrl": maxrl,
    "raft": raft,
}


def oracle(name: str, batch: dict, settings: dict | None = None) -> dict:
    """What algorithm `name` makes of a lens batch; `settings` are those that are not default."""
    unknown = set(settings or {}) - set(DEFAULTS[name])
    if unknown:
        raise KeyError(f"the oracle's {name} has no setting {sorted(unknown)}")
    s = DEFAULTS[name] | (settings or {})
    if (s["aggregation"] == SEQUENCE) != (OWN[name][0] == SEQUENCE):
        raise ValueError(f"{name} cannot be aggregated by {s['aggregation']}")
    return ALGORITHMS[name](read(batch, s), s)
