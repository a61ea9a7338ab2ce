"""The two top rows: the run, its progress and speed; whether training or view are paused, held or
over, test accuracy, and notices."""

from __future__ import annotations

from rich.cells import cell_len

from grpolab.analysis import health
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState
from grpolab.tui.health import model as health_model
from grpolab.tui.source import Playing
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.layout import PANES, TITLES
from grpolab.tui.widgets.text import Line, clip, clock, count, percent, visible

BAR = 8
"""The least width of the progress bar in cells; other parts are left out first."""

FOLDS = 4
"""Parts that are left out one after another on a narrow screen: the badge's words, the device, the
model, the speed."""


class Header(Canvas):
    watches = frozenset(
        {
            "run",
            "phase",
            "step",
            "eval",
            "switch",
            "paused",
            "continued",
            "failed",
            "end",
            "select",
            "clock",
            "sampled",
            "lane",
            "resumed",
            "model",
            "refused",
        }
    )
    period = 0.2

    @property
    def ground(self) -> str:
        return "bar"

    def lines(self, width: int, height: int) -> list[Line]:
        return [self._first(width), self._second(width)]

    def _first(self, width: int) -> Line:
        """Name, progress, speed and time."""
        p, s = self.context.palette, self.context.state
        lane = self.context.view.lane_state(s)
        step = lane.last.step if lane and lane.last else s.step
        middle = Line(f"step {step}/{s.steps} ", p.style("text", bold=True))
        fold = 0
        while True:
            line, right = self._left(width, fold), self._right(width, fold)
            cells = min(30, width - line.width - right.width - middle.width - 11)
            if cells >= BAR or fold == FOLDS:
                break
            fold += 1
        if cells >= 4 and s.steps:
            done = round(cells * min(1.0, step / s.steps))
            middle.add("━" * done, p.style("accent")).add("━" * (cells - done), p.style("line"))
            middle.add(f" {percent(step / s.steps)}", p.style("dim"))
        gap = max(2, (width - line.width - right.width - middle.width) // 2)
        line.add(" " * gap).join(middle)
        return line.to(width - right.width).join(right)

    def _left(self, width: int, fold: int) -> Line:
        """The run's name, task, model and device, as far as `fold` leaves them."""
        p, s = self.context.palette, self.context.state
        line = Line(" ◆ ", p.style("accent")).add("grpolab ", p.style("text", bold=True))
        name = visible(str(s.run.scenario.get("name", ""))) if s.run else self.context.run_dir.name
        wide = width >= 100
        line.add(f" {clip(name, 28 if wide else 15)} ", p.style("text"))
        if wide and s.run:
            task = s.run.scenario.get("task")
            parts = [
                str(task.get("name", "")) if isinstance(task, dict) else "",
                self._model() if fold < 3 else "",
                s.run.device if fold < 2 else "",
            ]
            line.add("· " + " · ".join(visible(x) for x in parts if x), p.style("dim"))
        return line

    def _model(self) -> str:
        m = self.context.state.model
        if m is None:
            return ""
        quantized = f" {m.quantize}" if m.quantize not in ("", "none") else ""
        return f"{clip(m.name.rstrip('/').rpartition('/')[2], 20)} {count(m.parameters)}{quantized}"

    def _right(self, width: int, fold: int) -> Line:
        p, s = self.context.palette, self.context.state
        lane = self.context.view.lane_state(s)
        right = self._health(width >= 110 and fold < 1)
        if lane and lane.last and width >= 90 and fold < FOLDS:
            speed = lane.last.metrics.get("tokens_per_second")
            right.add(f"{count(speed)} tok/s  ", p.style("dim"))
        source = self.context.source
        if isinstance(source, Playing):
            told = f"{clock(source.clock)}/{clock(source.length)}"
        else:
            told = clock(s.time if self.context.over else max(s.time, self.context.waited))
        return right.add(told + " ", p.style("text"))

    def _health(self, words: bool) -> Line:
        """The number of warnings and errors, with the sign of the worst; a click shows them."""
        found = health.wrong(health_model.known(self.context))
        if not found:
            return Line()
        p, level = self.context.palette, found[0].level
        errors = sum(v.level == "bad" for v in found)
        counts = {"error": errors, "warning": len(found) - errors}
        told = [f"{n} {noun}{'s' * (n > 1)}" for noun, n in counts.items() if n]
        count = ", ".join(told) if words else f"{len(found)}"
        told = f" {health.SIGNS[level]} {count} ({self.context.keymap.shown('health')}) "
        style = p.style("ground", health_model.COLOURS[level], bold=True)
        return Line().add(told, style, hit=("run", "health")).add("  ")

    def _second(self, width: int) -> Line:
        p, s, view = self.context.palette, self.context.state, self.context.view
        line = Line(" ")
        lane = view.lane_state(s)
        if lane:
            glyph, colour = self.context.lane_mark(lane.name)
            if len(s.lanes) > 1:
                told = (
                    f"{glyph} {clip(visible(lane.name), 12)} {self.context.keymap.shown('lane')} "
                )
                line.add(told, p.style(colour), hit=("run", "lane"))
            line.add(
                f" {lane.algorithm.upper()} ",
                p.style("ground", colour, bold=True),
                hit=("run", "algorithm"),
            )
            line.add("  ")
        for text, colour in self._chips():
            line.add(f" {text} ", p.style("ground", colour, bold=True)).add(" ")
        phase, right = Line() if self.context.over else self._phase(), Line()
        if lane and lane.evals:
            e = lane.evals[-1]
            right.add("test acc ", p.style("dim"))
            right.add(percent(e.accuracy), p.style("good", bold=True))
            if len(lane.evals) > 1:
                change = 100 * (e.accuracy - lane.evals[0].accuracy)
                right.add(f" {'▲' if change >= 0 else '▼'}{abs(change):.0f}", p.style("dim"))
            if width >= 100:
                how = f" sampled (T={_temperature(lane, s):g})"
                right.add(f"{how} · {percent(e.greedy_accuracy)} greedy", p.style("dim"))
            right.add(" ")
        notice, colour = self.context.notice
        if notice:  # it may take the room of the accuracy and the phase for some seconds
            lacks = line.width + phase.width + right.width + cell_len(notice) + 4 - width
            if lacks > 0:
                lacks, right = lacks - right.width, Line()
            phase = Line() if lacks > 0 else phase
        line.join(phase)
        if notice:
            room = max(0, width - line.width - right.width - (4 if right.width else 3))
            line.add("  " + clip(notice, room), p.style(colour))
        return line.to(width - right.width).join(right)

    def _chips(self) -> list[tuple[str, str]]:
        """The state of the training and of the view, as (words, color)."""
        d, s = self.context, self.context.state
        chips = []
        if d.starting:
            chips.append(("STARTING A NEW ENGINE…", "warn"))
        elif s.failed:
            chips.append(("✗ FAILED", "bad"))
        elif s.ended and d.mode != "replay":
            words = {"done": ("✓ RUN DONE", "good"), "interrupted": ("■ STOPPED", "warn")}
            chips.append(words.get(s.ended.status, (f"■ {s.ended.status.upper()}", "bad")))
        elif d.exit_code is not None:
            chips.append(("✗ ENGINE ENDED", "bad"))
        elif d.leaving is not None:
            chips.append(("FINISHING THE STEP…", "warn"))
        elif s.paused and d.mode != "replay":
            paused = s.phase is None or s.phase.phase in ("waiting", "stopping")
            chips.append(("‖ TRAINING PAUSED" if paused else "ONE STEP, THEN PAUSED", "warn"))
        elif d.pausing:
            chips.append(("PAUSING AFTER THIS STEP…", "warn"))
        source = d.source
        if isinstance(source, Playing):
            sign = (
                "▶" if source.playing and not source.over else "‖" if not source.over else "■ END"
            )
            chips.append((f"REPLAY {sign} ×{source.speed:g}", "accent"))
        elif d.mode == "watch":
            chips.append(("WATCHING", "accent"))
        if d.view.held is not None:
            if d.rolling is None:
                chips.append((f"VIEW HELD at step {d.view.held.step}", "heat"))
            else:
                chips.append((f"▶ VIEW at step {d.view.held.step}, {d.rolling:g}/s", "heat"))
        if (mark := d.bookmarks.at(d.view.step(s), d.view.lane)) is not None:
            chips.append((f"★ {clip(visible(mark.note), 24)}".rstrip(), "warn"))
        return chips

    def _phase(self) -> Line:
        p, s = self.context.palette, self.context.state
        if s.phase is None:
            return Line("starting", p.style("dim"))
        moving = not s.paused and s.phase.phase != "waiting"
        if isinstance(self.context.source, Playing):
            moving = moving and self.context.source.playing
        sign = self.context.spin if moving else "·"
        line = Line(f"{sign} ", p.style("accent")).add(visible(s.phase.phase), p.style("text"))
        lane = self.context.view.lane_state(s)
        newest = lane.rollout if lane else None
        if s.phase.phase == "sampling" and newest is not None:
            line.add(f" {newest.position}/{newest.max_tokens}", p.style("dim"))
        elif s.phase.detail:
            line.add(f" {clip(visible(s.phase.detail), 40)}", p.style("dim"))
        return line


def _temperature(lane: LaneState, state: LabState) -> float:
    """At which test answers are sampled: the rollout's, as it is now."""
    section = state.run.scenario.get("rollout") if state.run else None
    start = section.get("temperature", 1.0) if isinstance(section, dict) else 1.0
    changes = [c.after for c in lane.changes if c.key == "rollout.temperature"]
    return changes[-1] if changes else start


class Tabs(Canvas):
    """The panes by name, where not all are visible."""

    watches = frozenset({"select"})

    def lines(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        line = Line(" ")
        for i, name in enumerate(PANES, 1):
            here = name == self.context.current
            style = p.style("ground", "accent", bold=True) if here else p.style("dim")
            title = TITLES[name] if width >= 70 else TITLES[name][:5]
            line.add(f" {i} {title} ", style, hit=("pane", name)).add(" ")
        if self.context.zoom:
            told = f"{self.context.keymap.shown('zoom')} restore layout "
            if width - line.width > len(told):
                line.to(width - len(told)).add(told, p.style("faint"), hit=("run", "zoom"))
        return [line]
