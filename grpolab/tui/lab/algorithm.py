"""The algorithm: formula, numbers of the step, critic, what the last switch kept, settings."""

from __future__ import annotations

import math
from typing import Any

from grpolab.analysis.metric_help import METRICS
from grpolab.record.lane_state import LaneState
from grpolab.tui.algorithm_cards import Card, Setting, cards, word
from grpolab.tui.formulas import explain_view, token_facts
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.text import Line, clip, flow, number, percent, visible, wrap

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
    ("zero_std_groups", "zero var."),
    ("advantage_std", "adv. std"),
    ("kl_ref", "KL to ref."),
    ("kl_old", "step KL"),
    ("sampler_gap", "mismatch"),
    ("length", "length"),
    ("truncated", "truncated"),
    ("format", "format"),
    ("accuracy", "accuracy"),
    ("learning_rate", "lr"),
)
SHARES = {"clip_fraction", "zero_std_groups", "truncated", "format", "accuracy"}


class Algorithm(Pane):
    index = 6
    title = "Algorithm"
    watches = frozenset(
        {"step", "switch", "set", "critic", "lane", "resumed", "select", "cards", "tokens"}
    )
    period = 0.25
    calm = 0.95
    slow = True
    explains = (
        "The current algorithm: its formula; the values of its symbols for the token selected in "
        "the tokens pane, which branch of min() the token is on and why; the numbers of the newest "
        "step, its critic, and its settings (✎ differs from the paper's default). Zoomed, symbols "
        "and numbers are explained beside them; a click on a number explains it too.\n"
        "A loss of 0 is normal at ratio 1: centered advantages cancel in the value of the loss, "
        "not in its gradient. Look at ‖grad‖ and at the curves.\n"
        "zero var.: share of the groups with zero variance: all rewards equal, no gradient.\n"
        "mismatch: training–inference mismatch, sampler against trainer log-probs.\n"
        "step KL: per-step KL, the size of this update.\n"
        "critic cold: just created; its values mean little until its explained variance rises "
        "above 0."
    )

    def info(self) -> tuple[str, str]:
        lane = self.context.view.lane_state(self.context.state)
        done = self.context.view.done(self.context.state)
        if lane is None:
            return "", ""
        name, preset, _ = self.context.view.in_force(self.context.state)
        preset = f" · {visible(preset)}" if preset and preset != "paper" else ""
        return f"{visible(name).upper()}{preset}", f"step {done.step}" if done else ""

    def content(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        lane = self.context.view.lane_state(self.context.state)
        if lane is None:
            return [Line(), Line("  shown when the lane opens", p.style("faint"))]
        card = cards().get(self.context.view.in_force(self.context.state)[0])
        out = self._formula(card, width, height)
        token = self._token(card, width, height)
        late = height < 20  # then the numbers come before the token
        out += ([] if late else token) + self._numbers(lane, width)
        out += self._critic(lane, width) + self._switch(lane, width)
        out += (token if late else []) + self._times(width)
        return out + self._settings(lane, card, width, height - len(out) - 1)

    def _formula(self, card: Card | None, width: int, height: int) -> list[Line]:
        p = self.context.palette
        if card is None:
            return []
        out = []
        if height >= 12:
            out.append(
                Line(card.title, p.style("text", bold=True)).add(
                    f"  {card.paper}", p.style("faint")
                )
            )
        return out + explain_view.formula(p, card.formula, width)

    def _token(self, card: Card | None, width: int, height: int) -> list[Line]:
        """The formula's symbols with their values for the selected token, and its branch."""
        p = self.context.palette
        found = token_facts.selected(self.context, card.name) if card else None
        if card is None or found is None:
            return []
        tall = self.context.zoom and height >= 44
        head = Line("── ", p.style("line"))
        head.add(clip(f"for {found.place} ", max(0, width - 6)), p.style("faint"))
        head.add("─" * max(0, width - head.width), p.style("line"))
        rows = (
            explain_view.table(p, found.terms, width)
            if tall
            else explain_view.short(p, found.terms, width)
        )
        out = [head, *rows, *explain_view.branch(p, found.branch, width)]
        end = Line("── ", p.style("line")).add("the step ", p.style("faint"))
        return [*out, end.add("─" * max(0, width - end.width), p.style("line"))]

    def _numbers(self, lane: LaneState, width: int) -> list[Line]:
        p = self.context.palette
        done = self.context.view.done(self.context.state)
        if done is None:
            return [Line("numbers appear with the first finished step", p.style("faint"))]
        known = [(key, label) for key, label in NUMBERS if key in done.metrics]
        known += [(k, k) for k in done.metrics if k not in dict(NUMBERS) and k not in METRICS]
        hints = width >= 90
        columns = 1 if hints else 3 if width >= 57 else 2
        wide = width // columns
        out: list[Line] = []
        for i in range(0, len(known), columns):
            line = Line()
            for j, (key, label) in enumerate(known[i : i + columns]):
                line.to(j * wide)
                value = done.metrics[key]
                before = line.width
                line.cell(visible(label), 11, p.style("dim"))
                shown = percent(value) if key in SHARES else number(value, 3)
                odd = isinstance(value, float) and not math.isfinite(value)
                line.cell(shown, min(wide - 12, 8), p.style("warn" if odd else "text"), right=True)
                line.hits.append((before, line.width, ("metric", key)))
            if hints:
                line.add("   " + METRICS.get(known[i][0], ""), p.style("faint"))
            out.append(line)
        loss, high = done.metrics.get("loss", math.nan), done.metrics.get("ratio_max", math.nan)
        if abs(loss) < 0.02 and abs(high - 1) < 0.5:
            note = "loss ≈ 0 is normal near ratio 1: look at ‖grad‖ and the curves"
            out += [Line(row, p.style("faint")) for row in wrap(note, width)]
        return out

    def _critic(self, lane: LaneState, width: int) -> list[Line]:
        p = self.context.palette
        critic = lane.critic
        if critic is None or critic.state == "gone":
            return []
        done = self.context.view.done(self.context.state)
        variance = done.metrics.get("explained_variance") if done else critic.explained_variance
        cold = critic.state == "cold"
        line = Line("critic ", p.style("dim")).add(
            "◇ cold" if cold else "◆ warm", p.style("warn" if cold else "good", bold=True)
        )
        line.add("  explained variance ", p.style("dim")).add(number(variance, 2), p.style("text"))
        return [line]

    def _switch(self, lane: LaneState, width: int) -> list[Line]:
        p = self.context.palette
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
        for verb, things, colour in (("kept", last.kept, "good"), ("reset", last.reset, "warn")):
            rows = wrap(visible(", ".join(things)) or "nothing", width - 9)
            for i, row in enumerate(rows):
                out.append(
                    Line()
                    .cell(f"  {verb}" if i == 0 else "", 8, p.style(colour))
                    .add(row, p.style("text"))
                )
        return out

    def _times(self, width: int) -> list[Line]:
        """The step's time by phase."""
        p, done = self.context.palette, self.context.view.done(self.context.state)
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
        p = self.context.palette
        known = {s.name: s for s in card.settings} if card else {}
        head = Line("── ", p.style("line")).add("settings ", p.style("faint"))
        key = self.context.keymap.shown("setting")
        if self.context.mode == "live" and width >= 30:
            head.add(f"{key} to change ", p.style("faint"), hit=("run", "setting"))
        out = [head.add("─" * max(0, width - head.width), p.style("line"))]
        changed = {c.key for c in lane.changes}
        shown = dict(self.context.view.in_force(self.context.state)[2]) | {
            c.key: c.after for c in lane.changes if "." in c.key
        }
        shown = _own_first(shown, known)
        below = width < 64 and room > 2 * len(
            shown
        )  # descriptions under their settings, where there is height
        for name, value in shown.items():
            setting = known.get(name)
            differs = name in changed or (setting is not None and setting.default != value)
            line = Line("✎ " if differs else "  ", p.style("warn"))
            line.cell(visible(name), 20, p.style("text" if differs else "dim"))
            line.add(
                clip(visible(word(value)), 20), p.style("warn" if differs else "text", bold=differs)
            )
            out.append(line)
            if setting is not None and below:
                out.append(Line("    " + clip(setting.description, width - 4), p.style("faint")))
            elif setting is not None and width >= 64:
                line.to(42).add(" " + clip(setting.description, width - 43), p.style("faint"))
        return out


def _own_first(values: dict[str, Any], known: dict[str, Setting]) -> dict[str, Any]:
    """Settings in the order of the pane: those that all algorithms share and that are at their
    default come last."""
    usual = [k for k in values if k in known and known[k].shared and known[k].default == values[k]]
    return {k: v for k, v in values.items() if k not in usual} | {k: values[k] for k in usual}
