"""The group as a heat map: all answers to the selected prompt, each token on the color of its
channel, with verdict and advantage in front. Above it, while the run continues, what is being
sampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui import quantities
from grpolab.tui.context import AppContext
from grpolab.tui.quantities import BRIEF, HINTS, Chosen, label
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.palette import Palette, level_mark, sign_mark
from grpolab.tui.widgets.signs import sign
from grpolab.tui.widgets.text import MISSING, Line, clip, fixed, number, signed, tail, visible, wrap
from grpolab.tui.widgets.token_rows import SIGNED, Scale, around, layout, painted

BOUNDS = {"clip": ("⊥ clipped (lower) ", "⊤ clipped (upper)")}
"""The two ends of a scale that is not numeric."""

BAR = 4
"""Cells of the longest advantage bar."""

LONGEST_PARSED = 10
"""Cells of a parsed answer in front of its row."""


@dataclass(frozen=True)
class Heat:
    """What colors the answers of one group: the channel, its values by row of the rollout, and
    the scale that all of them share."""

    chosen: Chosen
    values: dict[int, list[float]]
    scale: Scale

    @property
    def name(self) -> str:
        return self.chosen.name


def heat(lane: LaneState | None, r: RolloutView, prompt: int, chosen: Chosen) -> Heat:
    """A channel of a group's answers."""
    found = {row: quantities.values(lane, r, chosen.name, row) for row in r.rows(prompt)}
    return Heat(chosen, found, Scale(chosen.name, [x for xs in found.values() for x in xs]))


