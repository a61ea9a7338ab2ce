"""Explanations as data: what each symbol of a formula means, the numbers of one token, which branch
of min() its objective is on and why, the lineage, and the difference of two formulas.

Plain floats and strings, no torch: the command line, the lens and the screen show the same data,
from a live or a recorded run.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpolab.algorithms.functional import MAX_LOG_RATIO

if TYPE_CHECKING:
    from grpolab.algorithms.base import Algorithm


def _bounded(log_ratio: float) -> float:
    return min(max(log_ratio, -MAX_LOG_RATIO), MAX_LOG_RATIO)


def total(x: Iterable[float]) -> float:
    """Their exact sum; where some are not finite or it overflows, the ordinary sum."""
    values = list(x)
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        return sum(values)


@dataclass(frozen=True)
class TokenFacts:
    """One sampled token and its answer, in plain numbers."""

    reward: float  # r of the answer
    group: tuple[float, ...]  # rewards of all answers to the same prompt
    advantage: float
    logp: float  # under the policy now
    old_logp: float  # under the rollout policy
    length: int  # tokens of the answer
    answer_log_ratio: float  # Σ_t log ρ_t over the answer
    rows: int  # answers in the batch
    tokens: int  # tokens in the batch
    max_tokens: int
    ref_logp: float | None = None
    value: float | None = None
    returns: float | None = None
    entropy: float | None = None
    mean_clipped_log_ratio: float | None = None  # of the answer, clipped as in gmpo

    @property
    def log_ratio(self) -> float:
        return _bounded(self.logp - self.old_logp)

    @property
    def ratio(self) -> float:
        """ρ_t"""
        return math.exp(self.log_ratio)

    @property
    def sequence_ratio(self) -> float:
        """ρ_seq, the geometric mean of the answer's token ratios"""
        return math.exp(_bounded(self.answer_log_ratio / max(self.length, 1)))

    @property
    def answer_ratio(self) -> float:
        """The product of the answer's token ratios"""
        return math.exp(_bounded(self.answer_log_ratio))

    @property
    def mean(self) -> float:
        return total(self.group) / len(self.group)

    def std(self, ddof: int = 0) -> float:
        """s of the group; 0 in a group of `ddof` rows or fewer."""
        mean = self.mean
        squares = total((r - mean) * (r - mean) for r in self.group)
        return math.sqrt(squares / max(len(self.group) - ddof, 1))


@dataclass(frozen=True)
class Branch:
    """The objective of one token (or of its answer): its value, its derivative, and which of the
    candidates min() chose."""

    gain: float  # the surrogate's value
    slope: float  # ∂gain/∂log π of this token
    why: str  # one sentence
    clipped: bool = False
    candidates: tuple[tuple[str, float], ...] = ()  # what min() chose from

    @property
    def push(self) -> str:
        """Which way its probability moves: up, down or nowhere."""
        return "up" if self.slope > 0 else "down" if self.slope < 0 else "nowhere"


@dataclass(frozen=True)
class Term:
    symbol: str
    meaning: str
    value: float | None = None  # of the selected token


SYMBOLS: dict[str, str] = {
    "r": "reward of the answer, all parts with their weights",
    "r_t": "reward of this token",
    "R": "return: what followed from this token on",
    "m": "mean reward of the group, the answers to one prompt",
    "s": "standard deviation of the rewards of the group",
    "b": "baseline: what the reward is compared with",
    "G": "answers in the group",
    "Â": "advantage: how much better than expected",
    "V": "the critic's value of the state before the token",
    "GAE": "TD errors r_t + γ V_next − V from this token on, weighted with (γ λ)^k",
    "whiten_batch": "shifted and scaled to mean 0 and variance 1 over all tokens of the batch",
    "L_V": "loss of the critic",
    "V_clip": "V, clipped to within clip_value of what it was when the answer was sampled",
    "δ": "TD error of the critic at this token: r_t + γ V_next − V",
    "π": "probability of the token under the policy now",
    "ρ": "ratio: probability now / probability when sampled",
    "π_ref": "the reference policy: where the KL is measured from",
    "ρ′": "has the value of ρ_seq, and changes with the token's own probability",
    "ρ_seq": "the answer's ratio: geometric mean of its token ratios",
    "ρ_ans": "the answer's ratio: product of its token ratios",
    "h": "log ρ of the token, clipped on the side to which Â moves it",
    "β": "weight of the KL",
    "k1": "estimate of the KL: log π − log π_ref",
    "k2": "estimate of the KL: half the squared log-ratio",
    "k3": "estimate of the KL: e^d − 1 − d, d = log π_ref − log π",
    "KL": "how far the policy is from the rollout policy",
    "ε": "clip: how far a ratio may leave 1 and still count",
    "ε_low": "clip: how far a ratio may fall below 1 and still count",
    "ε_high": "clip: how far a ratio may rise above 1 and still count",
    "|o|": "tokens of the answer",
    "L_max": "longest answer allowed",
    "γ": "discount of later rewards",
    "k": "how many tokens later",
    "λ": "GAE: 1 whole returns, 0 one-step differences",
    "λ_policy": "GAE's λ for the advantages",
    "λ_critic": "GAE's λ for the critic's targets",
    "α": "how fast λ rises with the length of the answer",
    "μ": "weight of imitating right answers",
    "δ_max": "largest KL that a step may have",
    "τ": "temperature of the gate, or weight of the squared log-ratio",
    "target": "the KL that a step should have, mean per token",
    "x": "the natural gradient: F⁻¹ times the gradient",
    "F": "Fisher information: how much a change of parameters changes the distributions",
}
"""Every symbol that a formula may use. A formula's terms are those that occur in it."""

