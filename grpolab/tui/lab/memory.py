"""Memory by owner: at the peak, in each phase, over the steps, and as it was predicted. On a CPU it
is one line until it is gone to."""

from __future__ import annotations

from grpolab.record.events import MEMORY_PHASES, OWNERS, StepDone, at_the_peak
from grpolab.record.history import Steps
from grpolab.record.lane_state import LaneState
from grpolab.tui.memory.model import NAMES, PEAK, RECENT, Rows, bar, draw, ink, letter, stack
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.palette import level_mark
from grpolab.tui.widgets.text import Line, flow, size

Phases = dict[str, dict[str, int]]

FOREIGN = ("outside", "other", "fragmentation")
"""Owners that are not the model's, or the step's: left out where memory is one line."""


class Memory(Pane):
    index = 5
    title = "Memory"
    watches = frozenset({"step", "critic", "lane", "resumed", "select", "run"})
    period = 0.5
    calm = 1.95
    slow = True
    explains = (
        "One line while the model is on a CPU, without what is not the model's; the pane's key "
        "opens it.\n"
        "Bytes by owner at the newest step's peak, their share, what was predicted before the "
        "model was loaded, and each owner's history on its own scale. Backbone: the frozen model. "
        "Weight copy: the weights in the layout that sampling needs. Adapters: the trained "
        "weights. Critic: PPO's second adapter and value head, there only under PPO. "
        "Reference: a frozen copy of the adapters. Optimizer: AdamW's two moments. Gradients, "
        "KV cache and activations: needed during a step. Loss tiles: tensors as wide as the "
        "vocabulary. Workspace: temporary memory of single operations. Fragmentation: reserved "
        "by the allocator, but unused. Non-model: Python, libraries, the CUDA context. Other: "
        "memory of no known owner.\n"
        "Below, each phase of a step at its own peak, stacked by owner. Above, where there is "
        "room: the total over the steps, stacked from the bottom in the order of the list."
    )

    def info(self) -> tuple[str, str]:
        done = self.context.view.done(self.context.state)
        told = f"predicted {size(_total(self._predicted()))}" if self._predicted() else ""
        if done is None:
            return "", told
        peak = f"peak {size(done.peak_memory)}"
        return size(sum(done.memory.values())), f"{peak}, {told}" if told else peak

    def lines(self, width: int, height: int) -> list[Line]:
        return super().lines(width, height) if height >= 3 else [self._one_line(width)]

    def _one_line(self, width: int) -> Line:
        """What the model and its training hold, the largest owners first."""
        p, done = self.context.palette, self.context.view.done(self.context.state)
        line = Line("  ").add(f"{self.index} ", p.style("faint"))
        line.add("Memory ", p.style("text", bold=True))
        held = done.memory if done else at_the_peak(self._predicted()) if self._predicted() else {}
        owned = {o: n for o, n in held.items() if n and o not in FOREIGN}
        if not owned:
            return line.add("measured in every step", p.style("faint"))
        told = size(sum(owned.values()))
        line.add(told if done else f"predicted {told}", p.style("text"))
        for owner in sorted(owned, key=lambda o: -owned[o]):
            entry = Line("  ").join(self._entry(owned, owner))
            if line.width + entry.width > width:
                break
            line.join(entry)
        return line

    def content(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        lane = self.context.view.lane_state(self.context.state)
        done = self.context.view.done(self.context.state)
        if lane is None or done is None:
            return self._before(width)
        owners, phases = self._owners(lane.steps), self._phases(lane.steps, done)
        stack = self._bar(done.memory, sum(done.memory.values()), width, named=True)
        if height < len(owners) + 2:
            entries = self._entries(done.memory, owners, width)
            while len(entries) >= height and len(owners) > 1:  # leave out the smallest
                owners.remove(min(owners, key=lambda o: done.memory.get(o, 0)))
                entries = self._entries(done.memory, owners, width)
            where = self._phase_line(phases, width)
            return [stack, *entries, *(where if len(entries) + len(where) < height else [])]
        rows = [self._row(lane.steps, done, o, width) for o in owners]
        if self._predicted():
            head = Line("", None).to(31).add("predicted", p.style("faint"))
            rows = [head, *rows]
        if phases and height >= len(rows) + len(phases) + 3:
            rows += [Line(), *(self._phase_row(phases, name, width) for name in phases)]
        elif phases and height >= len(rows) + 2:
            rows += self._phase_line(phases, width)[:1]
        room = height - len(rows) - 3
        past = self._past(lane, width, room) if room >= 3 else []
        return [*past, stack, *([Line()] if len(rows) + 2 <= height else []), *rows]

    def _predicted(self) -> Phases:
        return self.context.state.predicted_memory

    def _before(self, width: int) -> list[Line]:
        """No step is done yet: the prediction, where there is one."""
        p = self.context.palette
        waiting = Line("  measured in every step", p.style("faint"))
        if not self._predicted():
            return [Line(), waiting]
        held = at_the_peak(self._predicted())
        entries = self._entries(held, [o for o in OWNERS if held[o]], width)
        bar = self._bar(held, sum(held.values()), width, named=True)
        return [bar, *entries, Line(), waiting]

    def _owners(self, steps: Steps) -> list[str]:
        """Owners of any bytes, now or lately; the critic's row is always there."""
        held = {o for o, c in steps.memory.items() if any(c.part(max(0, len(c) - 200)))}
        held |= {o for o, column in steps.memory.items() if column.at(0)}
        return [o for o in OWNERS if o in held or o == "critic"] + sorted(held - set(OWNERS))

    def _phases(self, steps: Steps, done: StepDone) -> Phases:
        """Each phase's owners at its peak, as last measured at this step; empty in old runs."""
        seen = dict(done.memory_phases)
        row = steps.row(done.step)
        for at in range(row - 1, max(-1, row - RECENT), -1):
            if "evaluate" in seen:  # the others come with every step
                break
            seen = steps[at].memory_phases | seen
        return {name: seen[name] for name in MEMORY_PHASES if name in seen and name != "load"}

    def _colour(self, owner: str) -> str:
        return self.context.palette.owners.get(owner, "dim")

    def _bar(self, held: dict[str, int], top: int, width: int, *, named: bool = False) -> Line:
        """Owners side by side on a scale on which `top` bytes fill the width."""
        return bar(self.context.palette, held, top, width, named=named)

    def _entries(self, held: dict[str, int], owners: list[str], width: int) -> list[Line]:
        return flow([self._entry(held, o) for o in owners], width, "  ")

    def _entry(self, held: dict[str, int], owner: str) -> Line:
        p = self.context.palette
        n = held.get(owner, 0)
        line = Line(letter(owner), ink(p, owner, strong=True)).add(" ")
        line.add(f"{NAMES.get(owner, owner)} ", p.style("dim"))
        return line.add(_short(n) if n else "none", p.style("text" if n else "faint"))

    def _phase_line(self, phases: Phases, width: int) -> list[Line]:
        return flow([self._phase_entry(phases, name) for name in phases], width, "  ")

    def _phase_entry(self, phases: Phases, name: str) -> Line:
        p = self.context.palette
        line = Line(f"{name} ", p.style("dim"))
        highest = name == _highest(phases)
        return line.add(_short(sum(phases[name].values())) + "▲" * highest, p.style("text"))

    def _row(self, steps: Steps, done: StepDone, owner: str, width: int) -> Line:
        p = self.context.palette
        n, total = done.memory.get(owner, 0), sum(done.memory.values()) or 1
        line = Line(letter(owner), ink(p, owner, strong=True)).add(" ")
        line.cell(NAMES.get(owner, owner), 14, p.style("text" if n else "faint"))
        line.cell(size(n) if n else "none", 9, p.style("text" if n else "faint"), right=True)
        line.cell(f"{100 * n / total:.0f}%" if n else "", 5, p.style("dim"), right=True)
        if self._predicted():
            told = at_the_peak(self._predicted()).get(owner, 0)
            line.cell(size(told) if told else "—", 10, p.style("dim"), right=True)
        line.add("  ")
        return line.join(self._history(steps, owner, width - line.width))

    def _phase_row(self, phases: Phases, name: str, width: int) -> Line:
        """A phase's peak, stacked by owner on the scale of the highest."""
        p = self.context.palette
        highest = name == _highest(phases)
        line = Line("▲ " if highest else "  ", p.style("accent"))
        line.cell(name, 14, p.style("text"))
        line.cell(size(sum(phases[name].values())), 9, p.style("text"), right=True).add(" " * 5)
        if self._predicted():
            same = "update" if name in ("forward", "backward") else name
            told = sum(self._predicted().get(same, {}).values())
            line.cell(size(told) if told else "—", 10, p.style("dim"), right=True)
        line.add("  ")
        return line.join(self._bar(phases[name], _total(phases), width - line.width))

    def _history(self, steps: Steps, owner: str, width: int) -> Line:
        """An owner's bytes over the steps on its own scale, so that a small critic is visible."""
        column = steps.memory.get(owner)
        if column is None or width < 4:
            return Line()
        shown = [column.at(i * len(steps) // width) or 0 for i in range(width)]
        most = max(shown)
        if not most:
            return Line()
        marks = "".join(level_mark(n / most) if n else "·" for n in shown)
        return Line(marks, self.context.palette.style(self._colour(owner)))

    def _past(self, lane: LaneState, width: int, height: int) -> list[Line]:
        """Columns over the steps, stacked by owner, one letter per owner."""
        p, rows = self.context.palette, Rows(lane)
        if not len(rows):
            return []
        made = stack(rows, PEAK, width)
        key = self.context.keymap.shown("memory_screen")
        label = f"step {rows.number(0)} to {made.steps[-1]}, top {size(made.top)}; "
        last = Line(label, p.style("faint")).add(
            f"{key} more", p.style("dim"), hit=("run", "memory_screen")
        )
        return [*draw(p, made, height, axis=False), last]


def _highest(phases: Phases) -> str:
    """The phase with the highest peak."""
    return max(phases, key=lambda name: sum(phases[name].values()), default="")


def _total(phases: Phases) -> int:
    """The peak over all phases, in bytes."""
    return max((sum(owners.values()) for owners in phases.values()), default=0)


def _short(n: int) -> str:
    return size(n).replace(" ", "").removesuffix("B")
