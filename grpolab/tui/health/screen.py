"""The health screen: warnings with suggestions, and an explanation of the loss."""

from __future__ import annotations

from typing import Any

from grpolab.analysis.health import Verdict
from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.health import model as health_model
from grpolab.tui.health.view import LossCard, Verdicts
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Overlay, bindings

RENEWS = frozenset({"step", "eval", "switch", "set", "lane", "resumed", "run"})


class HealthScreen(Overlay):
    BINDINGS = bindings("health")
    key = "health"
    heading = "Health"
    mouse = "click a warning, a suggestion, a key below"
    explains = (
        "Warnings: rules applied to the run's own numbers, worst first. ✗ error, ! warning, i "
        "note. The selected one shows its cause, the numbers behind it, and two settings to try, "
        "with values; 1 and 2 apply them while training continues, ↵ shows the curve.\n"
        "Why the loss is what it is: its terms, and the numbers that show whether anything is "
        "learned although the loss is 0. Σ Â sums each answer's mean advantage; ‖g‖ is the norm of "
        "the gradient before clipping to max_grad_norm.\n"
        "A warning appears when its rule applied in three steps in a row (at once for a skipped "
        "update or a drop in an evaluation) and disappears after eight steps without it; its "
        "numbers are from the last step in which it applied. Rules have fixed thresholds and may "
        "be wrong about your run."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.at = 0
        self.part = "verdicts"
        self.parts = (Verdicts(self, id="verdicts"), LossCard(self, id="loss"))

    def found(self) -> list[Verdict]:
        """All verdicts; clamps the selection."""
        found = health_model.found(self.context)
        self.at = max(0, min(self.at, len(found) - 1))
        return found

    def step(self) -> int | None:
        """The step in view."""
        done = self.context.view.done(self.context.state)
        return done.step if done else None

    def news(self, events: list[ev.Event]) -> None:
        if any(e.kind in RENEWS for e in events):
            for part in self.parts:
                part.stale = True

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if width >= 104:
            left = width // 2
            return {
                "verdicts": Rect(0, 0, left, height),
                "loss": Rect(left, 0, width - left, height),
            }
        top = height * 3 // 5 if self.part == "verdicts" else height * 2 // 5
        return {"verdicts": Rect(0, 0, width, top), "loss": Rect(0, top, width, height - top)}

    def _go(self, by: int) -> None:
        found = self.found()
        if self.part == "loss":
            self.parts[1].scroll(by)
        elif found:
            self.at = (self.at + by) % len(found)
            self.again()

    def action_row_next(self) -> None:
        self._go(1)

    def action_row_previous(self) -> None:
        self._go(-1)

    def action_health_focus(self) -> None:
        self.part = "loss" if self.part == "verdicts" else "verdicts"
        self.again()

    def action_health_curve(self) -> None:
        """Open the curve of the selected verdict, else of the loss."""
        from grpolab.tui.curves.screen import CurvesScreen

        found = self.found()
        metric = found[self.at].metric if found and self.part == "verdicts" else "loss"
        self.app.push_screen(CurvesScreen(self.context, (metric,)))

    def action_health_try(self, number: int) -> None:
        """Apply a suggestion of the selected verdict to its lane."""
        found = self.found()
        tries = found[self.at].tries if found else ()
        if not 1 <= number <= len(tries):
            self.context.say("there is no such suggestion", "warn")
        elif not tries[number - 1].live:
            key = tries[number - 1].key
            self.context.say(
                f"{key} can only be set when a run starts, with --set {key}=VALUE", "warn"
            )
        else:
            t, lane = tries[number - 1], found[self.at].lane
            command = {"do": "set", "key": t.key, "value": t.value}
            several = len(self.context.state.lanes) > 1
            self.lab.send(command | ({"lane": lane} if several else {}), f"setting {t.key}")
        self.again()

    def action_lane(self) -> None:
        self.lab.action_lane()
        self.again()

    def action_older(self) -> None:
        self.lab.action_older()
        self.again()

    def action_newer(self) -> None:
        self.lab.action_newer()
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "verdict":
            self.at, self.part = int(value), "verdicts"
        elif what == "try":
            self.action_health_try(int(value))
        elif what == "metric":
            self.lab.select("metric", value)
        elif what == "pane":
            self.part = str(value)
        self.again()