_WORD = re.compile(r"[A-Za-zÂαρπβδγλμτεθ_|][\w|Σ₊₋′]*|\s+|.")


def terms(algorithm: type[Algorithm]) -> list[Term]:
    """The symbols that the algorithm's formula uses, in the order of their first use."""
    seen: dict[str, None] = {}
    for word in _WORD.findall(algorithm.formula):
        if word in SYMBOLS:
            seen.setdefault(word)
        elif word.strip("|") == "o" and "|" in word:
            seen.setdefault("|o|")
    return [Term(symbol, SYMBOLS[symbol]) for symbol in seen]


def token_terms(algorithm: Algorithm, token: TokenFacts) -> list[Term]:
    """The same with the numbers of one token; None where a number is not known."""
    d = None if token.ref_logp is None else token.ref_logp - token.logp
    s = algorithm.settings
    values: dict[str, float | None] = {
        "r": token.reward,
        "b": None if s.beta > 0 and s.kl_place == "reward" else token.reward - token.advantage,
        "R": token.returns,
        "m": token.mean,
        "s": token.std(getattr(s, "ddof", 0)),
        "G": len(token.group),
        "Â": token.advantage,
        "V": token.value,
        "π": math.exp(min(token.logp, 0.0)),
        "π_ref": None if token.ref_logp is None else math.exp(min(token.ref_logp, 0.0)),
        "ρ′": token.sequence_ratio,
        "ρ": token.ratio,
        "ρ_seq": token.sequence_ratio,
        "ρ_ans": token.answer_ratio,
        "β": algorithm.beta,
        "k1": None if d is None else -d,
        "k2": None if d is None else d * d / 2,
        "k3": None if d is None else math.exp(_bounded(d)) - 1 - _bounded(d),
        "KL": math.exp(token.log_ratio) - 1 - token.log_ratio,
        "|o|": token.length,
        "L_max": token.max_tokens,
        "γ": getattr(s, "gamma", None),
        "λ": getattr(s, "gae_lambda", None),
        "ε": getattr(s, "clip_high", None),
        "ε_low": getattr(s, "clip_low", None),
        "ε_high": getattr(s, "clip_high", None),
        "λ_policy": _policy_lambda(s, token),
        "λ_critic": getattr(s, "critic_lambda", None),
        "α": getattr(s, "length_alpha", None),
        "μ": getattr(s, "imitation_weight", None),
        "δ_max": getattr(s, "max_kl", None),
        "target": s.kl_target,
        "τ": _tau(s, token),
        "h": _clipped_log_ratio(s, token),
    }
    return [Term(t.symbol, t.meaning, values.get(t.symbol)) for t in terms(type(algorithm))]


def _policy_lambda(settings: Any, token: TokenFacts) -> float | None:
    """Of this answer: the setting, or 1 − 1/(α |o|), at least 0."""
    fixed, alpha = getattr(settings, "gae_lambda", None), getattr(settings, "length_alpha", None)
    if fixed is not None or alpha is None:
        return fixed
    return max(0.0, 1 - 1 / (alpha * max(token.length, 1)))


def _clipped_log_ratio(settings: Any, token: TokenFacts) -> float:
    """h of gmpo: log ρ, bounded above where Â > 0, else below."""
    if token.advantage > 0:
        high = getattr(settings, "clip_high", None)
        return token.log_ratio if high is None else min(token.log_ratio, high)
    low = getattr(settings, "clip_low", None)
    return token.log_ratio if low is None else max(token.log_ratio, -low)


def _tau(settings: Any, token: TokenFacts) -> float | None:
    """τ₊ or τ₋ by the sign of this token's advantage, or τ where there is only one."""
    if token.advantage > 0 and hasattr(settings, "tau_positive"):
        return settings.tau_positive
    return getattr(settings, "tau_negative", getattr(settings, "tau", None))


