"""An algorithm explained, as lines: its formula, what its symbols mean and are worth for one token,
and which branch its objective takes there. Used by the algorithm pane, the picker, the lens, slow
motion and the formulas screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.signs import settled, sign
from grpolab.tui.widgets.text import Line, directed, flow, number, wrap

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Branch, Term


def formula(p: Palette, text: str, width: int) -> list[Line]:
    """Its statements, each behind a bar; long ones wrap with an indent."""
    out = []
    for statement in text.split("\n"):
        for i, row in enumerate(wrap(statement, max(1, width - 4))):
            bar = Line("▌ " if i == 0 else "▌   ", p.style("accent"))
            out.append(bar.add(row, p.style("text")))
    return out


def table(p: Palette, terms: Sequence[Term], width: int, *, numbers: bool = True) -> list[Line]:
    """One symbol per row: its value for the token, and its meaning."""
    out = []
    wide = max([6, *(len(term.symbol) + 1 for term in terms)])
    for term in terms:
        line = Line("  ").cell(term.symbol, wide, p.style("text", bold=True))
        if numbers:
            known = term.value is not None
            line.cell(_told(term.value), 9, p.style("text" if known else "faint"), right=True)
        line.add("  ")
        rows = wrap(term.meaning, max(8, width - line.width))
        at = line.width
        out.append(line.add(rows[0], p.style("dim")))
        out += [Line().to(at).add(row, p.style("dim")) for row in rows[1:]]
    return out


def short(p: Palette, terms: Sequence[Term], width: int) -> list[Line]:
    """The symbols that have a value, in running text."""
    known = [t for t in terms if t.value is not None]
    parts = [
        Line(f"{t.symbol} ", p.style("dim")).add(_told(t.value), p.style("text")) for t in known
    ]
    return flow(parts, width, "  ")


def branch(
    p: Palette, b: Branch, width: int, gradient: float | None = None, weight: float | None = None
) -> list[Line]:
    """What min() chose from, why, and whether the token is reinforced or penalized. `gradient`:
    ∂loss/∂log π, or `weight`: −∂loss/∂log π × tokens, of the whole loss, where it is known."""
    out: list[Line] = []
    if len(b.candidates) > 1:
        parts = [Line("min of", p.style("dim"))]
        won = next((i for i, (_, x) in enumerate(b.candidates) if x == b.gain), -1)
        for i, (what, value) in enumerate(b.candidates):
            here = i == won
            part = Line(f"{what} ", p.style("text" if here else "dim", bold=here))
            part.add(_told(value), p.style("text" if here else "dim", bold=here))
            parts.append(part.add(" ◂ wins" if here else "", p.style("accent")))
        out += flow(parts, width)
    why = f"✂ {b.why}" if b.clipped else b.why
    out += [Line(row, p.style("warn" if b.clipped else "text")) for row in wrap(why, width)]
    slope = settled(b.slope)
    whole = weight if weight is not None else -gradient if gradient is not None else None
    mark, hue = sign(slope if whole is None else whole, 0.0)
    told = {"▲": "▲ reinforced", "▼": "▼ penalized", "·": "· no gradient"}.get(mark, mark)
    parts = [Line(told, p.style(hue, bold=True)), _slope(p, "∂surrogate/∂log π", slope)]
    if whole is not None:
        if weight is not None:
            parts.append(_slope(p, "grad weight", weight))
        elif gradient is not None:
            parts.append(_slope(p, "∂loss/∂log π", gradient))
        if whole and not slope:
            parts.append(Line("from the KL or another term", p.style("dim")))
    return out + flow(parts, width)


def _told(value: float | None) -> str:
    """Four significant digits where that is short, else in scientific notation."""
    if value is None or not math.isfinite(value) or not 1e-3 <= abs(value) < 1e4:
        return "0" if value == 0 else number(value, 4)
    return f"{value:.4g}".replace("-", "−")


def _slope(p: Palette, what: str, value: float) -> Line:
    return Line(f"{what} ", p.style("dim")).add(directed(value, 4), p.style("text"))
