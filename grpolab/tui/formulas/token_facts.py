"""The recorded numbers of one token, from which an algorithm's explanation is made. Computes the
same as `grpolab lens --explain`, without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui.widgets.signs import settled, sign
from grpolab.tui.widgets.text import directed
from grpolab.tui.widgets.token_rows import shown

if TYPE_CHECKING:
    from grpolab.algorithms import Algorithm
    from grpolab.algorithms.explain import Branch, Term, TokenFacts
    from grpolab.tui.context import AppContext

MAX_LOG_RATIO_SHORT = 60.0  # bound of log-ratios in float32, as in the algorithms


@dataclass(frozen=True)
class Explanation:
    """One token under its algorithm: the formula's terms with values, and the branch taken."""

    terms: list[Term]
    branch: Branch
    place: str  # names the token
    advantage: float = 0.0
    weight: float | None = None  # −∂L/∂log π × tokens, all terms of the loss; None: not recorded
    others: str = ""  # the terms of the loss besides the surrogate that have a gradient

    @property
    def outcome(self) -> Outcome:
        return outcome(self.branch, self.weight, self.others, self.advantage)


@dataclass(frozen=True)
class Outcome:
    """What the loss does to a token: the sign of its gradient as a glyph, a hue and words, and the
    reason in one sentence."""

    mark: str
    hue: str
    word: str
    why: str


WORDS = {"▲": "reinforced", "▼": "penalized", "·": "no gradient"}


def outcome(branch: Branch, weight: float | None, others: str, advantage: float = 0.0) -> Outcome:
    """The whole loss decides, where its gradient `weight` was recorded; `others` are its terms
    besides the surrogate. Where these alone, or against the surrogate, decide, that is said."""
    slope = settled(branch.slope)
    mark, hue = sign(slope if weight is None else weight)
    word, why = WORDS.get(mark, "not a number"), branch.why
    own = sign(slope)[0]
    if weight is not None and mark in "▲▼" and own != mark:
        other = others or "another term of the loss"
        if own == "·":
            word = f"{word} by {other} alone"
        else:
            way = "increase" if own == "▲" else "decrease"
            why = f"the surrogate would {way} its probability, {other} outweighs it; {why}"
    elif weight is None and mark == "·" and others:
        word = "no gradient from the surrogate"
        why = f"{why}; {others} may have one"
    elif own == mark and own != "·" and settled(advantage):
        why = f"Â is {directed(advantage)}, {why}"
    return Outcome(mark, hue, word, why)


def selected(context: AppContext, name: str) -> Explanation | None:
    """The token selected in the lab under its step's algorithm. None unless that is `name` and its
    tokens are recorded."""
    view, lane = context.view, context.view.lane_state(context.state)
    r = view.scored(context.state)
    if lane is None or r is None or r.tokens is None or r.algorithm != name:
        return None
    beta = beta_at(lane, r.step)
    made, row = algorithm(name, lane.in_force(r.step)[2], beta), view.row(r)
    advantages = row_of(r, "advantage", row)
    if made is None or advantages is None:
        return None
    at = min(view.token, len(advantages) - 1)
    facts = facts_of(made, r, row, at, advantages, row_of(r, "return", row))
    if facts is None:
        return None
    prompt, answer = divmod(row, r.group_size)
    place = f"token {at + 1} «{shown(r.tokens.pieces[row][at])}» of prompt {prompt + 1}, answer "
    place += f"{answer + 1}, step {r.step}"
    return Explanation(
        terms=terms(made, facts, r),
        branch=made.branch(facts),
        place=place,
        advantage=facts.advantage,
        weight=_weight(r, row, at),
        others=other_terms(made),
    )


