"""The lens's JSON object as text for a terminal: at most 100 columns, no color; and the tokens on
which two algorithms differ most (`disagreements`). No torch here.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from grpolab.errors import RequestError, nearest

WIDTH = 100
NUMBER = 10  # columns of a number
DIRECTIONS = {"up": "reinforced", "down": "penalized", "nowhere": "no gradient"}
"""The sign of a token's gradient in words, by the `push` of the lens's JSON object."""

ZERO_LOSS = (
    "A loss near 0 does not mean that nothing is learned: at ratio 1 centered advantages cancel in "
    "the loss, while their gradients do not. Compare Σ|grad| and the cosines."
)
ON_POLICY = (
    "Every ratio is 1 here, so nothing can be clipped, and algorithms that differ only in their "
    "clip give the same gradient."
)


def table(result: Mapping[str, Any], against: str | None = None) -> str:
    """One line per algorithm. The last column is the cosine of its gradient with that of `against`
    (default: grpo, or the first)."""
    found = result["algorithms"]
    against = against or ("grpo" if "grpo" in found else next(iter(found)))
    name_width = max(len(name) for name in [*found, "algorithm"])
    heads = ["loss", "policy", "kl", "value", "clipped", "Σ|grad|", f"cos {against}"]
    widths = [NUMBER, NUMBER, NUMBER, NUMBER, 8, NUMBER, 8]
    lines = [*_wrapped(_heading(result)), ""]
    lines.append(_columns("algorithm", name_width, heads[:-1], widths) + f"  {heads[-1]}")
    for name, entry in found.items():
        terms, value = entry["terms"], "—"
        if entry["groups"][0]["samples"][0]["returns"] is not None:
            value = number(terms["value"])
        size = math.fsum(abs(x) for x in _tokens(entry, "gradient"))
        cells = [number(entry["loss"]), number(terms["policy"]), number(terms["kl"]), value]
        cells += [f"{100 * entry['metrics']['clip_fraction']:.1f} %", number(size)]
        cells.append(f"{result['cosine'][name][against]:.4f}".replace("-", "−"))
        lines.append(_columns(name, name_width, cells, widths))
        more = {k: v for k, v in terms.items() if k not in ("policy", "kl", "value") and v}
        if more:
            others = ", ".join(f"{k} {number(v)}" for k, v in more.items())
            lines.append(f"{'':{name_width}}  other terms of its loss: {others}")
    lines += ["", *_wrapped(ZERO_LOSS)]
    ratios = [entry["metrics"] for entry in found.values()]
    if all(m["ratio_max"] == m["ratio_min"] == 1 for m in ratios):
        lines += _wrapped(ON_POLICY)
    if result["left_out"]:
        lines += ["", f"not computed: {_count(len(result['left_out']), 'algorithm')}"]
        for name, why in result["left_out"].items():
            lines += _wrapped(f"{name}: {why}", "  ", "    ")
    return "\n".join(lines)


def _heading(result: Mapping[str, Any]) -> str:
    first = next(iter(result["algorithms"].values()))
    groups = result["groups"]
    answers = sum(len(group["samples"]) for group in groups)
    tokens = sum(1 for _ in _tokens(first, "gradient"))
    line = f"{_count(len(groups), 'group')}, {_count(answers, 'answer')}, {_count(tokens, 'token')}"
    tied = first["metrics"]["zero_std_groups"]
    if tied:
        line += f"; {_count(tied, 'group')} of zero variance: no gradient with a group baseline"
    return line


def explanation(result: Mapping[str, Any], place: tuple[int, int, int]) -> str:
    """One token under every algorithm: terms, branch and direction."""
    g, s, t = place
    sample = result["groups"][g]["samples"][s]
    lines = [f"token {t} of sample {s} in group {g}{_quoted(result, g, s, t)}"]
    lines[0] += f", reward {number(sample['reward'])}"
    for name, entry in result["algorithms"].items():
        detail, branch = entry["explain"], entry["explain"]["branch"]
        lines += ["", name]
        for statement in detail["formula"].splitlines():
            lines += _wrapped(statement, "    ", "        ")
        symbols = max((len(term["symbol"]) for term in detail["terms"]), default=0)
        for term in detail["terms"]:
            value = "" if term["value"] is None else number(term["value"])
            lines.append(
                f"  {term['symbol']:{symbols}}  {value:>{NUMBER}}  {term['meaning']}"[:WIDTH]
            )
        if len(branch["candidates"]) > 1:
            options = ", ".join(f"{what} = {number(x)}" for what, x in branch["candidates"])
            lines += _wrapped(f"chosen from {options}", "  ", "    ")
        lines += _wrapped(branch["why"], "  ", "    ")
        sample = entry["groups"][g]["samples"][s]
        lines.append(
            f"  {DIRECTIONS[detail['push']]}: ∂objective/∂log π {number(branch['slope'])}, "
            f"∂loss/∂log π {number(sample['gradient'][t])}"
        )
    return "\n".join(lines)


def disagreement(
    result: Mapping[str, Any], tokens: Iterable[Mapping[str, Any]], a: str, b: str
) -> str:
    """The tokens on which two algorithms differ most."""
    lines = [f"where {a} and {b} disagree most (−gradient, each divided by its norm: up is +)"]
    lines.append(f"  group  sample  token  {_cut(a):>{NUMBER}}  {_cut(b):>{NUMBER}}  text")
    for found in tokens:
        g, s, t = found["group"], found["sample"], found["token"]
        pushes = f"{number(-found['a']):>{NUMBER}}  {number(-found['b']):>{NUMBER}}"
        text = (
            "" if found["text"] is None else _inside(result["groups"][g]["samples"][s]["tokens"], t)
        )
        lines.append(f"  {g:5}  {s:6}  {t:5}  {pushes}  {text}")
    return "\n".join(lines)


def number(x: float) -> str:
    """Four digits, with a minus as long as a plus."""
    text = f"{x:.4g}"
    return "0" if text in ("0", "-0") else text.replace("-", "−", 1) if x < 0 else text


def printable(text: str) -> str:
    """Text that no terminal takes for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _inside(tokens: Sequence[str], t: int, around: int = 12) -> str:
    """A token between brackets, with what stands beside it."""
    before = printable("".join(tokens[max(0, t - around) : t]))[-around:]
    after = printable("".join(tokens[t + 1 : t + 1 + around]))[:around]
    return f"{before}[{printable(tokens[t])[: 2 * around]}]{after}"


