"""The tokens of the selected answer, colored by one per-token channel."""

from __future__ import annotations

import math
from itertools import groupby

from grpolab.record.lane_state import RolloutView
from grpolab.tui import algorithm_cards, quantities
from grpolab.tui.context import AppContext
from grpolab.tui.formulas import token_facts
from grpolab.tui.quantities import BRIEF, HINTS, label
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.palette import level_mark, sign_mark
from grpolab.tui.widgets.text import MISSING, Line, clip, flow, number, wrap
from grpolab.tui.widgets.token_rows import ROUNDING, SIGNED, Scale, around, layout, painted, shown

BOUNDS = {"clip": ("⊥ clipped (lower) ", "⊤ clipped (upper)")}
"""The two ends of a scale that is not numeric."""

NAME = 15
"""Cells for a channel's name in the list of all channels."""


class Tokens(Pane):
    index = 2
    title = "Tokens"
    watches = frozenset({"tokens", "after", "graded", "lane", "resumed", "select", "cards"})
    calm = 0.95
    explains = (
        "Each token of the selected answer, colored by one channel; the channel key changes it. "
        "The second-channel key adds another channel, as a row of marks under the first.\n"
        "The row under the text says the same without color: ▲▴ above, ▾▼ below the middle, "
        "· near it; for values without a sign ▁▂▃▄▅▆▇█.\n"
        "While a step is being sampled, the last finished step is shown here; where tokens are not "
        "recorded in every step, the last recorded one, and a line says so.\n"
        + "\n".join(f"{label(name)}: {hint}" for name, hint in HINTS.items())
        + "\nChannels that the algorithm does not have (value without a critic) are not offered."
    )

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(context, id=id)
        self._kept: tuple[tuple[object, ...], dict[str, list[float]]] = ((), {})

    def info(self) -> tuple[str, str]:
        r = self.context.view.scored(self.context.state)
        if r is None:
            return "", ""
        row = self.context.view.row(r)
        where = (
            f"step {r.step} · prompt {row // r.group_size + 1} · answer {row % r.group_size + 1}"
        )
        offered = self.context.view.channels(self.context.state)
        name, second = self._channel(r), self._second(r)
        both = f"{label(name)} + {label(second)}" if second else label(name)
        return where, f"{both} {offered.index(name) + 1}/{len(offered)}"

    def _channel(self, r: RolloutView) -> str:
        """The chosen channel, or the first one where this step does not have it."""
        offered = self.context.view.channels(self.context.state)
        chosen = self.context.view.channel
        return chosen if chosen in offered else offered[0]

    def _second(self, r: RolloutView) -> str:
        """The second channel, where this step has it; else empty."""
        chosen = self.context.view.second
        there = chosen in self.context.view.channels(self.context.state)
        return chosen if there and chosen != self._channel(r) else ""

    def _values(self, r: RolloutView, name: str, row: int) -> list[float]:
        """One channel of the answer [T], cached while the answer is the same."""
        lane = self.context.view.lane_state(self.context.state)
        of = (lane.name if lane else "", r.step, id(r.tokens), id(r.after), row)
        if self._kept[0] != of:
            self._kept = (of, {})
        if name not in self._kept[1]:
            self._kept[1][name] = quantities.values(lane, r, name, row)
        return self._kept[1][name]

    def content(self, width: int, height: int) -> list[Line]:
        note = quantities.lines(self.context, self.context.palette, width, 1 if height < 13 else 2)
        return note + self._content(width, height - len(note), bool(note))

    def _content(self, width: int, height: int, noted: bool) -> list[Line]:
        p, view = self.context.palette, self.context.view
        r = view.scored(self.context.state)
        if r is None and noted:
            return []
        if r is None or r.tokens is None:
            told = "tokens appear when a step is finished"
            return [Line(), Line("  " + told, p.style("faint"))]
        row = view.row(r)
        pieces = r.tokens.pieces[row] if row < len(r.tokens.pieces) else []
        if not pieces:
            return [Line(), Line("  (empty answer)", p.style("faint"))]
        at = min(view.token, len(pieces) - 1)
        name = self._channel(r)
        values = self._values(r, name, row)
        scale, second = Scale(name, values), self._second(r)
        others = None
        legend = [self._legend(name, scale, width)]
        if second:
            theirs = self._values(r, second, row)
            others = theirs, Scale(second, theirs)
            legend.append(self._legend(second, others[1], width, mark="2nd row "))
            legend[0] = self._legend(name, scale, width, mark="1st row ")
        why = self._why(width)[: 3 if height >= 20 else 2 if height >= 13 else 1]
        figures = self._figures(r, row, at, pieces[at], len(pieces), width) + why
        each = 3 if others else 2
        rows = layout(tuple(pieces), width)
        room = height - len(figures) - len(legend)
        if room < each and why:  # a low pane: the text comes first
            figures, room = figures[: -len(why)], room + len(why)
        if room < each:
            legend, room = legend[:1], room + len(legend) - 1
            figures = figures[: max(0, height - each - 1)]
            room = max(each, height - len(legend) - len(figures))
        spare = room - min(each * len(rows), max(2 * each, room // 2)) - 1
        every = self._every(r, row, at, width)[:spare] if spare >= 3 else []
        room -= len(every)
        out: list[Line] = []
        for cells in around(rows, at, max(1, room // each)):
            out += painted(p, cells, values, scale, at, others)
        while len(out) < room:
            out.append(Line())
        return [*out[: max(room, 0)], *every, *legend, *figures]

    def _why(self, width: int) -> list[Line]:
        """What the objective does with the selected token, and why: whether it is clipped, at which
        bound, and for which sign of the advantage."""
        if not algorithm_cards.cards():  # they are imported after the first frame
            return []
        r = self.context.view.scored(self.context.state)
        found = token_facts.selected(self.context, r.algorithm) if r is not None else None
        if found is None:
            return []
        p, b = self.context.palette, found.branch
        sign = "✂ " if b.clipped else ""
        style = p.style("warn" if b.clipped else "dim")
        return [Line(row, style) for row in wrap(sign + b.why, width)]

    def _legend(self, name: str, scale: Scale, width: int, mark: str = "") -> Line:
        """The scale of a channel. `mark`: which of the two rows of marks shows it."""
        p = self.context.palette
        line = Line(mark, p.style("accent")).add(f"{label(name)} ", p.style("text", bold=True))
        middle = SIGNED.get(name)
        if name in BOUNDS:
            below, above = BOUNDS[name]
            line.add(below, p.style("minus")).add("· not clipped ", p.style("faint"))
            line.add(above, p.style("plus"))
        elif middle is not None:
            line.add(number(middle - scale.limit, 2) + " ", p.style("dim"))
            for share in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0):
                hue = "plus" if share > 0 else "minus"
                line.add(f"{sign_mark(share, 1)} ", p.tint(hue, abs(share)))
            line.add(" " + number(middle + scale.limit, 2), p.style("dim"))
        else:
            line.add(number(scale.low, 2) + " ", p.style("dim"))
            for step in range(8):
                line.add(level_mark((step + 1) / 8), p.style("heat"))
            line.add(" " + number(scale.high, 2), p.style("dim"))
        room = width - line.width - 2
        hints = ("" if name in BOUNDS else HINTS.get(name, ""), BRIEF.get(name, ""))
        return line.add("  " + next((h for h in hints if len(h) <= room), ""), p.style("faint"))

    def _figures(
        self, r: RolloutView, row: int, at: int, piece: str, total: int, width: int
    ) -> list[Line]:
        """The selected token in all channels."""
        p = self.context.palette
        head = Line(f"token {at + 1}/{total} ", p.style("dim"))
        head.add(f"«{clip(shown(piece), 20)}»", p.style("text", bold=True))
        parts = [head]
        offered = self.context.view.channels(self.context.state)
        chosen = (self._channel(r), self._second(r))
        for name in offered:
            values = self._values(r, name, row)
            value = values[at] if at < len(values) else None
            here = name in chosen
            line = Line(f"{label(name)} ", p.style("accent" if here else "dim", bold=here))
            line.hits.append((0, line.width, ("channel", name)))
            middle = SIGNED.get(name)
            sign = ""
            if value is not None and middle is not None and math.isfinite(value):
                away = value - middle
                if abs(away) < ROUNDING * Scale(name, values).limit:
                    value = middle
                elif name != "clip":
                    sign = "▲" if away > 0 else "▼"
            line.add(sign, p.style("plus" if sign == "▲" else "minus"))
            told = MISSING if value is None else number(value, 3)
            if name == "clip" and value is not None:
                told = "upper" if value > 0 else "lower" if value < 0 else "no"
            parts.append(line.add(told, p.style("text")))
        return flow(parts, width)

    def _every(self, r: RolloutView, row: int, at: int, width: int) -> list[Line]:
        """All channels along the answer, one cell per token, around the selected token."""
        p = self.context.palette
        offered = self.context.view.channels(self.context.state)
        room = width - NAME - 1
        out = [Line("── ", p.style("line")).add("all channels, token by token ", p.style("faint"))]
        out[0].add("─" * max(0, width - out[0].width), p.style("line"))
        now = self._channel(r)
        for name in [now, *(n for n in offered if n != now)]:
            values = self._values(r, name, row)
            scale = Scale(name, values)
            first = max(0, min(len(values) - room, at - room // 2))
            chosen = name == self._channel(r)
            line = Line().cell(label(name), NAME, p.style("accent" if chosen else "dim")).add(" ")
            seen = [scale.look(value) for value in values[first : first + room]]
            start = 0
            for hue, run in groupby(
                (None if i == at else hue for i, (hue, _, _) in enumerate(seen, first))
            ):
                stop = start + len(list(run))
                style = p.style("ground", "text", bold=True) if hue is None else p.style(hue)
                line.add("".join(mark for _, _, mark in seen[start:stop]), style)
                start = stop
            left = NAME + 1
            line.hits += [(left + i, left + 1 + i, ("token", first + i)) for i in range(len(seen))]
            out.append(line.whole(("channel", name), left))
        return out
