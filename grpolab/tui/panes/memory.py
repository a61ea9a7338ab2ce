"""Who holds memory, now and over the steps."""

from __future__ import annotations

from itertools import groupby

from grpolab.events import OWNERS, StepDone
from grpolab.tui.numbers import size
from grpolab.tui.palette import level_mark
from grpolab.tui.panes.base import Pane
from grpolab.tui.text import Line, flow

NAMES = {"kv_cache": "KV cache"}


class Memory(Pane):
    index = 5
    title = "Memory"
    watches = frozenset({"step", "critic", "lane", "resumed", "select"})
    period = 0.5
    explains = (
        "Bytes by owner after the newest step, their share, and each owner's history on its own "
        "scale. Backbone: the frozen model. Adapters: what the policy learns. Critic: PPO's "
        "second adapter and value head; it comes with PPO and goes with it. Optimizer: AdamW's "
        "two moments. Gradients, KV cache and activations: what a step needs while it runs. "
        "Other: the libraries and everything that no owner answers for.\n"
        "Above, where there is room: all of it over the steps, stacked from the bottom in the "
        "order of the list."
    )

    def info(self) -> tuple[str, str]:
        done = self.desk.view.done(self.desk.state)
        if done is None:
            return "", ""
        return size(sum(done.memory.values())), f"peak {size(done.peak_memory)}"

    def content(self, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        lane = self.desk.view.lane_state(self.desk.state)
        done = self.desk.view.done(self.desk.state)
        if lane is None or done is None:
            return [Line(), Line("  measured with each step", p.style("faint"))]
        owners = self._owners(lane.steps)
        stack = self._stack(done, owners, width)
        if height < len(owners) + 2:
            return [stack, *flow([self._entry(done, o) for o in owners], width, "  ")]
        rows = [self._row(lane.steps, done, o, width) for o in owners]
        room = height - len(rows) - 3
        past = self._past(lane.steps, owners, width, room) if room >= 3 else []
        return [*past, stack, Line(), *rows] if past else [stack, Line(), *rows]

    def _owners(self, steps: list[StepDone]) -> list[str]:
        """Those that hold anything, or did: the critic's place stays when it is gone."""
        held = {o for s in (*steps[:1], *steps[-200:]) for o, n in s.memory.items() if n}
        return [o for o in OWNERS if o in held or o == "critic"] + sorted(held - set(OWNERS))

    def _colour(self, owner: str) -> str:
        return self.desk.palette.owners.get(owner, "dim")

    def _stack(self, done: StepDone, owners: list[str], width: int) -> Line:
        p = self.desk.palette
        total = sum(done.memory.values()) or 1
        line, at = Line(), 0.0
        for owner in owners:
            at += done.memory.get(owner, 0) / total * width
            cells = round(at) - line.width
            name = NAMES.get(owner, owner)
            label = (
                name.center(cells)
                if cells > len(name) + 1
                else "·".join([""] * (cells + 1)).replace("·", " ")
            )
            line.add(label[:cells], p.style("#10141a", self._colour(owner)))
        return line

    def _entry(self, done: StepDone, owner: str) -> Line:
        p = self.desk.palette
        n = done.memory.get(owner, 0)
        line = Line("■ " if n else "□ ", p.style(self._colour(owner)))
        line.add(f"{NAMES.get(owner, owner)} ", p.style("dim"))
        return line.add(
            size(n).replace(" ", "").removesuffix("B") if n else "none",
            p.style("text" if n else "faint"),
        )

    def _row(self, steps: list[StepDone], done: StepDone, owner: str, width: int) -> Line:
        p = self.desk.palette
        n, total = done.memory.get(owner, 0), sum(done.memory.values()) or 1
        line = Line("■ " if n else "□ ", p.style(self._colour(owner)))
        line.cell(NAMES.get(owner, owner), 12, p.style("text" if n else "faint"))
        line.cell(size(n) if n else "none", 9, p.style("text" if n else "faint"), right=True)
        line.cell(f"{100 * n / total:.0f}%" if n else "", 5, p.style("dim"), right=True).add("  ")
        return line.join(self._history(steps, owner, width - line.width))

    def _history(self, steps: list[StepDone], owner: str, width: int) -> Line:
        """An owner's bytes on its own scale: a critic may be small, but it comes and goes."""
        values = [s.memory.get(owner, 0) for s in steps]
        most = max(values, default=0)
        if width < 4 or not most:
            return Line()
        shown = [values[i * len(values) // width] for i in range(width)]
        marks = "".join(level_mark(n / most) if n else "·" for n in shown)
        return Line(marks, self.desk.palette.style(self._colour(owner)))

    def _past(
        self, steps: list[StepDone], owners: list[str], width: int, height: int
    ) -> list[Line]:
        """Stacked columns over the steps; a cell holds two levels, one in each half."""
        p = self.desk.palette
        steps = [s for s in steps if s.memory]
        if not steps:
            return []
        columns = [steps[i * len(steps) // width] for i in range(width)]
        top = max(sum(s.memory.values()) for s in columns) or 1
        stacks = []
        for s in columns:
            edges, at = [], 0.0
            for o in owners:
                at += s.memory.get(o, 0) / top * height * 2
                edges.append((at, self._colour(o)))
            stacks.append(edges)

        def colour(edges: list[tuple[float, str]], y: int) -> str:
            return next((c for edge, c in edges if y + 0.5 < edge), "")

        out = []
        for row in range(height):
            low = 2 * (height - 1 - row)
            line = Line()
            cells = [(colour(edges, low), colour(edges, low + 1)) for edges in stacks]
            for (below, above), run in groupby(cells):
                wide = sum(1 for _ in run)
                if above:
                    line.add("▀" * wide, p.style(above, below))
                else:
                    line.add(("▄" if below else " ") * wide, p.style(below or "text"))
            out.append(line)
        first, last = columns[0].step, columns[-1].step
        label = f"step {first} to {last}, top {size(top)}"
        return [*out, Line(label, p.style("faint"))]
