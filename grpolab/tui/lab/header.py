"""The two top rows: the run, its progress and speed; whether training or view are paused, held or
over, test accuracy, and notices."""

from __future__ import annotations

from rich.cells import cell_len

from grpolab.analysis import health, standing
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState
from grpolab.tui.context import AppContext
from grpolab.tui.health import model as health_model
from grpolab.tui.source import Playing
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.layout import PANES, TITLES
from grpolab.tui.widgets.text import Line, clip, clock, count, percent, visible

BAR = 8
"""The least width of the progress bar in cells; other parts are left out first."""

FOLDS = 4
"""Parts that are left out one after another on a narrow screen: the device, the model, the speed,
the badge's words."""

SIGNS = health.SIGNS | {"warn": "⚠"}


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
            "extended",
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
                self._model() if fold < 2 else "",
                s.run.device if fold < 1 else "",
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
        right = self._health(width >= 100 and fold < FOLDS)
        if lane and lane.last and width >= 90 and fold < 3:
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
        told = f" {SIGNS[level]} {count} ({self.context.keymap.shown('health')}) "
        style = p.style("ground", health_model.COLOURS[level], bold=True)
        return Line().add(told, style, hit=("run", "health")).add("  ")

    def _second(self, width: int) -> Line:
        p, s, view = self.context.palette, self.context.state, self.context.view
        line = Line(" ")
        lane = view.lane_state(s)
        if lane and len(s.lanes) < 2:
            style = p.style("ground", self.context.lane_mark(lane.name)[1], bold=True)
            line.add(f" {lane.algorithm.upper()} ", style, hit=("run", "algorithm"))
            line.add("  ")
        chips = Line()
        for text, colour in self._chips():
            chips.add(f" {text} ", p.style("ground", colour, bold=True)).add(" ")
        phase, right = Line() if self.context.over else self._phase(), Line()
        if len(s.lanes) > 1:
            line.join(lanes_named(self.context, width - chips.width - min(phase.width, 16) - 2))
        line.join(chips)
        if lane and lane.evals and len(s.lanes) < 2:
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
        elif s.waits_at_end and d.mode != "replay":
            chips.append(("‖ PAUSED AT THE END", "good"))
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
        if s.waits_at_end and self.context.mode == "live":
            return self._further()
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

    def _further(self) -> Line:
        """What `p` does at the run's end; a click does it."""
        p, s = self.context.palette, self.context.state
        key, more = self.context.keymap.shown("pause"), f"{s.more:,}"
        line = Line().add(key, p.style("accent", bold=True), hit=("run", "pause"))
        return line.add(f" trains {more} more", p.style("text"), hit=("run", "pause"))


def lanes_named(context: AppContext, width: int) -> Line:
    """Every lane with its mark, and as far as there is room its algorithm and test accuracy: first
    the lanes that are not in view lose theirs, then names are shortened. Seeds of one configuration
    are named once. What does not fit even so is counted."""
    found = standing.entrants(list(context.state.lanes.values()))
    line = Line()
    for fold in range(6):
        line = Line(" ")
        for entrant in found:
            line.join(_lane_named(context, entrant, fold)).add(" ")
        if line.width <= width:
            return line
    line, left = Line(" "), len(found)
    for entrant in found:
        part = _lane_named(context, entrant, 5)
        if line.width + part.width + 5 > width:
            break
        line.join(part).add(" ")
        left -= 1
    return line.add(f"+{left} ", context.palette.style("dim"), hit=("run", "lane"))


def _lane_named(context: AppContext, entrant: standing.Entrant, fold: int) -> Line:
    """One lane; the higher `fold`, the less is said of it."""
    p, lanes = context.palette, list(entrant.lanes.values())
    shown = context.view.lane_state(context.state)
    here = any(lane is shown for lane in lanes)
    lane = shown if here and shown is not None else lanes[0]
    glyph, colour = context.lane_mark(lane.name)
    name, algorithm = visible(entrant.name), lane.algorithm.upper()
    if name.lower() == lane.algorithm:
        name = algorithm
    elif algorithm.lower() not in name.lower() and (fold < 1 or (here and fold < 3)):
        name += f" {algorithm}"
    else:
        name = clip(name, 24)
    name = clip(name, (40, 40, 24, 9, 5, 3)[fold])
    line = Line()
    if here:
        line.add(f" {glyph} {name} ", p.style("ground", colour, bold=True), ("lane", lane.name))
    else:
        line.add(f"{glyph} {name}", p.style(colour), ("lane", lane.name))
    evals = [x.evals[-1].accuracy for x in lanes if x.evals]
    if evals and (fold < 2 or (here and fold < 4)):
        line.add(f" {percent(sum(evals) / len(evals))}", p.style("text"), ("lane", lane.name))
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
