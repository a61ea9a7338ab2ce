"""The algorithm: formula, live numbers, critic, what the last switch did, settings."""

from __future__ import annotations

import math

from grpolab.events import METRICS
from grpolab.state import LaneState
from grpolab.tui.cards import Card, cards
from grpolab.tui.numbers import MISSING, number, percent
from grpolab.tui.panes.base import Pane
from grpolab.tui.text import Line, clip, flow, visible, wrap

NUMBERS = (
    ("loss", "loss"),
    ("policy_loss", "policy"),
    ("kl_loss", "β·KL"),
    ("value_loss", "value"),
    ("grad_norm", "‖grad‖"),
    ("clip_fraction", "clipped"),
    ("ratio_min", "ratio min"),
    ("ratio_max", "ratio max"),
    ("entropy", "entropy"),
    ("explained_variance", "expl. var"),
    ("zero_std_groups", "no signal"),
    ("advantage_std", "adv. std"),
    ("kl_ref", "KL to ref"),
    ("kl_old", "own move"),
    ("length", "length"),
    ("truncated", "cut"),
    ("format", "format"),
    ("accuracy", "accuracy"),
    ("learning_rate", "lr"),
)
SHARES = {"clip_fraction", "zero_std_groups", "truncated", "format", "accuracy"}