class Rollouts(Pane):
    index = 1
    title = "Rollouts"
    watches = frozenset(
        {"rollout", "sampled", "graded", "tokens", "after", "lane", "switch", "resumed", "select",
         "end", "step", "paused", "continued"}
    )  # fmt: skip
    period = 0.18
    explains = (
        "All answers to one prompt, a row each: the text on the color of one channel, the same "
        "scale for the whole group.\n"
        "● right   ○ wrong   ✂ truncated at the token limit   ◌ being sampled   ▪ finished, not "
        "graded yet. Beside it the answer that the grader parsed.\n"
        "The number and its bar: the advantage, how much better or worse than expected the answer "
        "did.\n"
        "zero variance: all rewards of the group are equal; a method that compares the answers of "
        "a group (GRPO, RLOO) gives them advantage 0.\n"
        "Up and down choose an answer, left and right a token; the channel key changes the "
        "channel. auto takes the one that tells most: the gradient weight, the ratio or the "
        "entropy once they differ along an answer, else the advantage. Its name and the reason "
        "stand below the answers.\n"
        "Without color (NO_COLOR, high contrast) marks under the text say the same: ▲▴ above, "
        "▾▼ below the middle, · near it; for values without a sign ▁▂▃▄▅▆▇█. The second-channel "
        "key adds such a row for another channel.\n"
        "The last finished step stays until the next one is finished; what is being sampled now is "
        "in the row above. Enter shows the whole group side by side."
    )

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(context, id=id)
        self._heat: tuple[tuple[object, ...], Heat] | None = None
        self._second: tuple[tuple[object, ...], Heat] | None = None
        self._rows: dict[tuple[object, ...], list[Line]] = {}  # answers' text, but the selected one
        self._rows_of: tuple[object, ...] = ()

    def info(self) -> tuple[str, str]:
        r = self.context.view.pictured(self.context.state)
        if r is None:
            return "", ""
        what = "" if r.graded else f" · sampling {r.position}/{r.max_tokens}"
        held = " · VIEW HELD" if self.context.view.held else ""
        where = f"step {r.step} · {r.algorithm.upper()}{what}{held}"
        if r.tokens is None:
            return where, ""
        view, state = self.context.view, self.context.state
        name, second = view.chosen(state).name, self._second_name(r)
        told = f"{label(name)} + {label(second)}" if second else label(name)
        return where, f"auto: {told}" if view.channel == quantities.AUTO else told

    def content(self, width: int, height: int) -> list[Line]:
        p, view = self.context.palette, self.context.view
        r = view.pictured(self.context.state)
        if r is None or not r.prompts or not r.group_size:
            return [Line(), Line("  no rollout yet", p.style("faint"))]
        at = view.row(r) // r.group_size
        stream = self._stream(r, width, height)
        head = self._head(r, at, width, 2 if height >= 20 else 1)
        listed = len(r.prompts) > 1 and height >= 7 + len(r.prompts) + 2 * r.group_size
        prompts = self._list(r, at, width) if listed else []
        strip = [] if listed or len(r.prompts) < 2 or height < 8 else [self._strip(r, at, width)]
        found = self._heat_of(r, at)
        legend = self._legend(found, r, width, height) if found is not None else []
        room = height - sum(map(len, (stream, head, prompts, strip, legend)))
        if room < 3:
            stream, strip, legend = [], [], legend[:1] if height >= 8 else []
            room = height - len(head) - len(legend)
        answers = self._answers(r, at, found, width, max(1, room))
        answers += [Line() for _ in range(room - len(answers))]
        return [*stream, *head, *strip, *answers, *legend, *prompts]

    # the rollout that is being sampled

    def _stream(self, shown: RolloutView, width: int, height: int) -> list[Line]:
        """What is being sampled after the step that is shown: some of its answers. As many rows as
        long as the run continues, so that nothing jumps."""
        context, view = self.context, self.context.view
        if view.held is not None or context.over or shown.graded is None:
            return []
        p, newest = context.palette, view.rollout(context.state)
        rows = 0 if height < 22 else 2 if height < 32 else 3
        if newest is None or newest.step <= shown.step or not newest.prompts:
            then = "the training is paused" if context.state.paused else "the next one follows"
            told = f"step {shown.step} is finished; {then}"
            line = Line("── ", p.style("line")).add(f"{told} ", p.style("faint"))
            return [_ruled(p, line, width), *([Line()] * min(rows, shown.group_size))]
        prompt = view.row(newest) // newest.group_size
        sampling = newest.graded is None
        what = f"sampling {newest.position}/{newest.max_tokens}" if sampling else "updating"
        line = Line("▶ ", p.style("accent")).add(f"step {newest.step} {what} ", p.style("dim"))
        first = view.row(newest)
        if not rows:
            return [line.join(self._streamed(newest, first, width - line.width))]
        room = max(8, width - line.width - 4)
        line.add(clip(visible(newest.prompts[prompt]), room) + " ", p.style("text"))
        out = [_ruled(p, line, width)]
        for row in list(newest.rows(prompt))[:rows]:
            glyph, colour = self._mark(newest, row)
            one = Line("  ").add(f"{glyph} ", p.style(colour))
            out.append(one.join(self._streamed(newest, row, width - one.width)))
        return out

    def _streamed(self, r: RolloutView, row: int, width: int) -> Line:
        """An answer on one row: its end while it is sampled, its beginning once it is graded."""
        p, text = self.context.palette, r.text[row]
        if r.graded is None and row not in r.ended:
            told = tail(visible(text[-width - 40 :]), max(1, width - 1))
            return Line(told, p.style("dim")).add("▌", p.style("accent"))
        return Line(clip(visible(text[: width * 2 + 40]), width), p.style("dim"))

    # the prompts

    def _head(self, r: RolloutView, i: int, width: int, most: int) -> list[Line]:
        """The selected prompt, and what became of its answers."""
        p = self.context.palette
        which = f"{'prompt ' if width >= 60 else ''}{i + 1}/{len(r.prompts)}  "
        lead = Line(which, p.style("accent", bold=True))
        right = self._outcome(r, i, width)
        if (answer := _right_answer(r, i)) and right.width + cell_len(answer) < width // 2:
            right = Line(f"→ {answer}  ", p.style("good")).join(right)
        room = max(8, width - lead.width - right.width - 2)
        rows = wrap(visible(r.prompts[i]), room)
        if len(rows) > most:
            rows = [*rows[: most - 1], clip(rows[most - 1] + " ", room - 1, "") + "…"]
        out = [lead.add(rows[0], p.style("text", bold=True)).to(width - right.width).join(right)]
        out += [Line(" " * len(which)).add(row, p.style("text", bold=True)) for row in rows[1:]]
        return [line.whole(("prompt", i), width) for line in out]

    def _outcome(self, r: RolloutView, i: int, width: int) -> Line:
        p, g = self.context.palette, r.graded
        if g is None:
            return Line("not graded yet", p.style("faint"))
        rows = r.rows(i)
        right = sum(g.correct[k] for k in rows)
        rewards = [g.reward[k] for k in rows]
        line = Line()
        if _equal(rewards):
            line.add("zero variance ", p.style("warn"))
        hue = "good" if 2 * right >= len(rewards) else "bad"
        line.add(f"{right}/{len(rewards)} right", p.style(hue))
        if width >= 60:
            line.add(f" · mean r {fixed(sum(rewards) / len(rewards))}", p.style("dim"))
        level = visible(r.difficulty[i]) if i < len(r.difficulty) else ""
        return line.add(f" · {level}" if level and width >= 76 else "", p.style("dim"))

    def _strip(self, r: RolloutView, at: int, width: int) -> Line:
        """All prompts in one row, each with the share of right answers."""
        p = self.context.palette
        line = Line()
        cells = [self._prompt_cell(r, i, i == at, r.group_size <= 8) for i in range(len(r.prompts))]
        if sum(c.width + 2 for c in cells) > width:
            cells = [self._prompt_cell(r, i, i == at, False) for i in range(len(r.prompts))]
        wide = max(c.width for c in cells) + 2
        for i in window(len(cells), at, max(1, width // wide)):
            line.join(cells[i]).add("  ", p.style("text"))
        return line

    def _prompt_cell(self, r: RolloutView, i: int, here: bool, marks: bool) -> Line:
        p, g = self.context.palette, r.graded
        line = Line("▸" if here else " ", p.style("accent"))
        line.add(f"{i + 1} ", p.style("accent" if here else "dim", bold=here))
        if marks or g is None:
            line.join(self._dots(r, i, 8))
        else:
            rows = r.rows(i)
            right = sum(g.correct[k] for k in rows)
            hue = "good" if 2 * right >= len(rows) else "bad"
            line.add(f"{right}/{len(rows)}", p.style(hue))
            line.add("=" if _equal([g.reward[k] for k in rows]) else "", p.style("warn"))
        line.hits.append((0, line.width, ("prompt", i)))
        return line

    def _list(self, r: RolloutView, at: int, width: int) -> list[Line]:
        """All prompts of the step, a row each, where there is room for them."""
        p = self.context.palette
        head = Line("── ", p.style("line")).add("prompts of this step ", p.style("faint"))
        return [_ruled(p, head, width)] + [
            self._prompt(r, i, i == at, width) for i in range(len(r.prompts))
        ]

    def _prompt(self, r: RolloutView, i: int, here: bool, width: int) -> Line:
        p = self.context.palette
        line = Line("▸ " if here else "  ", p.style("accent"))
        line.add(f"{i + 1:>2} ", p.style("dim"))
        dots = self._dots(r, i, max(8, width // 4))
        rewards = [r.graded.reward[k] for k in r.rows(i)] if r.graded else []
        mean = fixed(sum(rewards) / len(rewards)) if rewards else MISSING
        note = (
            "zero variance" if _equal(rewards) and width >= 66 else "=" if _equal(rewards) else ""
        )
        level = 7 if width >= 48 else 0
        room = width - line.width - dots.width - level - 7 - (15 if width >= 66 else 2)
        text = clip(visible(r.prompts[i]), max(4, room - 1))
        line.cell(text, max(4, room), p.style("text", bold=here))
        difficulty = visible(r.difficulty[i]) if i < len(r.difficulty) else ""
        line.cell(difficulty, level, p.style("dim")).cell(mean, 5, p.style("text"), right=True)
        line.add("  ").join(dots).add("  ").add(note, p.style("warn"))
        line.to(width).whole(("prompt", i), width)
        return line.on(p.style("", "raised")) if here else line

    def _dots(self, r: RolloutView, i: int, most: int) -> Line:
        """A group's outcome: one mark per answer, or a count per mark where there are too many."""
        p = self.context.palette
        marks = [self._mark(r, k) for k in r.rows(i)]
        line = Line()
        if len(marks) <= most:
            for glyph, colour in marks:
                line.add(glyph, p.style(colour))
            return line
        order = sorted(set(marks), key=lambda m: "●○✂▪◌".find(m[0]))
        for glyph, colour in order:
            share = marks.count((glyph, colour))
            line.add(f"{glyph}{share} ", p.style(colour))
        return line

    def _mark(self, r: RolloutView, row: int) -> tuple[str, str]:
        g = r.graded
        if g is None:
            return ("▪", "dim") if row in r.ended else ("◌", "faint")
        if not g.finished[row]:
            return "✂", "warn"
        return ("●", "good") if g.correct[row] else ("○", "bad")

    # the answers

    def _second_name(self, r: RolloutView) -> str:
        """The second channel, where this step has it; else empty."""
        view, state = self.context.view, self.context.state
        there = r.tokens is not None and view.second in view.channels(state)
        return view.second if there and view.second != view.chosen(state).name else ""

    def _heat_of(self, r: RolloutView, prompt: int) -> Heat | None:
        """The group's channel; None where the step's tokens are not known."""
        if r.tokens is None:
            return None
        view, state = self.context.view, self.context.state
        lane, chosen = view.lane_state(state), view.chosen(state)
        of = (view.lane, r.step, id(r.tokens), id(r.after), prompt, chosen)
        if self._heat is None or self._heat[0] != of:
            self._heat = of, heat(lane, r, prompt, chosen)
        name = self._second_name(r)
        of = (*of[:-1], name)
        if not name:
            self._second = None
        elif self._second is None or self._second[0] != of:
            self._second = of, heat(lane, r, prompt, Chosen(name))
        return self._heat[1]

    def _answers(
        self, r: RolloutView, prompt: int, found: Heat | None, width: int, height: int
    ) -> list[Line]:
        """The group, an answer under the other. Every answer has at least one row of text; more,
        up to all of it, where there is room, first for all alike, then for the selected one."""
        first, selected = prompt * r.group_size, self.context.view.row(r)
        front = _Front(self.context.palette, r, prompt, width)
        wide = max(4, width - front.width)
        if found is None or r.tokens is None:
            return self._plain(r, prompt, front, wide, height)
        marks = not self.colour_speaks
        each = 1 + marks + (self._second is not None)
        rows = window(r.group_size, selected - first, max(1, height // each))
        pieces = {i: tuple(r.tokens.pieces[first + i]) for i in rows}
        texts = {i: layout(pieces[i], wide, False) for i in rows}
        here = selected - first
        given = allot({i: len(texts[i]) for i in rows}, height // each, here)
        second = self._second[0] if self._second is not None else None
        theme = self.context.palette.name
        of = (id(r.tokens), id(r.after), prompt, found.name, width, theme, marks, second)
        if of != self._rows_of:
            self._rows, self._rows_of = {}, of
        out: list[Line] = []
        for i in rows:
            key = i, given[i]
            if i == here or key not in self._rows:
                at = min(self.context.view.token, len(pieces[i]) - 1) if i == here else -1
                made = self._answer(
                    front, i, i == here, texts[i], given[i], found, at, marks, width
                )
                if i == here:
                    out += made
                    continue
                self._rows[key] = made
            out += self._rows[key]
        return out

    def _answer(
        self, front: _Front, i: int, here: bool, text: list[list[tuple[int, str]]], rows: int,
        found: Heat, at: int, marks: bool, width: int,
    ) -> list[Line]:  # fmt: skip
        """One answer: what is in front of it, and as many rows of its text."""
        p, row = self.context.palette, front.first + i
        values, other = found.values[row], None
        if self._second is not None:
            second = self._second[1]
            other = second.values[row], second.scale
        cut = len(text) > rows
        shown = around(text, at, rows) if here else text[:rows]
        room = width - front.width
        out: list[Line] = []
        if not any(text):
            return [front.line(i, here, self._mark(front.r, row)).add("(empty)", p.style("faint"))]
        for k, cells in enumerate(shown):
            lines = painted(
                p, cells, values, found.scale, at, other, marks=marks,
                hit=lambda token: ("cell", (i, token)),
            )  # fmt: skip
            for n, part in enumerate(lines):
                if k or n:
                    line = front.blank(here)
                else:
                    line = front.line(i, here, self._mark(front.r, row))
                if not n and cut and k == len(shown) - 1 and shown[-1] is not text[-1]:
                    part = _ended(p, part, room)
                line.join(part).to(width).whole(("answer", i), width)
                out.append(line)
        return out

    def _plain(
        self, r: RolloutView, prompt: int, front: _Front, wide: int, height: int
    ) -> list[Line]:
        """Answers without channels: while the first step is sampled, and where the tokens of a step
        are not recorded."""
        p, first = self.context.palette, prompt * r.group_size
        here = self.context.view.row(r) - first
        rows = window(r.group_size, here, height)
        if r.graded is None:
            out = []
            for i in rows:
                line = front.line(i, i == here, self._mark(r, first + i))
                line.join(self._streamed(r, first + i, wide)).whole(
                    ("answer", i), front.width + wide
                )
                out.append(line)
            return out
        texts = {
            i: wrap(visible(r.text[first + i][: wide * height * 4]) or "(empty)", wide)
            for i in rows
        }
        given = allot({i: len(texts[i]) for i in rows}, height, here)
        out = []
        for i in rows:
            for k, told in enumerate(texts[i][: given[i]]):
                mark = self._mark(r, first + i)
                line = front.blank(i == here) if k else front.line(i, i == here, mark)
                if k == given[i] - 1 and len(texts[i]) > given[i]:
                    told = clip(told + " ", wide - 1, "") + "…"
                out.append(line.add(told, p.style("text")).whole(("answer", i), front.width + wide))
        return out

    def _legend(self, found: Heat, r: RolloutView, width: int, height: int) -> list[Line]:
        """The channel's scale, and why it was chosen."""
        p, key = self.context.palette, self.context.keymap.shown("channel")
        second = self._second[1] if self._second is not None else None
        marks = "1st row " if second is not None and not self.colour_speaks else ""
        line = Line("", None).add(f"{key} ", p.style("accent", bold=True), hit=("run", "channel"))
        line.join(scale_line(p, found.name, found.scale, marks))
        why = found.chosen.why
        told = f"auto: {why}" if why else HINTS.get(found.name, "")
        out = [line]
        room = width - line.width - 2
        if cell_len(told) <= room:
            line.add("  " + told, p.style("faint"))
        elif height >= 16:
            out += [Line("  ").add(row, p.style("faint")) for row in wrap(told, width - 2)[:2]]
        elif not why:
            brief = BRIEF.get(found.name, "")
            line.add("  " + brief if cell_len(brief) <= room else "", p.style("faint"))
        if second is not None:
            which = "2nd row " if marks else "marks "
            out.append(scale_line(p, second.name, second.scale, which))
        return out


class _Front:
    """What stands in front of each answer: number, verdict, parsed answer, reward, advantage."""

    def __init__(self, p: Palette, r: RolloutView, prompt: int, width: int) -> None:
        self.p, self.r, self.first = p, r, prompt * r.group_size
        rows, g = r.rows(prompt), r.graded
        self.advantages = {row: r.advantage(row) for row in rows}
        finite = [abs(a) for a in self.advantages.values() if a is not None and math.isfinite(a)]
        self.most = max(finite, default=0.0) or 1.0
        self.parsed: dict[int, str] = {}
        if g is not None and width >= 60:
            self.parsed = {row: visible(g.answer[row] or MISSING) for row in rows}
        longest = max((cell_len(told) for told in self.parsed.values()), default=0)
        self.answer = min(longest, LONGEST_PARSED if width < 120 else 2 * LONGEST_PARSED)
        self.rewarded = g is not None and width >= 90
        self.bar = BAR if width >= 48 else 0
        self.digits = len(str(r.group_size))
        self.width = 1 + self.digits + 3 + (self.answer + 1 if self.answer else 0)
        self.width += (6 if self.rewarded else 0) + 6 + (self.bar + 1 if self.bar else 1)

    def line(self, i: int, here: bool, mark: tuple[str, str]) -> Line:
        p, row, g = self.p, self.first + i, self.r.graded
        ground = "raised" if here else ""
        line = Line("▸" if here else " ", p.style("accent", ground))
        line.add(f"{i + 1:>{self.digits}} ", p.style("text" if here else "dim", ground, bold=here))
        line.add(f"{mark[0]} ", p.style(mark[1], ground))
        if self.answer:
            line.cell(self.parsed.get(row, ""), self.answer, p.style("text", ground)).add(
                " ", p.style("text", ground)
            )
        if self.rewarded and g is not None:
            line.cell(fixed(g.reward[row]), 5, p.style("dim", ground), right=True).add(
                " ", p.style("text", ground)
            )
        advantage = self.advantages[row]
        near = advantage is not None and abs(advantage) < 0.005
        glyph, hue = sign(0.0 if near else advantage)
        told = MISSING if advantage is None else "0" if near else _short(advantage)
        line.cell(told, 5, p.style(hue, ground, bold=here), right=True)
        line.add(" ", p.style("text", ground))
        if self.bar:
            share = 0.0 if advantage is None or near else min(1.0, abs(advantage) / self.most)
            share = share if math.isfinite(share) else 1.0
            cells = max(1, round(share * self.bar)) if share else 0
            line.cell(("▇" if glyph != "▼" else "▅") * cells, self.bar, p.style(hue, ground))
        return line.add(" ", p.style("text", ground))

    def blank(self, here: bool) -> Line:
        return Line(" " * self.width, self.p.style("text", "raised" if here else ""))


def _short(advantage: float) -> str:
    """An advantage in five cells."""
    told = signed(advantage, 2 if abs(advantage) < 10 else 1)
    return told if len(told) <= 5 else number(advantage, 2)


def _ended(p: Palette, line: Line, room: int) -> Line:
    """A row of tokens that others follow, which are out of sight."""
    if line.width < room:
        return line.add("…", p.style("dim"))
    cut = Line()
    for segment in line.segments:
        text = clip(segment.text, room - 1 - cut.width, "")
        cut.add(text, segment.style)
        if len(text) < len(segment.text):
            break
    cut.hits = line.hits
    return cut.add("…", p.style("dim"))


def scale_line(p: Palette, name: str, scale: Scale, mark: str = "") -> Line:
    """The scale of a channel. `mark`: which row of marks shows it."""
    line = Line(mark, p.style("accent")).add(f"{label(name)} ", p.style("text", bold=True))
    middle = SIGNED.get(name)
    if name in BOUNDS:
        below, above = BOUNDS[name]
        line.add(below, p.style("minus")).add("· not clipped ", p.style("faint"))
        return line.add(above, p.style("plus"))
    if middle is not None:
        line.add(number(middle - scale.limit, 2) + " ", p.style("dim"))
        for share in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0):
            hue = "plus" if share > 0 else "minus"
            line.add(f"{sign_mark(share, 1)} ", p.tint(hue, abs(share)))
        return line.add(" " + number(middle + scale.limit, 2), p.style("dim"))
    line.add(number(scale.low, 2) + " ", p.style("dim"))
    for step in range(8):
        share = (step + 1) / 8
        line.add(level_mark(share), p.tint("heat", share))
    return line.add(" " + number(scale.high, 2), p.style("dim"))


def _ruled(p: Palette, line: Line, width: int) -> Line:
    return line.add("─" * max(0, width - line.width), p.style("line"))


def _equal(rewards: Sequence[float]) -> bool:
    return bool(rewards) and max(rewards) == min(rewards)


def _right_answer(r: RolloutView, prompt: int) -> str:
    """What the right answers of a group have in common, short enough to stand beside the prompt."""
    g = r.graded
    if g is None:
        return ""
    found = {g.answer[k] or "" for k in r.rows(prompt) if g.correct[k]}
    told = visible(found.pop()) if len(found) == 1 else ""
    return told if cell_len(told) <= 2 * LONGEST_PARSED else ""


def allot(needs: dict[int, int], room: int, here: int) -> dict[int, int]:
    """Rows for each answer, of those that it needs: for all the same number, at least one; what is
    left goes to the selected one."""
    each = 1
    while each < max(needs.values()) and sum(min(n, each + 1) for n in needs.values()) <= room:
        each += 1
    out = {i: max(1, min(n, each)) for i, n in needs.items()}
    if here in out:
        out[here] += max(0, min(room - sum(out.values()), needs[here] - out[here]))
    return out


def window(total: int, at: int, room: int) -> range:
    """The `room` of `total` rows around row `at` that are shown."""
    if total <= room:
        return range(total)
    first = max(0, min(total - room, at - room // 2))
    return range(first, first + room)
