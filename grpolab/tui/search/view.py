"""The boxes of the search: the filter, the list of results, and the selected answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpolab.record.search import MOST, Found, indexing
from grpolab.tui.group.model import exact_rows, graded_span, mark
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import SPINNER
from grpolab.tui.widgets.text import Line, clip, fixed, flow, visible

if TYPE_CHECKING:
    from grpolab.tui.search.screen import AnswersScreen


class AnswersFilter(Box["AnswersScreen"]):
    overlay: AnswersScreen
    title = "Search all answers"
    watches = frozenset({"select", "clock"})

    def info(self) -> tuple[str, str]:
        f = self.overlay.finding
        r = f.results
        if f.problem or not (r.seen or r.done or f.running):
            return "", ""
        shown = f", the first {MOST:,} shown" if r.matches > MOST else ""
        return "", f"{r.matches:,} of {r.seen:,} answers{shown}"

    def content(self, width: int, height: int) -> list[Line]:
        return [*self.fields(width)[: max(1, height - 1)], self._state(width)]

    def fields(self, width: int) -> list[Line]:
        """The fields of the filter, each with its key and value."""
        f = self.overlay.finding
        several = len(self.context.state.lanes) > 1 or f.lane != "any"
        fields = [
            self._field("answers_text", "regex" if f.regex else "text", f.text, "anything"),
            self._field("answers_regex", "pattern", "regular expression" if f.regex else "plain"),
            self._field("answers_verdict", "verdict", f.verdict),
            self._field("answers_ended", "end", f.ended),
            self._field("answers_reward", "reward", f.reward, "any"),
            self._field("answers_steps", "steps", f.steps, "all"),
            self._field("answers_level", "difficulty", f.level),
            *([self._field("answers_lane", "lane", f.lane)] if several else []),
            self._field("answers_order", "order", f.order),
        ]
        return flow(fields, width, "   ")

    def _field(self, action: str, label: str, value: str, nothing: str = "any") -> Line:
        """One field: its key, name and value; a click does what the key does."""
        p = self.context.palette
        found = next(a for a in self.overlay.actions if a.name == action)
        hit = ("run", found.call)
        line = Line().add(self.context.keymap.shown(found), p.style("accent", bold=True), hit)
        line.add(f" {label} ", p.style("dim"), hit)
        chosen = value not in ("", "any", "plain")
        told = clip(visible(value), 40) if value else nothing
        return line.add(told, p.style("text" if chosen else "faint", bold=chosen), hit)

    def _state(self, width: int) -> Line:
        p, f = self.context.palette, self.overlay.finding
        r = f.results
        if f.problem:
            return Line(clip(f"✗ {visible(f.problem)}", width), p.style("bad"))
        if f.running:
            spin = SPINNER[int(time.monotonic() * 8) % len(SPINNER)]
            past = self.context.source.past
            if past is not None and indexing(past.log):
                size = past.log.end + past.log.behind()
                told = f"reading the run file: {100 * past.log.end // size}%"
            else:
                told = f"step {r.steps:,} of {r.total:,}"
            return Line(f"{spin} {told}", p.style("accent"))
        new = self.overlay.newer
        if new:
            key = self.context.keymap.shown("answers_again")
            told = f"{new} newer step{'' if new == 1 else 's'}; {key} searches again"
            return Line(clip(told, width), p.style("dim"))
        return Line()


class AnswersList(Box["AnswersScreen"]):
    title = "Results"

    def info(self) -> tuple[str, str]:
        f = self.overlay.finding
        n = len(self.overlay.rows)
        return f"by {f.order}" if f.order not in ("newest", "oldest") else f"{f.order} first", (
            f"{min(f.at, n - 1) + 1}/{n}" if n else ""
        )

    def content(self, width: int, height: int) -> list[Line]:
        f, p, rows = self.overlay.finding, self.context.palette, self.overlay.rows
        if not rows:
            told = self.overlay.nothing() if f.results.done and not f.problem else ""
            return [Line(), Line(clip("  " + told, width), p.style("dim"))] if told else []
        at = min(f.at, len(rows) - 1)
        several = len(self.context.state.lanes) > 1
        digits = max(4, len(str(max(row.step for row in rows))))
        head = Line("  ").cell("step", digits, p.style("faint"), right=True)
        head.cell(
            " prompt·answer" if width >= 70 else " p·a", 14 if width >= 70 else 8, p.style("faint")
        )
        head.cell(" lane", 10 if several and width >= 60 else 0, p.style("faint"))
        head.cell("   reward", 10, p.style("faint"))
        head.cell("tok ", 6, p.style("faint"), right=True)
        out = [head.add(" answer", p.style("faint"))]
        for i in window(len(rows), at, height - 1):
            out.append(self._row(rows[i], i, i == at, width, digits, several))
        return out

    def _row(
        self, found: Found, i: int, here: bool, width: int, digits: int, several: bool
    ) -> Line:
        p = self.context.palette
        line = Line("▸ " if here else "  ", p.style("accent"))
        line.cell(str(found.step), digits, p.style("text", bold=here), right=True)
        prompt, answer = found.place
        line.cell(f" {prompt + 1}·{answer + 1}", 14 if width >= 70 else 8, p.style("dim"))
        if several and width >= 60:
            glyph, colour = self.context.lane_mark(found.lane)
            line.add(f" {glyph} ", p.style(colour)).cell(visible(found.lane), 7, p.style(colour))
        glyph, colour = (
            ("✂", "warn") if not found.finished
            else ("●", "good") if found.correct else ("○", "bad")
        )  # fmt: skip
        line.add(f" {glyph} ", p.style(colour))
        line.cell(fixed(found.reward), 6, p.style("text"), right=True).add(" ")
        line.cell(f"{found.length} ", 6, p.style("dim"), right=True).add(" ")
        self._excerpt(line, found, width)
        line.to(width).whole(("found", i), width)
        return line.on(p.style("", "raised")) if here else line

    def _excerpt(self, line: Line, found: Found, width: int) -> None:
        """Part of the answer around the match, which is underlined."""
        p, text, (a, b) = self.context.palette, found.excerpt, found.hit
        if not text:
            line.add("(empty)", p.style("faint"))
            return
        room = max(4, width - line.width)
        skip = max(0, a - room // 3) if len(visible(text[:b])) > room else 0
        before = ("…" if skip else "") + visible(text[skip:a], newline="⏎")
        parts = ((before, False), (visible(text[a:b], newline="⏎"), True),
                 (visible(text[b:], newline="⏎"), False))  # fmt: skip
        for part, hit in parts:
            style = p.style("warn", bold=True, underline=True) if hit else p.style("text")
            line.add(clip(part, max(0, width - line.width)), style)


class AnswersPreview(Box["AnswersScreen"]):
    title = "Answer"

    def __init__(self, overlay: AnswersScreen, *, id: str) -> None:
        super().__init__(overlay, id=id)
        self._cache: tuple[object, list[Line]] = ((), [])

    def info(self) -> tuple[str, str]:
        found = self.overlay.found
        if found is None:
            return "", ""
        prompt, answer = found.place
        return f"step {found.step} · prompt {prompt + 1} · answer {answer + 1}", found.difficulty

    def content(self, width: int, height: int) -> list[Line]:
        p, found, r = self.context.palette, self.overlay.found, self.overlay.rollout
        if found is None:
            return []
        out = [Line(clip(visible(found.prompt), width), p.style("text", bold=True))]
        if r is None or r.graded is None or found.row >= len(r.text):
            return [*out, Line(clip(visible(found.excerpt), width), p.style("dim"))]
        glyph, colour, word = mark(r, found.row)
        parts = [Line(f"{glyph} {word}", p.style(colour))]
        sums = r.graded.parts[found.row]
        total = Line("reward ", p.style("dim"))
        parts.append(total.add(fixed(r.graded.reward[found.row]), p.style("text", bold=True)))
        parts += [Line(f"{visible(k)} {fixed(v)}", p.style("dim")) for k, v in sums.items()]
        out += flow(parts, width, "  ")[:2]
        text = r.text[found.row]
        if not text:
            return [*out, Line("(empty answer)", p.style("faint"))]
        hit = self._hit(found, text)
        key = (id(r), found, hit, width, p.name)
        if self._cache[0] != key:
            span = graded_span(text, r.graded.answer[found.row])
            rows = exact_rows(text, span, width, p, hit)
            self._cache = (key, rows)
            if hit is not None:  # scroll the match into sight
                before = len(exact_rows(text[: hit[0]], None, width, p))
                self.top = max(0, before - (height - len(out)) // 2)
        return out + self._cache[1]

    def _hit(self, found: Found, text: str) -> tuple[int, int] | None:
        """Character range of the match in the whole answer."""
        a, b = found.hit
        if a == b:
            return None
        excerpt, cut = found.excerpt, found.excerpt.startswith("…")
        at = text.find(excerpt[1:] if cut and not text.startswith(excerpt) else excerpt)
        if at < 0:
            return None
        first = at + a - (1 if cut and not text.startswith(excerpt) else 0)
        return first, first + b - a