# --- the branches that objectives have ---


def weighted(weight: float, token: TokenFacts, why: str, *, clipped: bool = False) -> Branch:
    """Â · w · log π with a constant weight."""
    slope = weight * token.advantage
    return Branch(gain=slope * token.logp, slope=slope, why=why, clipped=clipped)


def clipped_branch(
    token: TokenFacts,
    ratio: float,
    clip_low: float | None,
    clip_high: float | None,
    dual_clip: float | None = None,
    *,
    share: float = 1.0,
    symbol: str = "ρ",
) -> Branch:
    """min(ρ Â, clip(ρ) Â) with its reason. `share` is ∂log ratio/∂log π of this token."""
    a = token.advantage
    low = 0.0 if clip_low is None else 1 - clip_low
    high = math.inf if clip_high is None else 1 + clip_high
    unclipped, bound = ratio * a, min(max(ratio, low), high) * a
    candidates: tuple[tuple[str, float], ...] = (
        (f"{symbol}·Â", unclipped), (f"clip({symbol})·Â", bound),
    )  # fmt: skip
    interval = f"[{low:.4g}, {high:.4g}]".replace("inf", "∞")
    if symbol == "ρ" and abs(token.logp - token.old_logp) > MAX_LOG_RATIO:
        share = 0.0  # log ρ is at its bound, so its derivative is 0
    gain, slope, clipped = unclipped, unclipped * share, False
    if a == 0:
        why = "Â is 0: the token gets no gradient"
    elif clip_low is None and clip_high is None:
        why, candidates = f"{symbol} is not clipped: it weights Â as it is", candidates[:1]
    elif bound < unclipped:
        gain, slope, clipped = bound, 0.0, True
        side = f"above {high:.4g} and Â > 0" if ratio > high else f"below {low:.4g} and Â < 0"
        which = "upper" if ratio > high else "lower"
        why = f"clipped ({which}): {symbol} = {ratio:.4g} is {side}, so the token gets no gradient"
    elif bound > unclipped:
        why = (
            f"not clipped: {symbol} = {ratio:.4g} is outside {interval}, but min() chooses "
            f"{symbol}·Â, so the gradient moves {symbol} back"
        )
    else:
        why = f"not clipped: {symbol} = {ratio:.4g} in {interval}"
    if dual_clip is not None and a < 0 and gain < dual_clip * a:
        gain, slope, clipped = dual_clip * a, 0.0, True
        candidates += (("c·Â", gain),)
        why = f"clipped (dual clip): {symbol} = {ratio:.4g} is above c = {dual_clip:.4g} and Â < 0"
    return Branch(gain=gain, slope=slope, why=why, clipped=clipped, candidates=candidates)


# --- lineage and differences ---


def lineage(name: str, table: dict[str, type[Algorithm]]) -> list[tuple[str, str, str]]:
    """(algorithm, ancestor, what it changed) from `name` back to where the line begins."""
    out: list[tuple[str, str, str]] = []
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop(0)
        for ancestor, change in table[current].lineage:
            out.append((current, ancestor, change))
            if ancestor not in seen:
                seen.add(ancestor)
                waiting.append(ancestor)
    return out


@dataclass(frozen=True)
class Difference:
    """One statement of two formulas: runs of text that are the "same", only in the "left" or only
    in the "right" one."""

    symbol: str
    parts: tuple[tuple[str, str], ...]

    @property
    def same(self) -> bool:
        return all(kind == "same" for kind, _ in self.parts)


def difference(left: type[Algorithm], right: type[Algorithm]) -> list[Difference]:
    """The two formulas statement by statement, matched by the symbol that they define."""
    ours, theirs = _statements(left.formula), _statements(right.formula)
    order = [*ours, *(s for s in theirs if s not in ours)]
    out = []
    for symbol in order:
        a, b = _WORD.findall(ours.get(symbol, "")), _WORD.findall(theirs.get(symbol, ""))
        parts: list[tuple[str, str]] = []
        for op, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if op == "equal":
                parts.append(("same", "".join(a[i:j])))
                continue
            if i < j:
                parts.append(("left", "".join(a[i:j])))
            if k < m:
                parts.append(("right", "".join(b[k:m])))
        out.append(Difference(symbol, tuple(parts)))
    return out


def _statements(formula: str) -> dict[str, str]:
    """Each line by what stands left of its first `=`."""
    out: dict[str, str] = {}
    for line in formula.splitlines():
        symbol = line.partition("=")[0].strip()
        out[symbol] = f"{out[symbol]}\n{line}" if symbol in out else line
    return out