def _weight(r: RolloutView, row: int, token: int) -> float | None:
    """A token's gradient under the whole loss; rounding error of the group's largest is 0."""
    found = r.channel("push")
    if found is None or row >= len(found) or token >= len(found[row]):
        return None
    group = (x for i in r.rows(row // r.group_size) if i < len(found) for x in found[i])
    largest = max((abs(x) for x in group if math.isfinite(x)), default=0.0)
    return settled(found[row][token], min(1.0, largest) or 1.0)


def other_terms(algorithm: Algorithm) -> str:
    """The terms of its loss, besides the surrogate, through which a token has a gradient."""
    s = algorithm.settings
    names = []
    if s.kl_place == "loss" and algorithm.beta > 0:
        names.append("the KL term")
    if s.entropy_bonus > 0:
        names.append("the entropy bonus")
    return " and ".join(names)


def terms(algorithm: Algorithm, facts: TokenFacts, r: RolloutView) -> list[Term]:
    """The formula's terms with their values; None for a value that was not recorded."""
    from grpolab.algorithms import explain

    found = explain.token_terms(algorithm, facts)
    if algorithm.needs_steps and r.graded is not None and not r.graded.steps:
        found = [replace(t, value=None) if t.symbol in ("m", "s", "G") else t for t in found]
    return found


def algorithm(
    name: str, settings: Mapping[str, Any], beta: float | None = None
) -> Algorithm | None:
    """An algorithm with these settings, and β as its controller has set it. None if the algorithm
    is unknown or the settings do not fit this version."""
    from pydantic import ValidationError

    from grpolab.algorithms import ALGORITHMS

    cls = ALGORITHMS.get(name)
    if cls is None:
        return None
    try:
        made = cls(cls.Settings.model_validate(dict(settings)))
    except ValidationError:
        return None
    if beta is not None and math.isfinite(beta) and made.settings.beta > 0:
        made.kl_scale = beta / made.settings.beta
    return made


def beta_at(lane: LaneState, step: int) -> float | None:
    """β of a step: the setting times what an adaptive controller had made of it by the step before.
    None if no controller changed it."""
    from grpolab.algorithms import ALGORITHMS

    cls = ALGORITHMS.get(lane.in_force(step)[0])
    if cls is not None and "beta" in cls.metrics:  # recorded with the step
        own = lane.steps.of(step)
        return own.metrics.get("beta") if own is not None else None
    before = lane.steps.upto(step - 1)
    if before is None or any(s.step >= before.step for s in lane.switches if s.step < step):
        return None
    (_, _, then), (_, _, now) = lane.in_force(before.step), lane.in_force(step)
    left, was, is_now = before.metrics.get("beta"), then.get("beta"), now.get("beta")
    return left / was * is_now if left is not None and was and is_now else None


def facts_of(
    algorithm: Algorithm,
    r: RolloutView,
    row: int,
    token: int,
    advantages: Sequence[float],
    returns: Sequence[float] | None = None,
) -> TokenFacts | None:
    """One token of a finished step; `advantages` and `returns` are those of its answer, by token.
    None if the log-probabilities were not recorded, or there is no such token.

    Rewards are what the formula's r stands for: after the length penalty, and after the KL penalty
    unless the formula has r_t or R for that.
    """
    from grpolab.algorithms import explain
    from grpolab.lens import batch_file as recorded

    old, moved = row_of(r, "logprob", row), _moved(r, row)
    n = min(len(old or ()), len(advantages))
    if r.graded is None or not 0 <= token < n or old is None or moved is None:
        return None
    symbols = {term.symbol for term in explain.terms(type(algorithm))}
    whole = not symbols & {"r_t", "R"}
    gap, value, entropy = (row_of(r, name, row) for name in ("ref_gap", "value", "entropy"))
    if "V" not in symbols or returns is None:
        returns = _returns(algorithm, r, row, n)
    pool = [reward(algorithm, r, i, whole) for i in r.rows(row // r.group_size)]
    if algorithm.needs_steps and r.graded.steps:
        pool = [score for i in r.rows(row // r.group_size) for _, score in r.graded.steps[i]]
    lengths = r.graded.length
    given = recorded.logprobs([old[token]], [moved[token]], gap and [gap[token]])
    return explain.TokenFacts(
        reward=reward(algorithm, r, row, whole),
        group=tuple(pool) or (r.graded.reward[row],),
        advantage=advantages[token],
        logp=given["logprobs"][0],
        old_logp=given["old_logprobs"][0],
        length=len(old),
        answer_log_ratio=math.fsum(moved),
        rows=len(lengths),
        tokens=sum(lengths),
        max_tokens=max(r.max_tokens, *lengths),
        ref_logp=given["ref_logprobs"][0] if gap else None,
        value=None if value is None else value[token],
        returns=returns[token] if token < len(returns) else None,
        entropy=None if entropy is None else entropy[token],
        mean_clipped_log_ratio=_mean_clipped(algorithm, moved, advantages),
    )


def row_of(r: RolloutView, channel: str, row: int) -> list[float] | None:
    rows = r.channel(channel)
    return rows[row] if rows is not None and row < len(rows) and rows[row] else None


def _moved(r: RolloutView, row: int) -> list[float] | None:
    """log π − log π_old of an answer's tokens; older runs recorded only the ratio."""
    found = row_of(r, "log_ratio", row)
    if found is None and (ratios := row_of(r, "ratio", row)) is not None:
        found = [math.log(max(x, 1e-8)) for x in ratios]
    return None if found is None else [_bounded(x) for x in found]


def _bounded(log_ratio: float) -> float:
    return min(max(log_ratio, -MAX_LOG_RATIO_SHORT), MAX_LOG_RATIO_SHORT)


def reward(algorithm: Algorithm, r: RolloutView, row: int, whole: bool) -> float:
    """An answer's reward as the algorithm uses it; `whole`: after its KL penalty too."""
    assert r.graded is not None
    s, reward = algorithm.settings, r.graded.reward[row]
    if s.overlong_buffer > 0:
        buffer = s.overlong_buffer * r.max_tokens
        over = (r.graded.length[row] - (r.max_tokens - buffer)) / buffer
        reward -= s.overlong_penalty * min(max(over, 0.0), 1.0)
    from grpolab.algorithms.explain import total

    return reward - total(kl_penalties(algorithm, r, row)) if whole else reward


def kl_penalties(algorithm: Algorithm, r: RolloutView, row: int) -> list[float]:
    """β·KL of each token if the KL is part of the reward, else an empty list."""
    s, gap = algorithm.settings, row_of(r, "ref_gap", row)
    if s.kl_place != "reward" or s.beta <= 0 or gap is None:
        return []
    kl = {"k1": lambda d: -d, "k2": lambda d: d * d / 2}
    k3 = kl.get(s.kl_estimator, lambda d: math.exp(_bounded(d)) - 1 - d)
    return [algorithm.beta * k3(-g) for g in gap]


def _returns(algorithm: Algorithm, r: RolloutView, row: int, n: int) -> list[float]:
    """R of an algorithm without a critic: the discounted reward-to-go, or the answer's reward."""
    gamma = getattr(algorithm.settings, "gamma", None)
    if gamma is None:
        return [reward(algorithm, r, row, whole=True)] * n
    at_token = [-x for x in kl_penalties(algorithm, r, row)[:n]] or [0.0] * n
    at_token[-1] += reward(algorithm, r, row, whole=False)
    out, running = [0.0] * n, 0.0
    for t in range(n - 1, -1, -1):
        running = at_token[t] + gamma * running
        out[t] = running
    return out


def _mean_clipped(
    algorithm: Algorithm, moved: Sequence[float], advantages: Sequence[float]
) -> float | None:
    """The answer's mean log ρ, each clipped on the side that Â moves it to, as GMPO does."""
    s = algorithm.settings
    if not {"clip_low", "clip_high"} <= set(type(s).model_fields):
        return None
    high = math.inf if s.clip_high is None else s.clip_high
    low = math.inf if s.clip_low is None else s.clip_low
    clipped = (
        min(x, high) if a > 0 else max(x, -low) for x, a in zip(moved, advantages, strict=False)
    )
    return math.fsum(clipped) / max(len(moved), 1)
