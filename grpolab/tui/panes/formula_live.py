"""What stands under a formula in force: the group that its numbers come from, and the step's
metrics with their meaning.
"""

from __future__ import annotations

import math

from grpolab.hints import METRICS
from grpolab.tui.desk import Desk
from grpolab.tui.numbers import fixed, number, signed
from grpolab.tui.text import Line, flow, visible, wrap

MOST = 64
"""Answers of a group that are listed."""


def group(desk: Desk, width: int) -> list[Line]:
    """The group of the selected token: each answer's reward r and advantage Â."""
    p, view = desk.palette, desk.view
    r = view.scored(desk.state)
    if r is None or r.graded is None or not r.group_size:
        return []
    advantages, here = r.channel("advantage"), view.row(r)
    rows = list(r.rows(here // r.group_size))
    rewards = [r.graded.reward[i] for i in rows]
    mean = math.fsum(rewards) / len(rewards)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in rewards) / len(rewards))
    parts = []
    for i in rows[:MOST]:
        line = Line("▸" if i == here else " ", p.style("accent"))
        line.add("● " if r.graded.correct[i] else "○ ", p.style("good" if i == here else "dim"))
        line.add(f"r {fixed(r.graded.reward[i])} ", p.style("text", bold=i == here))
        found = advantages[i] if advantages is not None and i < len(advantages) else []
        if found:
            value = math.fsum(found) / len(found)
            mark, hue = (
                ("▲", "plus") if value > 0 else ("▼", "minus") if value < 0 else ("·", "dim")
            )
            line.add(f"Â {mark}{signed(value)}", p.style(hue))
        parts.append(line)
    told = f"its group: mean of r {number(mean)}, std {number(spread)}"
    told += "; all rewards are equal: no signal" if spread == 0 else ""
    told += f"; the first {MOST} of {len(rows)}" if len(rows) > MOST else ""
    return [*(Line(x, p.style("dim")) for x in wrap(told, width)), *flow(parts, width, "  ")]


def metrics(desk: Desk, width: int) -> list[Line]:
    """Every number of the step, and what it means."""
    p, done = desk.palette, desk.view.done(desk.state)
    out = []
    for key, value in done.metrics.items() if done is not None else ():
        line = (
            Line()
            .cell(
                visible(key.replace("_", " ")),
                19,
                p.style("dim"),
            )
            .add(" ")
        )
        line.cell(number(value), 9, p.style("text"), right=True).add("  ")
        at = line.width
        hint = METRICS.get(key, "a number that this version does not know")
        rows = wrap(hint, max(12, width - at))
        line.hits.append((0, width, ("metric", key)))
        out.append(line.add(rows[0], p.style("faint")))
        out += [Line().to(at).add(row, p.style("faint")) for row in rows[1:]]
    return out
