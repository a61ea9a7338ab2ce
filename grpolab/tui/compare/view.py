"""The boxes of the compare view: the prompt, the columns, two charts and the standing."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.style import Style

from grpolab.analysis import standing as standings
from grpolab.charts.model import Chart, Mark
from grpolab.charts.terminal import Picture, line_chart
from grpolab.record.lane_state import RolloutView
from grpolab.tui import quantities
from grpolab.tui.compare.model import Column, formulas_of
from grpolab.tui.group.model import mark
from grpolab.tui.lab.learning import ink, line_of
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import CONTRAST, Palette
from grpolab.tui.widgets.text import MISSING, Line, clip, directed, number, visible
from grpolab.tui.widgets.token_rows import SIGNED, Scale, shown

if TYPE_CHECKING:
    from grpolab.tui.compare.screen import CompareScreen
    from grpolab.tui.context import AppContext

OF_ROLLOUTS = frozenset({"rollout", "graded", "tokens", "after", "lane", "switch", "set",
                         "resumed", "cards", "seeds", "select"})  # fmt: skip
OF_NUMBERS = frozenset({"step", "eval", "switch", "lane", "resumed", "run", "end", "failed",
                        "seeds", "select"})  # fmt: skip

BAR = 4
"""Cells of the advantage bar."""

PREFIX = 8 + BAR
"""Cells before an answer's text: verdict, advantage, bar."""

INDENT = 2
"""Cells before each further row of an answer."""


def marked(context: AppContext) -> bool:
    """Whether color cannot tell a token's value: it is told by marks under the text."""
    return bool(os.environ.get("NO_COLOR")) or context.palette is CONTRAST


class Ask(Box["CompareScreen"]):
    """One row: the prompt that all columns answer, the step, the channel, the seed."""

    watches = OF_ROLLOUTS
    title = "Prompt"

    def lines(self, width: int, height: int) -> list[Line]:
        p, view = self.context.palette, self.overlay.view
        frame, at = view.frame(self.context), view.focus(self.context)
        columns, (prompts, _) = frame.columns, frame.shape
        r = frame.rollouts[at] if columns else None
        line = Line(" prompt ", p.style("dim"))
        if r is None or not r.prompts:
            return [line.add("no rollout yet", p.style("faint"))]
        i = min(self.context.view.prompt, len(r.prompts) - 1)
        line.add(f"{i + 1}/{prompts}  ", p.style("dim"))
        right = self._right(len(columns), width)
        told = [f"step {r.step}"] + [visible(r.difficulty[i])] * (i < len(r.difficulty))
        tail = f"  {' · '.join(told)}"
        room = width - line.width - right.width - len(tail) - 1
        line.add(clip(visible(r.prompts[i]), max(8, room)), p.style("text", bold=True))
        if line.width + len(tail) + right.width < width:
            line.add(tail, p.style("dim"))
        return [line.to(width - right.width).join(right)]

    def _right(self, columns: int, width: int) -> Line:
        """The channel, the seed, and which columns are in sight."""
        p, view, keys = self.context.palette, self.overlay.view, self.context.keymap
        line = Line()
        seeds = view.seeds(self.context)
        if len(seeds) > 1:
            seed = view.chosen_seed(self.context)
            told = f"seed {seed} ({seeds.index(seed) + 1}/{len(seeds)}) "
            line.add(told, p.style("text"), hit=("run", "seed"))
            line.add(f"{keys.shown('seed')}  ", p.style("accent"), hit=("run", "seed"))
        across = view.across(self.context, width)
        if columns > across:
            told = f"lanes {view.first + 1}–{view.first + across} of {columns} "
            line.add(told, p.style("text"), hit=("run", "lane"))
            line.add(f"{keys.shown('lane')}  ", p.style("accent"), hit=("run", "lane"))
        name = view.frame(self.context).channel
        line.add(quantities.label(name), p.style("accent", bold=True), hit=("run", "channel"))
        brief = quantities.BRIEF.get(name, "")
        if width >= 110 and brief:
            line.add(f" {brief}", p.style("dim"))
        return line.add(" ")


class Told(NamedTuple):
    """An answer as it stands in a column, in rows of (token, its cells)."""

    rows: list[list[tuple[int, str]]]