def _quoted(result: Mapping[str, Any], g: int, s: int, t: int) -> str:
    tokens = result["groups"][g]["samples"][s]["tokens"]
    return "" if tokens is None else f", {_inside(tokens, t)}"


def _tokens(entry: Mapping[str, Any], what: str) -> Iterator[float]:
    return (x for group in entry["groups"] for sample in group["samples"] for x in sample[what])


def _columns(name: str, width: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=False))
    return f"{name:{width}}  " + " ".join(padded)


def _wrapped(text: str, first: str = "", more: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=more, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _cut(name: str) -> str:
    return name if len(name) <= NUMBER else name[: NUMBER - 1] + "…"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def disagreements(
    result: Mapping[str, Any], a: str, b: str, count: int = 10
) -> list[dict[str, Any]]:
    """The `count` tokens on which the gradients of `a` and `b` differ most, each gradient divided
    by its own norm first: `{"group", "sample", "token", "text", "a", "b"}`, the largest first.

    `text` is None where the batch has no tokens. Raises RequestError for an algorithm that was not
    computed.
    """
    ours, theirs = _directions(result, a), _directions(result, b)
    order = sorted(range(len(ours)), key=lambda i: (-abs(ours[i][1] - theirs[i][1]), i))
    out = []
    for i in order[:count]:
        (g, s, t), x = ours[i]
        tokens = result["groups"][g]["samples"][s]["tokens"]
        text = None if tokens is None else tokens[t]
        place = {"group": g, "sample": s, "token": t, "text": text}
        out.append(place | {"a": x, "b": theirs[i][1]})
    return out


def _directions(result: Mapping[str, Any], name: str) -> list[tuple[tuple[int, int, int], float]]:
    """Every token's place and its gradient, divided by the norm of all."""
    if name not in result["algorithms"]:
        left_out = result.get("left_out", {})
        if name in left_out:
            raise RequestError(f"{name} {left_out[name]}")
        raise RequestError(f"{name!r} was not computed{nearest(name, result['algorithms'])}")
    flat = [
        ((g, s, t), x)
        for g, group in enumerate(result["algorithms"][name]["groups"])
        for s, sample in enumerate(group["samples"])
        for t, x in enumerate(sample["gradient"])
    ]
    norm = math.hypot(*(x for _, x in flat)) or 1.0
    return [(place, x / norm) for place, x in flat]
