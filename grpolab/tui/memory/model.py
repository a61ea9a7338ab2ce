"""A lane's memory by step, and how it is drawn: as stacks and bars of letters, one letter per owner
on the owner's color, readable without color too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grpolab.analysis.curves import totals
from grpolab.record.events import MEMORY_PHASES, OWNERS
from grpolab.record.history import Steps
from grpolab.record.lane_state import LaneState
from grpolab.tui.widgets.palette import Palette, blend
from grpolab.tui.widgets.plot import MARGIN
from grpolab.tui.widgets.text import Line, size, visible

PEAK = "peak"
"""Name for the phase of each step with the most memory."""

RECENT = 60
"""Steps searched back for a phase that not every step has, such as evaluation."""

NEWEST = 24
"""Newest steps searched for the names of phases."""

Held = Mapping[str, int]
"""Bytes by owner."""


class Rows:
    """The finished steps of a lane by index, oldest first."""

    def __init__(self, lane: LaneState | None) -> None:
        self.steps = lane.steps if lane is not None else Steps()

    def __len__(self) -> int:
        return len(self.steps)

    def number(self, row: int) -> int:
        return self.steps.axis("step")[row]

    def upto(self, step: int | None) -> int:
        """The row of the newest step up to `step` (None: of all); −1 if there is none."""
        return len(self) - 1 if step is None else self.steps.row(step)

    def totals(self) -> Sequence[float]:
        """Bytes at each step's peak."""
        return totals(self.steps.memory, 0, len(self))

    def held(self, row: int, phase: str) -> Held:
        """Bytes by owner of a step in a phase, or of the last step before it that has the phase."""
        if phase == PEAK:
            return {o: int(n) for o, c in self.steps.memory.items() if (n := c.at(row))}
        for at in range(row, max(-1, row - RECENT), -1):
            if phase in self.steps[at].memory_phases:
                return self.steps[at].memory_phases[phase]
        return {}

    def phases(self) -> list[str]:
        """`PEAK`, and the phases that the newest steps have, in order."""
        newest = range(max(0, len(self) - NEWEST), len(self))
        seen = {name for row in newest for name in self.steps[row].memory_phases}
        known = [n for n in MEMORY_PHASES if n in seen]
        return [PEAK, *known, *sorted(seen - set(MEMORY_PHASES))]


LETTERS = {
    "backbone": "B", "backbone_copy": "W", "adapters": "A", "critic": "C", "reference": "R",
    "optimizer": "O", "gradients": "G", "kv_cache": "K", "activations": "X", "loss_tiles": "L",
    "workspace": "S", "fragmentation": "F", "outside": "U", "other": "·",
}  # fmt: skip
"""Each owner's letter, in stacks and legends."""

NAMES = {
    "kv_cache": "KV cache", "backbone_copy": "weight copy", "loss_tiles": "loss tiles",
    "outside": "non-model",
}  # fmt: skip
"""Owners whose name on the screen differs from the recorded one."""


def letter(owner: str) -> str:
    found = LETTERS.get(owner, owner[:1].lower())
    return found if found.isascii() and found.isprintable() and found.strip() else "·"


def in_order(owners: set[str]) -> list[str]:
    """Owners in stacking order, lowest first; unknown ones last."""
    return [o for o in OWNERS if o in owners] + sorted(owners - set(OWNERS))


def ink(p: Palette, owner: str, strong: bool = False):
    """Style of letters on the owner's color; `strong`: with more contrast."""
    ground = p._hex(p.owners.get(owner, "dim"))
    return p.style(blend(ground, "#10141a", 0.95 if strong else 0.45), ground, bold=strong)


@dataclass(frozen=True)
class Stack:
    """Columns over the steps. A column of several steps shows the one with the most memory."""

    held: Sequence[Held]  # by column
    steps: Sequence[int]  # last step of each column
    top: int  # bytes at the upper edge

    def column(self, step: int) -> int:
        """The column of a step."""
        return max(0, bisect_right(self.steps, step) - 1)


def stack(rows: Rows, phase: str, wide: int, least: int = 0, without: Sequence[str] = ()) -> Stack:
    """A phase in `wide` columns, without some owners; the scale reaches at least `least` bytes."""
    n, totals = len(rows), rows.totals()
    columns: list[Held] = []
    shown: list[int] = []
    for c in range(wide if n else 0):
        a = c * n // wide
        b = max(a + 1, (c + 1) * n // wide)
        at = max(range(a, b), key=totals.__getitem__) if b - a > 1 else a
        held = rows.held(at, phase)
        columns.append({o: k for o, k in held.items() if o not in without} if without else held)
        shown.append(rows.number(b - 1))
    top = max([least, 1, *(sum(h.values()) for h in columns)])
    return Stack(columns, shown, top)


def draw(
    p: Palette, s: Stack, height: int, *, line_at: int = 0, cursor: int | None = None,
    shares: bool = False, axis: bool = True,
) -> list[Line]:  # fmt: skip
    """Rows from top to bottom. `line_at`: bytes at which a dashed line is drawn; `shares`: every
    column fills the height; `cursor`: a column to highlight."""
    owners = in_order({o for h in s.held for o, n in h.items() if n})
    columns: list[list[str]] = []
    for h in s.held:
        whole = sum(h.values()) or 1
        cells: list[str] = []
        at = 0
        for o in owners:
            at += h.get(o, 0)
            cells += [o] * (round(at / (whole if shares else s.top) * height) - len(cells))
        columns.append(cells)
    dash = height - 1 - min(height - 1, int(line_at / s.top * height)) if line_at else -1
    out = []
    for row in range(height):
        level = height - 1 - row
        line = Line()
        if axis:
            told = _tick(s, row, height, shares)
            line.cell(told, MARGIN - 2, p.style("faint"), right=True)
            line.add(" ┤" if told else " │", p.style("line"))
        for c, cells in enumerate(columns):
            if level < len(cells):
                o = cells[level]
                line.add(letter(o), ink(p, o, c == cursor))
            elif row == dash and not shares:
                line.add("╌", p.style("warn"))
            else:
                line.add("│" if c == cursor else " ", p.style("accent"))
        out.append(line)
    return out


def _tick(s: Stack, row: int, height: int, shares: bool) -> str:
    if row not in (0, height // 2):
        return ""
    part = (height - row) / height
    return f"{100 * part:.0f}%" if shares else size(s.top * part)


def bar(p: Palette, held: Held, top: int, width: int, *, named: bool = False) -> Line:
    """Owners side by side; `top` bytes fill the width. `named`: with names where they fit."""
    line, at = Line(), 0.0
    for owner in in_order(set(held)):
        at += held.get(owner, 0) / (top or 1) * width
        cells = round(at) - line.width
        name = visible(NAMES.get(owner, owner))
        fits = named and cells > len(name) + 1
        label = name.center(cells) if fits else letter(owner) * cells
        line.add(label, ink(p, owner, strong=fits))
    return line