@lru_cache(maxsize=512)
def flowed(pieces: tuple[str, ...], first: int, further: int) -> Told:
    """Tokens in rows: the first has less room, for what stands before it. Line breaks are shown
    and do not break a row."""
    rows: list[list[tuple[int, str]]] = [[]]
    room = first
    for i, piece in enumerate(pieces):
        text = shown(piece)
        while text:
            wide = cell_len(text)
            if wide > room and rows[-1]:
                rows.append([])
                room = further
                continue
            part = text if wide <= room else clip(text, room, "")
            if not part:  # a sign of two cells in a row of one
                part = text[0]
            rows[-1].append((i, part))
            room -= cell_len(part)
            text = text[len(part) :]
    return Told(rows)


def texts(r: RolloutView, row: int) -> tuple[str, ...]:
    """An answer's tokens; where they are not recorded, its text as one."""
    if r.tokens is not None and row < len(r.tokens.pieces):
        return tuple(r.tokens.pieces[row])
    text = r.text[row] if row < len(r.text) else ""
    return (text,) if text else ()


def heights(needed: Sequence[int], room: int, at: int, each: int = 1) -> list[int]:
    """How many rows every answer gets so that answers stand beside each other: `each` at least,
    then the selected one what it needs, then all of them more in turn. Sums to `room` at most;
    those that have no room get none."""
    if not needed:
        return []
    count = min(len(needed), max(1, room // each))
    out = [0] * len(needed)
    for i in window(len(needed), at, count):
        out[i] = each
    left = room - sum(out)
    order = [at, *(i for i in range(len(needed)) if i != at)]
    if out[at]:
        more = min(max(0, left), max(0, needed[at] * each - out[at])) // each * each
        out[at] += more
        left -= more
    while left >= each:
        grown = False
        for i in order:
            if out[i] and out[i] < needed[i] * each and left >= each:
                out[i] += each
                left -= each
                grown = True
        if not grown:
            break
    return out


class Facing(Box["CompareScreen"]):
    """One column: what a lane made of the prompt."""

    watches = OF_ROLLOUTS
    period = 0.15
    title = "Lane"

    def __init__(self, overlay: CompareScreen, slot: int) -> None:
        super().__init__(overlay, id=f"column-{slot}")
        self.slot = slot
        self._kept: tuple[object, list[list[Line]]] = ((), [])
        self._answered: tuple[object, dict[object, list[Line]]] = ((), {})
        self._needs: tuple[object, list[int]] = ((), [])

    def column(self) -> tuple[Column | None, RolloutView | None]:
        """Which column stands here now, and which rollout in it."""
        view = self.overlay.view
        found, frame = (
            view.in_sight(self.context, self.overlay.size.width),
            view.frame(self.context),
        )
        if self.slot >= len(found):
            return None, None
        return found[self.slot], frame.rollouts[view.first + self.slot]

    @property
    def here(self) -> bool:
        """Whether the keys for one lane act on this one."""
        view = self.overlay.view
        return self.slot == view.focus(self.context) - view.first

    def lines(self, width: int, height: int) -> list[Line]:
        column, r = self.column()
        if column is None or width < 8 or height < 4:
            return []
        p, step = self.context.palette, self.overlay.view.frame(self.context).step
        edge = p.style("accent" if self.here else "line")
        inner = width - 4
        formulas = self._formulas(column, r.step if r else step, inner, 2 if height >= 16 else 1)
        body = [*formulas, *self._answers(column, r, inner, height - 2 - len(formulas))]
        out = [self._top(column, r, step, width, edge)]
        for line in (*body, *[Line()] * (height - 2 - len(body))):
            row = Line("│ ", edge).join(line).to(width - 1).add("│", edge)
            row.hits.append((0, width, ("column", self.slot)))
            out.append(row)
        return [*out[: height - 1], self._bottom(column, r, width, edge)]

    def _top(self, column: Column, r: RolloutView | None, step: int | None, width: int,
             edge: Style) -> Line:  # fmt: skip
        """The lane's mark, name, algorithm and the mean reward of what is shown."""
        p, lane = self.context.palette, column.lane
        row = Line("╭ ", edge).add(f"{column.glyph} ", p.style(column.colour, bold=True))
        algorithm = "" if lane is None else lane.in_force(r.step if r else lane.opened + 1)[0]
        name, told = visible(column.name), algorithm.upper()
        right = ""
        if r is not None and r.graded is not None and r.graded.reward:
            right = f"mean r {_short(sum(r.graded.reward) / len(r.graded.reward))}"
        elif r is not None:
            right = f"sampling {r.position}/{r.max_tokens}"
        if r is not None and step is not None and r.step != step and lane is not None:
            over = id(lane) in self.overlay.view.frame(self.context).stopped
            right = f"{'stopped at' if over else 'at'} step {r.step}"
        label = told if name.lower() == algorithm else name
        if algorithm not in name.lower():
            label = f"{name} · {told}"
        room = width - row.width - 4 - (len(right) + 2 if right else 0)
        if len(label) > room and len(name) <= room:
            label = name
        row.add(f"{clip(label, max(3, room))} ", p.style(column.colour, bold=True))
        gap = width - row.width - 2 - (len(right) + 2 if right else 0)
        row.add("─" * max(0, gap), edge)
        if right and gap >= 0:
            row.add(f" {right} ", p.style("text"))
        row.hits.append((0, width, ("column", self.slot)))
        return row.to(width - 2).add("─╮", edge)

    def _formulas(self, column: Column, step: int | None, width: int, most: int) -> list[Line]:
        """How the algorithm makes an advantage of rewards, and what it maximizes."""
        p = self.context.palette
        advantage, objective = formulas_of(column.lane, step) if column.lane else ("", ())
        if not advantage or not objective:
            return [Line("…", p.style("faint"))] * most
        line = Line(clip(advantage, width), p.style("heat"))
        fitting = [x for x in objective if len(x) <= width - line.width - 3]
        if most == 1 or (fitting and fitting[0] == objective[0]):
            right = fitting[0] if fitting else ""
            line.to(width - len(right)).add(right, p.style("dim"))
            return [line] + [Line()] * (most - 1)
        told = next((x for x in objective if len(x) <= width), clip(objective[-1], width))
        return [line, Line(told, p.style("dim"))]

    # the answers

    def needed(self, width: int) -> list[int]:
        """Rows that each answer to the prompt would take as a whole."""
        _, r = self.column()
        if r is None or not r.prompts:
            return []
        prompt = min(self.context.view.prompt, len(r.prompts) - 1)
        sampled = r.position if r.graded is None else 0
        key = id(r), id(r.tokens), id(r.graded), sampled, prompt, width
        if self._needs[0] != key:
            rooms = width - PREFIX, width - INDENT
            rows = [flowed(texts(r, row), *rooms).rows for row in r.rows(prompt)]
            self._needs = key, [len(x) for x in rows]
        return self._needs[1]

    def _answers(self, column: Column, r: RolloutView | None, width: int, room: int) -> list[Line]:
        p = self.context.palette
        if column.lane is None:
            return [Line(), Line("this seed has not begun", p.style("faint"))]
        if r is None or not r.prompts or not r.group_size:
            return [Line(), Line("its first rollout comes next", p.style("faint"))]
        out: list[Line] = []
        prompt = min(self.context.view.prompt, len(r.prompts) - 1)
        other = self._other_prompt(r, prompt)
        if other:
            out.append(Line(clip(f"other prompt: {visible(other)}", width), p.style("warn")))
            room -= 1
        name = self.overlay.view.frame(self.context).channel
        tall = self.overlay.rows_of_answers(room)
        at = min(self.context.view.answer, len(tall) - 1)
        key = (
            id(r), id(r.tokens), id(r.graded), id(r.after), r.position if r.graded is None else 0,
            prompt, at, self.context.view.token, name, width, tuple(tall), p.name,
            marked(self.context),
        )  # fmt: skip
        if self._kept[0] != key:
            self._kept = key, self._made(column, r, prompt, name, width, tall, at)
        for made in self._kept[1]:
            out += made
        return out

    def _other_prompt(self, r: RolloutView, prompt: int) -> str:
        """This column's prompt where it is not the one above the columns."""
        view = self.overlay.view
        main = view.frame(self.context).rollouts[view.focus(self.context)]
        if main is None or main is r or not main.prompts:
            return ""
        theirs = main.prompts[min(self.context.view.prompt, len(main.prompts) - 1)]
        return "" if r.prompts[prompt] == theirs else r.prompts[prompt]

    def _made(
        self, column: Column, r: RolloutView, prompt: int, name: str, width: int,
        tall: Sequence[int], at: int,
    ) -> list[list[Line]]:  # fmt: skip
        p = self.context.palette
        first = prompt * r.group_size
        values = {row: quantities.values(column.lane, r, name, row) if r.tokens else []
                  for row in r.rows(prompt)}  # fmt: skip
        scale = Scale(name, [v for row in values.values() for v in row])
        most = max((abs(a) for i in r.rows(prompt) if (a := _advantage(r, i)) is not None
                    and math.isfinite(a)), default=0.0) or 1.0  # fmt: skip
        of = (
            id(r), id(r.tokens), id(r.graded), id(r.after), r.position if r.graded is None else 0,
            prompt, name, width, p.name, marked(self.context),
        )  # fmt: skip
        if self._answered[0] != of:
            self._answered = of, {}
        known = self._answered[1]
        out = []
        for i, rows in enumerate(tall):
            if not rows:
                continue
            this = i, rows, self.context.view.token if i == at else None
            if this in known:
                out.append(known[this])
                continue
            if i >= r.group_size:
                out.append([Line("·", p.style("faint"))] + [Line()] * (rows - 1))
                continue
            made = self._answer(r, first + i, width, rows, values[first + i], scale, most, i == at)
            ground = p.style("", "raised")
            lines = [x.to(width).on(ground) if i == at else x.to(width) for x in made]
            for line in lines:
                line.whole(("answer", i), width)
            known[this] = lines
            out.append(lines)
        return out

    def _answer(
        self, r: RolloutView, row: int, width: int, most_rows: int, values: Sequence[float],
        scale: Scale, most: float, here: bool,
    ) -> list[Line]:  # fmt: skip
        """Verdict, advantage and bar, then the text, colored by the channel."""
        p = self.context.palette
        glyph, colour, _ = mark(r, row)
        head = Line(f"{glyph} ", p.style(colour))
        advantage = _advantage(r, row)
        if advantage is None:
            reward = r.graded.reward[row] if r.graded and row < len(r.graded.reward) else None
            told = "" if reward is None else f"r {_short(reward)}"
            head.cell(told, 5 + BAR, p.style("dim"))
        else:
            flat = abs(advantage) < 0.005
            style = p.style("dim" if flat else "plus" if advantage > 0 else "minus")
            head.cell(_signed(advantage), 5, style)
            share = min(1.0, abs(advantage) / most) if math.isfinite(advantage) else 1.0
            head.cell("▇" * math.ceil(share * BAR - 1e-9) if not flat else "", BAR, style)
        head.to(PREFIX)
        under = marked(self.context) and bool(values)
        pieces = texts(r, row)
        rows = flowed(pieces, width - PREFIX, width - INDENT).rows
        keep = max(1, most_rows // 2 if under else most_rows)
        start = 0
        token = self.context.view.token if here else -1
        if r.graded is None:  # while it is sampled, its end is what is new
            start = max(0, len(rows) - keep)
        elif token > 0:
            at = next((k for k, x in enumerate(rows) if x and x[-1][0] >= token), 0)
            start = max(0, min(len(rows) - keep, at - keep + 1))
        looks = _looks(p, scale, values)
        plain, here_style = p.style("text"), p.style("ground", "text", bold=True)
        out: list[Line] = []
        for k, cells in enumerate(rows[start : start + keep]):
            line = Line().join(head) if k == 0 else Line(" " * INDENT)
            marks = Line(" " * line.width)
            room, used, last = width - line.width, 0, k == keep - 1 and start + keep < len(rows)
            told, style = "", plain  # neighbors that look alike are one piece
            for i, text in cells:
                wide = cell_len(text)
                if last and used + wide > room - 1:
                    text = clip(text, room - 1 - used, "")
                    wide = cell_len(text)
                its = here_style if i == token else looks[i][0] if i < len(looks) else plain
                if its is not style:
                    line.add(told, style)
                    told, style = "", its
                told += text
                at = width - room + used
                line.hits.append((at, at + wide, ("token", (row % r.group_size, i))))
                if under:
                    sign, hue = looks[i][1:] if i < len(looks) else (" ", plain)
                    marks.add(sign * wide, hue)
                used += wide
            line.add(told, style)
            if last:
                line.add("…", p.style("faint"))
            out.append(line)
            if under:
                out.append(marks)
        if not pieces:
            out = [Line().join(head).add("(empty answer)" if r.graded else "▌", p.style("faint"))]
        return [*out, *[Line()] * (most_rows - len(out))][:most_rows]

    def _bottom(self, column: Column, r: RolloutView | None, width: int, edge: Style) -> Line:
        """The selected token's number in the chosen channel."""
        p, view = self.context.palette, self.context.view
        row = Line("╰", edge)
        told = Line()
        if r is not None and r.tokens is not None and r.prompts and view.answer < r.group_size:
            at = min(view.prompt, len(r.prompts) - 1) * r.group_size + view.answer
            name = self.overlay.view.frame(self.context).channel
            pieces = r.tokens.pieces[at] if at < len(r.tokens.pieces) else []
            values = quantities.values(column.lane, r, name, at)
            i = min(view.token, len(pieces) - 1)
            if pieces:
                told.add(f" «{clip(shown(pieces[i]), 10)}» ", p.style("text"))
                label = f"{quantities.label(name)} "
                if len(label) + told.width + 10 < width:
                    told.add(label, p.style("dim"))
                value = values[i] if i < len(values) else None
                if value is not None and name in SIGNED and abs(value) < 1e-6:
                    value = 0.0
                form = directed if SIGNED.get(name) == 0.0 else number
                style = "dim" if not value else "plus" if value > 0 else "minus"
                hue = style if SIGNED.get(name) == 0.0 else "text"
                said = MISSING if value is None else form(value, 3)
                told.add(f"{said} ", p.style(hue, bold=True))
        if told.width + 4 <= width:
            row.add("─", edge).join(told)
        return row.add("─" * (width - 1 - row.width), edge).add("╯", edge)


def _looks(p: Palette, scale: Scale, values: Sequence[float]) -> list[tuple[Style, str, Style]]:
    """Of each value the style of the text, the mark under it and the style of that."""
    out, known = [], dict[tuple[str, int], tuple[Style, Style]]()
    for value in values:
        hue, strength, sign = scale.look(value)
        shade = hue, round(12 * strength)  # as many as a tint has
        styles = known.get(shade)
        if styles is None:
            styles = known[shade] = p.tint(hue, strength), p.style(hue)
        out.append((styles[0], sign, styles[1]))
    return out


def _advantage(r: RolloutView, row: int) -> float | None:
    rows = r.channel("advantage")
    if rows is None or row >= len(rows):
        return None
    return r.advantage(row)


def _short(value: float) -> str:
    """Two decimals without the leading zero: .83, 1.20."""
    if not math.isfinite(value):
        return number(value)
    text = f"{abs(value):.2f}"
    return ("−" if value < 0 and text != "0.00" else "") + text.removeprefix("0")


def _signed(value: float) -> str:
    """In four cells where that is possible: +.34, −2.4, +12."""
    if not math.isfinite(value):
        return number(value)
    size = abs(value)
    if size < 0.005:
        return "0"
    text = f"{size:.2f}".removeprefix("0") if size < 0.995 else f"{size:.1f}"
    if size >= 9.95:
        text = f"{size:.0f}" if size < 1000 else number(size, 1)
    return ("+" if value > 0 else "−") + text


class Curves(Box["CompareScreen"]):
    """One metric of all lanes over each other."""

    watches = OF_NUMBERS
    period = 0.5
    calm = 0.95
    slow = True

    def __init__(self, overlay: CompareScreen, metric: str, title: str) -> None:
        super().__init__(overlay, id=metric.replace(" ", "-"))
        self.metric = metric
        self._title = title
        self._drawn: tuple[Picture, list[Line]] | None = None

    @property
    def title(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._title

    @property
    def here(self) -> bool:
        return False

    def info(self) -> tuple[str, str]:
        seeds = len(self.overlay.view.seeds(self.context))
        return ("mean, range" if seeds > 1 else "", "")

    def content(self, width: int, height: int) -> list[Line]:
        p, view = self.context.palette, self.overlay.view
        series = view.series(self.context, self.metric)
        if not any(len(s.x) for s in series):
            first = "evaluation" if self.metric == "test accuracy" else "finished step"
            told = f"  curves begin with the first {first}"
            return [Line(), Line(clip(told, width), p.style("faint"))]
        held = self.context.view.held
        last = self._limit(max(s.x[-1] for s in series if len(s.x)))
        ends = tuple((s.name, len(s.x), s.x[-1] if len(s.x) else 0, s.y[-1] if len(s.y) else 0)
                     for s in series)  # fmt: skip
        switches = [(x.step, x.after, c.glyph) for c in view.frame(self.context).columns
                    for x in (c.lane.switches if c.lane else ())]  # fmt: skip
        version = self.id, ends, last, held.step if held else None, tuple(switches)

        def chart() -> Chart:
            found = [Mark(x=at, label=f"{glyph}→{name.upper()}", short=f"{glyph}→", colour=p.text)
                     for at, name, glyph in switches]  # fmt: skip
            found += [Mark(x=held.step, label="▼", colour=p.warn, rank=1)] if held else []
            return Chart(
                series=series, xlim=(0.0, max(1.0, last)), marks=found, unit="step",
                percent=self.metric == "test accuracy",
            )  # fmt: skip

        drawn = line_chart(chart, width, height, ink(p), version=version)
        if self._drawn is None or self._drawn[0] is not drawn:
            self._drawn = drawn, [line_of(p, row) for row in drawn.rows]
        return self._drawn[1]

    def _limit(self, newest: float) -> float:
        """The last step on the axis: some way ahead of the newest, at most the run's last."""
        total = self.context.state.steps
        ahead = float(max(10, -(-newest * 5 // 4 // 10) * 10))
        return min(ahead, float(total)) if total >= newest else float(newest)


class Standing(Box["CompareScreen"]):
    """Who leads, with intervals."""

    watches = OF_NUMBERS
    period = 0.5
    calm = 0.95
    title = "standing"

    @property
    def here(self) -> bool:
        return False

    def info(self) -> tuple[str, str]:
        s = self.overlay.view.standing(self.context)
        if s is None:
            return "", ""
        return f"step {s.step}", f"{s.seeds}/{s.of} seeds" if s.of > 1 else ""

    def content(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        s = self.overlay.view.standing(self.context)
        if s is None:
            return [Line(), Line(clip("  it begins with the first evaluation", width),
                                 p.style("faint"))]  # fmt: skip
        cells = [standings.cells(row) for row in s.rows]
        heads = list(standings.HEADS)
        longest = max(len(visible(r.name)) for r in s.rows)
        keep = self._kept(heads, cells, width, min(longest, 12))
        wide = {i: max(len(heads[i]), *(len(c[i]) for c in cells)) for i in keep}
        name = max(3, width - 2 - sum(w + 2 for w in wide.values()))
        name = min(name, max(longest, 4))
        faint = p.style("faint")
        head = Line("  ").cell("lane", name, faint)
        for i in keep:
            head.add("  ").cell(heads[i], wide[i], faint, right=True)
        out = [head]
        marks = {c.name: c for c in self.overlay.view.frame(self.context).columns}
        for row, told in zip(s.rows, cells, strict=True):
            column = marks[row.name]
            style = p.style(column.colour, bold=True)
            line = Line(f"{column.glyph} ", style).cell(visible(row.name), name, style)
            for i in keep:
                best = i == 1 and row.behind is not None and row.behind >= 0 and row.apart
                dim = i == 1 and not row.apart and not best
                colour = "good" if best else "dim" if dim else "text"
                line.add("  ").cell(told[i], wide[i], p.style(colour, bold=i == 0), right=True)
            lane = next(iter(column.entrant.lanes.values()))
            out.append(line.whole(("lane", lane.name), width))
        notes = [*(self.context.seeds.told() if self.context.seeds else []), *standings.notes(s)]
        for note in notes:
            room = height - len(out)
            rows = _wrapped(note, width)
            if len(rows) <= room:
                out += [Line(row, p.style("faint")) for row in rows]
        return out

    def _kept(
        self, heads: Sequence[str], cells: Sequence[Sequence[str]], width: int, name: int
    ) -> list[int]:
        """Which cells have room: memory is left out first, then seconds, then the KL."""
        keep = list(range(len(heads)))
        for drop in (4, 3, 2):
            wide = sum(2 + max(len(heads[i]), *(len(c[i]) for c in cells)) for i in keep)
            if wide + 2 + name <= width:
                break
            keep.remove(drop)
        return keep


def _wrapped(text: str, width: int) -> list[str]:
    from grpolab.tui.widgets.text import wrap

    return wrap(text, max(8, width))