class Algorithm(Pane):
    index = 6
    title = "Algorithm"
    watches = frozenset({"step", "switch", "set", "critic", "lane", "resumed", "select", "cards"})
    period = 0.25
    explains = (
        "The algorithm in force: its formula, its numbers in the newest step, its critic, and "
        "its settings (✎ differs from the paper's default). Zoomed, each number has its meaning "
        "beside it.\n"
        "A loss of 0 is normal at ratio 1: centred advantages cancel in the value of the loss, "
        "not in its gradient. Look at ‖grad‖ and at the curves.\n"
        "no signal: share of the groups whose rewards are all equal.\n"
        "critic cold: just created, its forecasts mean little until its explained variance "
        "rises above 0."
    )

    def info(self) -> tuple[str, str]:
        lane = self.desk.view.lane_state(self.desk.state)
        done = self.desk.view.done(self.desk.state)
        if lane is None:
            return "", ""
        name = self._in_force(lane)
        preset = f" · {lane.preset}" if lane.preset and lane.preset != "paper" else ""
        return f"{name.upper()}{preset}", f"step {done.step}" if done else ""

    def _in_force(self, lane: LaneState) -> str:
        held = self.desk.view.held
        return held.algorithm if held else lane.algorithm

    def content(self, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        lane = self.desk.view.lane_state(self.desk.state)
        if lane is None:
            return [Line(), Line("  known when the lane opens", p.style("faint"))]
        card = cards().get(self._in_force(lane))
        out = self._formula(card, width, height)
        out += self._numbers(lane, width, height)
        out += self._critic(lane, width)
        out += self._switch(lane, width)
        out += self._times(width)
        return out + self._settings(lane, card, width, height - len(out) - 1)

    def _formula(self, card: Card | None, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        if card is None:
            return []
        out = []
        if height >= 12:
            out.append(
                Line(card.title, p.style("text", bold=True)).add(
                    f"  {card.paper}", p.style("faint")
                )
            )
        for statement in card.formula.split("\n"):
            for i, row in enumerate(wrap(statement, width - 4)):
                out.append(
                    Line("▌ " if i == 0 else "▌   ", p.style("accent")).add(row, p.style("text"))
                )
        return out

    def _numbers(self, lane: LaneState, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        done = self.desk.view.done(self.desk.state)
        if done is None:
            return [Line("numbers come with the first finished step", p.style("faint"))]
        known = [(key, label) for key, label in NUMBERS if key in done.metrics]
        known += [(k, k) for k in done.metrics if k not in dict(NUMBERS) and k not in METRICS]
        hints = width >= 90
        columns = 1 if hints else 3 if width >= 57 else 2
        wide = width // columns
        out = [Line()] if height >= 16 else []
        for i in range(0, len(known), columns):
            line = Line()
            for j, (key, label) in enumerate(known[i : i + columns]):
                line.to(j * wide)
                value = done.metrics[key]
                line.cell(visible(label), 11, p.style("dim"))
                told = percent(value) if key in SHARES else number(value, 3)
                odd = isinstance(value, float) and not math.isfinite(value)
                line.cell(told, min(wide - 12, 8), p.style("warn" if odd else "text"), right=True)
            if hints:
                line.add("   " + METRICS.get(known[i][0], ""), p.style("faint"))
            out.append(line)
        loss, high = done.metrics.get("loss", math.nan), done.metrics.get("ratio_max", math.nan)
        if abs(loss) < 0.02 and abs(high - 1) < 0.5:
            told = "loss ≈ 0 is normal near ratio 1: look at ‖grad‖ and the curves"
            out += [Line(row, p.style("faint")) for row in wrap(told, width)]
        return out

    def _critic(self, lane: LaneState, width: int) -> list[Line]:
        p = self.desk.palette
        critic = lane.critic
        if critic is None or critic.state == "gone":
            return []
        done = self.desk.view.done(self.desk.state)
        variance = done.metrics.get("explained_variance") if done else critic.explained_variance
        cold = critic.state == "cold"
        line = Line("critic ", p.style("dim")).add(
            "◇ cold" if cold else "◆ warm", p.style("warn" if cold else "good", bold=True)
        )
        line.add("  explained variance ", p.style("dim")).add(number(variance, 2), p.style("text"))
        return [line]

    def _switch(self, lane: LaneState, width: int) -> list[Line]:
        p = self.desk.palette
        if not lane.switches:
            return []
        last = lane.switches[-1]
        head = Line("switched ", p.style("dim")).add(
            f"{last.before.upper()} → {last.after.upper()}", p.style("accent")
        )
        head.add(
            f" at step {last.step}, by {'cue' if last.origin == 'cue' else 'hand'}", p.style("dim")
        )
        out = [head]
        for word, things, colour in (("kept", last.kept, "good"), ("reset", last.reset, "warn")):
            rows = wrap(visible(", ".join(things)) or "nothing", width - 9)
            for i, row in enumerate(rows):
                out.append(
                    Line()
                    .cell(f"  {word}" if i == 0 else "", 8, p.style(colour))
                    .add(row, p.style("text"))
                )
        return out

    def _times(self, width: int) -> list[Line]:
        """Where a step's time went."""
        p, done = self.desk.palette, self.desk.view.done(self.desk.state)
        total = sum(done.seconds.values()) if done else 0.0
        if done is None or not total > 0:
            return []
        parts = []
        for name, seconds in done.seconds.items():
            line = Line(f"{visible(name)} ", p.style("dim")).add(
                f"{number(seconds, 2)} s", p.style("text")
            )
            parts.append(line.add(f" {percent(seconds / total)}", p.style("faint")))
        head = (
            Line()
            .cell("step time", 11, p.style("dim"))
            .add(f"{number(total, 3)} s", p.style("text"))
        )
        updates = Line(f"{done.updates} updates", p.style("dim"))
        return flow([head, *parts, updates], width, "  ")

    def _settings(self, lane: LaneState, card: Card | None, width: int, room: int) -> list[Line]:
        p = self.desk.palette
        known = {s.name: s for s in card.settings} if card else {}
        head = Line("── ", p.style("line")).add("settings ", p.style("faint"))
        key = self.desk.keymap.shown("setting")
        if self.desk.mode == "live" and width >= 30:
            head.add(f"{key} to change ", p.style("faint"), hit=("run", "setting"))
        out = [head.add("─" * max(0, width - head.width), p.style("line"))]
        changed = {c.key for c in lane.changes}
        shown = dict(lane.settings) | {
            c.key: c.after for c in lane.changes if c.key not in lane.settings
        }
        below = width < 64 and room > 2 * len(
            shown
        )  # descriptions under their settings, where there is height
        for name, value in shown.items():
            setting = known.get(name)
            differs = name in changed or (setting is not None and setting.default != value)
            line = Line("✎ " if differs else "  ", p.style("warn"))
            line.cell(visible(name), 20, p.style("text" if differs else "dim"))
            told = clip(visible(MISSING if value is None else number(value, 3)), 20)
            line.add(told, p.style("warn" if differs else "text", bold=differs))
            out.append(line)
            if setting is not None and below:
                out.append(Line("    " + clip(setting.description, width - 4), p.style("faint")))
            elif setting is not None and width >= 64:
                line.to(42).add(" " + clip(setting.description, width - 43), p.style("faint"))
        return out
