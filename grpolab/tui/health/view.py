"""The boxes of the health screen: warnings with suggestions, and the loss explained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.analysis import loss_report
from grpolab.analysis.health import SIGNS, Verdict
from grpolab.analysis.health_rules import Evidence
from grpolab.analysis.health_suggestions import Try
from grpolab.tui.algorithm_cards import word
from grpolab.tui.health import model as health_model
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.text import Line, clip, directed, number, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.health.screen import HealthScreen

WHAT_IS_WATCHED = (
    "Checked: updates without a finite gradient, falling reward, entropy collapse, accelerating "
    "KL, clipping saturated on one side, groups with zero variance, a critic worse than the mean, "
    "answers cut at max_tokens, training–inference mismatch, gradient clipping on every update."
)


class Verdicts(Box["HealthScreen"]):
    title = "Warnings"
    overlay: HealthScreen

    def info(self) -> tuple[str, str]:
        step = self.overlay.step()
        return "" if step is None else f"after step {step}", ""

    def content(self, width: int, height: int) -> list[Line]:
        p, found = self.context.palette, self.overlay.found()
        if not found:
            enough = (self.overlay.step() or 0) >= 3
            told = "✓ no warnings" if enough else "too few steps yet"
            out = [Line(), Line(told, p.style("good" if enough else "dim", bold=True)), Line()]
            return [*out, *(Line(row, p.style("dim")) for row in wrap(WHAT_IS_WATCHED, width))]
        out: list[Line] = []
        for i, v in enumerate(found):
            here = i == self.overlay.at
            if here and i:
                out.append(Line())
            out.append(self._title(v, here).whole(("verdict", i), width))
            if here:
                out += self._details(v, width)
        return out

    def _title(self, v: Verdict, here: bool) -> Line:
        p = self.context.palette
        line = Line("▸" if here else " ", p.style("accent"))
        line.add(f"{SIGNS[v.level]} ", p.style(health_model.COLOURS[v.level], bold=True))
        if len(self.context.state.lanes) > 1:
            glyph, colour = self.context.lane_mark(v.lane)
            line.add(f"{glyph} {clip(visible(v.lane), 12)} ", p.style(colour))
        return line.add(v.title, p.style("text", bold=here))

    def _details(self, v: Verdict, width: int) -> list[Line]:
        p = self.context.palette
        inner = max(1, width - 4)
        out = [Line("    ").add(row, p.style("text")) for row in wrap(v.cause, inner)]
        told = ", ".join(f"{name} {number(value)}" for name, value in v.evidence)
        step = self.overlay.step()
        seen = "seen" if step in (None, v.step) else f"last seen at step {v.step}"
        out += [Line("    ").add(row, p.style("dim")) for row in wrap(f"{seen}: {told}", inner)]
        for i, t in enumerate(v.tries, 1):
            out += self._try(i, t, inner)
        return [*out, Line()]

    def _try(self, number_: int, t: Try, inner: int) -> list[Line]:
        p = self.context.palette
        hit = ("try", number_)
        line = Line("    ").add(f"{number_} ", p.style("accent", bold=True), hit=hit)
        line.add("try ", p.style("dim"), hit=hit)
        line.add(
            f"{visible(t.key)} = {visible(word(t.value))}", p.style("text", bold=True), hit=hit
        )
        line.add(f"  now {visible(word(t.now))}", p.style("dim"), hit=hit)
        why_ = t.why if t.live else f"{t.why}; for the next run"
        if line.width + len(why_) + 3 <= inner + 4:
            return [line.add(f"   {why_}", p.style("faint"))]
        return [line, *(Line("      ").add(r, p.style("faint")) for r in wrap(why_, inner - 2))]


class LossCard(Box["HealthScreen"]):
    title = "Why the loss is what it is"
    overlay: HealthScreen

    def info(self) -> tuple[str, str]:
        lane = self.context.view.lane_state(self.context.state)
        several = len(self.context.state.lanes) > 1
        return (visible(lane.name) if lane and several else ""), ""

    def content(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        lane = self.context.view.lane_state(self.context.state)
        held = self.context.view.held
        given = Evidence(self.context.state, lane, held.step if held else None) if lane else None
        if given is None or given.last is None:
            return [Line(), Line("  appears with the first finished step", p.style("faint"))]
        m = given.metrics
        out = self._terms(m, width, height > 16)
        out.append(Line())
        for t in loss_report.facts(m):
            out += self._row(t.name, _told(t), t.meaning, width)
        out.append(Line())
        for text in loss_report.paragraphs(given):
            for i, row in enumerate(wrap(visible(text), max(1, width - 2))):
                bar = Line("▌ " if i == 0 else "  ", p.style("accent"))
                out.append(bar.add(row, p.style("text")))
        return out

    def _terms(self, m: dict[str, float], width: int, roomy: bool) -> list[Line]:
        """The loss and its terms, each with a bar left or right of 0."""
        p, found = self.context.palette, loss_report.terms(m)
        loss = m.get("loss")
        head = Line("loss ", p.style("text", bold=True)).add(directed(loss, 4), p.style("text"))
        head.add("  of the last update =", p.style("dim"))
        out = [head.whole(("metric", "loss"), width)]
        finite = [abs(t.value) for t in found if math.isfinite(t.value)]
        most, cells = max(finite, default=0.0), max(3, min(10, (width - 40) // 2))
        for t in found:
            share = round(t.value / most * cells) if most and math.isfinite(t.value) else 0
            bar = Line(" " * (cells + min(share, 0))).add("◂" * -min(share, 0), p.style("minus"))
            bar.add("│", p.style("line")).add("▸" * max(share, 0), p.style("plus"))
            line = Line("  ").cell(t.name, 15, p.style("text"))
            line.cell(directed(t.value), 9, p.style("text"), right=True).add(" ").join(bar)
            line.to(29 + 2 * cells)
            out.append(line.whole(("metric", t.name), width))
            if line.width + len(t.meaning) <= width:
                line.add(t.meaning, p.style("faint"))
            elif roomy:
                rows = wrap(t.meaning, max(1, width - 4))
                out += [Line("    ").add(row, p.style("faint")) for row in rows]
        return out

    def _row(self, name: str, value: str, meaning: str, width: int) -> list[Line]:
        p = self.context.palette
        line = Line("  ").cell(value, 9, p.style("text", bold=True), right=True).add("  ")
        rows = wrap(meaning, max(8, width - line.width))
        line.add(rows[0], p.style("dim")).whole(("metric", name), width)
        return [line, *(Line(" " * 13).add(r, p.style("dim")) for r in rows[1:])]


SIGNED = ("policy_loss_first", "advantage_sum", "advantage_mean")


def _told(t: loss_report.Term) -> str:
    if t.value == 0 or t.name == "updates_skipped":
        return number(int(t.value)) if math.isfinite(t.value) else number(t.value)
    return directed(t.value) if t.name in SIGNED else number(t.value)
