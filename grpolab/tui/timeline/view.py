"""The boxes of the timeline screen: the run as a line with marks, the list of entries, and what can
be done from the selected one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.tui.lab.rollouts import window
from grpolab.tui.timeline.model import KINDS, Moment, can_resume
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.text import Line, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.timeline.screen import TimeScreen

NONE_YET = (
    "No entries yet. Bookmarks, checkpoints, switches of the algorithm and changed settings appear "
    "here."
)


class Entries(Box["TimeScreen"]):
    title = "Timeline"

    def info(self) -> tuple[str, str]:
        found = self.overlay.found
        return f"{len(found)} · view at step {self.overlay.view_step}", ""

    def content(self, width: int, height: int) -> list[Line]:
        overlay: TimeScreen = self.overlay
        p, found, at = self.context.palette, overlay.found, overlay.at
        out = [*self._strip(width), Line()]
        digits = max(4, len(str(found[-1].step)))
        for i in window(len(found), at, max(1, height - len(out))):
            m = found[i]
            glyph, colour = KINDS[m.kind]
            line = Line("▸ " if i == at else "  ", p.style("accent"))
            line.cell(str(m.step), digits, p.style("text", bold=i == at), right=True).add("  ")
            line.cell(glyph, 3, p.style(colour))
            line.cell(m.kind, 12, p.style("dim"))
            line.cell(visible(m.text), max(0, width - line.width), p.style("text"))
            line.to(width).whole(("moment", i), width)
            out.append(line.on(p.style("", "raised")) if i == at else line)
        return out

    def _strip(self, width: int) -> list[Line]:
        """The run from left to right with its marks and the step in view."""
        p, s = self.context.palette, self.overlay
        total = max(1, s.length)
        room = max(1, width - 1)

        def column(step: int) -> int:
            return min(room - 1, round((room - 1) * step / total))

        marks: dict[int, tuple[str, str]] = {}
        order = list(KINDS)
        for m in sorted(s.found, key=lambda m: -order.index(m.kind)):  # bookmarks are drawn last
            if m.kind not in ("start", "now"):
                marks[column(m.step)] = KINDS[m.kind]
        above = Line()
        for x in range(room):
            glyph, colour = marks.get(x, (" ", "dim"))
            hit = ("step", round(total * x / max(1, room - 1)))
            above.add(glyph, p.style(colour), hit=hit)
        done, here = column(s.done), column(s.view_step)
        below = Line()
        for x in range(room):
            sign = "▲" if x == here else "━" if x <= done else "┄"
            colour = "accent" if x == here else "text" if x <= done else "faint"
            hit = ("step", round(total * x / max(1, room - 1)))
            below.add(sign, p.style(colour, bold=x == here), hit=hit)
        return [above, below]


class Choices(Box["TimeScreen"]):
    title = "From here"

    def content(self, width: int, height: int) -> list[Line]:
        p, s, key = self.context.palette, self.overlay, self.context.keymap.shown
        m = s.chosen
        out = [Line(row, p.style("text")) for row in wrap(visible(m.text), width)]
        for keys, text in self._ways(m):
            for i, row in enumerate(wrap(text, max(8, width - 5))):
                head = Line().cell(key(keys) if i == 0 and keys else "", 5, p.style("accent"))
                out.append(head.add(row, p.style("dim")))
        if len(s.found) <= 2:
            out += [Line(), *(Line(row, p.style("faint")) for row in wrap(NONE_YET, width))]
        return out

    def _ways(self, m: Moment) -> list[tuple[str, str]]:
        out = [("time_go", f"show step {m.step}" if m.step else "show the first step")]
        if m.kind == "bookmark":
            out.append(("bookmark", "edit its note"))
            out.append(("time_delete", "remove the bookmark"))
        else:
            out.append(("bookmark", f"bookmark step {m.step}, with a note"))
        if self.context.mode != "live":
            return [*out, ("", self._elsewhere(m))]
        if not (self.context.commands or self.context.restartable):
            ended = (
                "the engine has ended" if not self.context.starting else "the engine is restarting"
            )
            return [*out, ("", f"{ended}: no rewind, no fork")]
        if not self.context.commands and m.kind == "now":
            return [*out, ("", "the engine has ended: select a checkpoint ◇ or the start")]
        if m.kept:
            place = f"step {m.step}" if m.step else "the start"
            out.append(("rewind", f"rewind the training to {place}"))
            out.append(("fork", f"rewind to {place} and fork the lane there"))
        elif m.kind == "now":
            out.append(("fork", "fork the lane here: a copy continues under another algorithm"))
        else:
            out.append(("", "to rewind or fork, select a checkpoint ◇, the start, or ▶ now"))
        return out

    def _elsewhere(self, m: Moment) -> str:
        """Without an engine: how to resume training from here."""
        run = self.context.run_dir
        if self.context.mode == "watch" and self.context.state.ended is None:
            return "no rewind and no fork while watching: another process runs the training"
        if not can_resume(run):
            return "no rewind and no fork: this recording has no checkpoints"
        command = f"grpolab run --resume {run} --from {m.step}"
        if m.kept:
            return f"no engine is running; to resume from this step: {command}"
        return "no engine is running; select a checkpoint ◇ to see how to resume from it"
