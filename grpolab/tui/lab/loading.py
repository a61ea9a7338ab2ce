"""Shown in the panes' place until the first rollout begins: the stages of the start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.text import Line, clip, count, visible

if TYPE_CHECKING:
    from grpolab.tui.lab.screen import LabScreen

LOGO = (
    "┏━╸┏━┓┏━┓┏━┓╻  ┏━┓┏┓ ",
    "┃╺┓┣┳┛┣━┛┃ ┃┃  ┣━┫┣┻┓",
    "┗━┛╹┗╸╹  ┗━┛┗━╸╹ ╹┗━┛",
)

COMPILING = 20.0
"""Seconds that compiling takes at the first start, about."""

BAR = 24  # cells


class Loading(Canvas):
    watches = frozenset({"run", "phase", "model", "lane", "eval", "clock"})
    period = 0.1

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._phase: object = None  # the one under way
        self._since = 0.0  # time.monotonic() when it was first seen

    def lines(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        head = [Line(row, p.style("accent", bold=True)) for row in LOGO]
        head.append(Line())
        body = [
            Line("RL algorithms on a language model, compared step by step", p.style("dim")),
            Line(),
        ]
        body += self._stages()
        body += [Line(), *self._hints()]
        height -= cast("LabScreen", self.screen).reserved  # below it, the tour's card
        if len(head) + len(body) <= height:
            body = head + body
        wide = max(line.width for line in body)
        left = max(1, (width - wide) // 2)
        top = max(0, (height - len(body)) // 2)
        rows = [Line() for _ in range(top)]
        return rows + [Line(" " * left).join(line) for line in body]

    def _stages(self) -> list[Line]:
        """The stages of the start: done, running with its seconds, still to come."""
        s = self.context.state
        lane = next(iter(s.lanes.values()), None)
        replay = self.context.mode == "replay"
        model = ""
        if s.model:
            m = s.model
            model = f"{clip(visible(m.name), 30)}, {count(m.parameters)} parameters, {m.dtype}"
        stages = [
            ("reading the run" if replay else "engine process", s.run is not None, ""),
            ("model", s.model is not None, model),
            ("lane", lane is not None, lane.algorithm.upper() if lane else ""),
            ("first evaluation", bool(lane and lane.evals), ""),
            ("first rollout", bool(lane and lane.rollouts), ""),
        ]
        p, out, under_way = self.context.palette, [], True
        for name, through, told in stages:
            if through:
                line = (
                    Line("  ✓ ", p.style("good"))
                    .cell(name, 20, p.style("text"))
                    .add(told, p.style("dim"))
                )
            elif under_way and (bar := self._compiling()) is not None:
                under_way = False
                out.append(
                    Line(f"  {self.context.spin} ", p.style("accent")).cell(
                        name, 20, p.style("text", bold=True)
                    ).add("compiling kernels, first run only", p.style("dim"))
                )  # fmt: skip
                line = bar
            elif under_way:
                under_way = False
                sign = self.context.spin
                line = Line(f"  {sign} ", p.style("accent")).cell(
                    name, 20, p.style("text", bold=True)
                )
                detail = s.phase.detail if s.phase else ""
                line.add(clip(visible(detail), 40) + " " if detail else "", p.style("dim"))
                line.add(f"{self.context.waited:.1f} s", p.style("dim"))
            else:
                line = Line("  ○ ", p.style("faint")).cell(name, 20, p.style("faint"))
            out.append(line)
        return out

    def _compiling(self) -> Line | None:
        """A bar with seconds while kernels are compiled; none where they are only loaded."""
        phase, now = self.context.state.phase, time.monotonic()
        if phase is not self._phase:
            self._phase, self._since = phase, now
        if phase is None or not phase.detail.startswith("compiling") or now - self._since < 1:
            return None
        p, since = self.context.palette, now - self._since
        done = min(BAR - 1, round(BAR * since / COMPILING))
        line = Line("    ").add("━" * done, p.style("accent"))
        line.add("╌" * (BAR - done), p.style("faint"))
        return line.add(f" {since:.0f} s of about {COMPILING:.0f} s", p.style("text"))

    def _hints(self) -> list[Line]:
        p, keymap = self.context.palette, self.context.keymap
        line = Line("  ")
        for name, word in (
            ("algorithm", "switch the algorithm"),
            ("pause", "pause"),
            ("explain", "help"),
        ):
            line.add(keymap.shown(name), p.style("accent", bold=True)).add(
                f" {word}   ", p.style("faint")
            )
        return [line]
