"""The selected token: what the objective does to it, in one sentence, and its numbers."""

from __future__ import annotations

import math
from itertools import groupby

from grpolab.record.lane_state import RolloutView
from grpolab.tui import algorithm_cards, quantities
from grpolab.tui.context import AppContext
from grpolab.tui.formulas import token_facts
from grpolab.tui.quantities import HINTS, label
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.text import MISSING, Line, clip, flow, number, wrapped
from grpolab.tui.widgets.token_rows import ROUNDING, SIGNED, Scale, shown

NAME = 15
"""Cells for a channel's name in the list of all channels."""


class Tokens(Pane):
    index = 2
    title = "Token"
    watches = frozenset({"tokens", "after", "graded", "lane", "resumed", "select", "cards"})
    calm = 0.95
    explains = (
        "The token that is selected among the rollouts: what the objective does to it, its value "
        "in every channel, and where there is room all channels along its answer.\n"
        "reinforced: the gradient increases its probability; penalized: decreases it. Where the "
        "advantage is 0 or the ratio is clipped, what is left is the KL term's gradient.\n"
        "While a step is being sampled, the last finished step is shown; where tokens are not "
        "recorded in every step, the last recorded one, and a line says so.\n"
        + "\n".join(f"{label(name)}: {hint}" for name, hint in HINTS.items())
        + "\nChannels that the algorithm does not have (value without a critic) are not offered."
    )

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(context, id=id)
        self._kept: tuple[tuple[object, ...], dict[str, list[float]]] = ((), {})

    def info(self) -> tuple[str, str]:
        r = self.context.view.scored(self.context.state)
        if r is None or r.tokens is None:
            return "", ""
        row = self.context.view.row(r)
        where = (
            f"step {r.step} · prompt {row // r.group_size + 1} · answer {row % r.group_size + 1}"
        )
        pieces = r.tokens.pieces[row] if row < len(r.tokens.pieces) else []
        at = min(self.context.view.token, len(pieces) - 1)
        return where, f"token {at + 1}/{len(pieces)}" if pieces else ""

    def _second(self) -> str:
        """The second channel, where this step has it; else empty."""
        view, state = self.context.view, self.context.state
        there = view.second in view.channels(state)
        return view.second if there and view.second != view.chosen(state).name else ""

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
        note = quantities.lines(self.context, self.context.palette, width, 1 if height < 10 else 2)
        return note + self._content(width, height - len(note), bool(note))

    def _content(self, width: int, height: int, noted: bool) -> list[Line]:
        p, view = self.context.palette, self.context.view
        r = view.scored(self.context.state)
        if r is None and noted:
            return []
        if r is None or r.tokens is None:
            told = "numbers of single tokens come with the first finished step"
            return [Line(), Line("  " + told, p.style("faint"))]
        row = view.row(r)
        pieces = r.tokens.pieces[row] if row < len(r.tokens.pieces) else []
        if not pieces:
            return [Line(), Line("  (empty answer)", p.style("faint"))]
        at = min(view.token, len(pieces) - 1)
        told = self._sentence(width, pieces[at], at, len(pieces))
        figures = self._figures(r, row, at, width)
        if len(told) + len(figures) > height:
            told = told[: max(1, height - len(figures))]
        out = [*told, *figures]
        spare = height - len(out)
        every = self._every(r, row, at, width)[:spare] if spare >= 3 else []
        return [*out, *every]

    def _sentence(self, width: int, piece: str, at: int, total: int) -> list[Line]:
        """The token, and what the objective does to it and why: reinforced or penalized, by which
        term, whether it is clipped and at which bound."""
        p = self.context.palette
        runs = [(f"token {at + 1}/{total} ", p.style("dim"))]
        runs.append((f"«{clip(shown(piece), 20)}» ", p.style("text", bold=True)))
        r = self.context.view.scored(self.context.state)
        known = r is not None and algorithm_cards.cards()  # imported after the first frame
        found = token_facts.selected(self.context, r.algorithm) if r and known else None
        if found is not None:
            outcome = found.outcome
            runs.append((f"{outcome.mark} {outcome.word}: ", p.style(outcome.hue, bold=True)))
            runs.append((outcome.why, p.style("warn" if found.branch.clipped else "text")))
        return wrapped(runs, width)

    def _figures(self, r: RolloutView, row: int, at: int, width: int) -> list[Line]:
        """The selected token in all channels."""
        p = self.context.palette
        parts = []
        view, state = self.context.view, self.context.state
        chosen = (view.chosen(state).name, self._second())
        for name in view.channels(state):
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
        p, view, state = self.context.palette, self.context.view, self.context.state
        offered, now = view.channels(state), view.chosen(state).name
        room = width - NAME - 1
        out = [Line("── ", p.style("line")).add("all channels, token by token ", p.style("faint"))]
        out[0].add("─" * max(0, width - out[0].width), p.style("line"))
        for name in [now, *(n for n in offered if n != now)]:
            values = self._values(r, name, row)
            scale = Scale(name, values)
            first = max(0, min(len(values) - room, at - room // 2))
            line = Line().cell(label(name), NAME, p.style("accent" if name == now else "dim"))
            line.add(" ")
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
