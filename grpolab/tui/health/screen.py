"""Health: what is wrong with the run, what to try, and why the loss is what it is."""

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
    mouse = "click a verdict, a setting to try, a key below"
    explains = (
        "What is wrong: verdicts drawn from the run's own numbers, the worst first. ✗ is serious, "
        "! worth a look, i only worth knowing. The chosen one says its cause in a sentence, the "
        "numbers that were seen, and two settings of this very algorithm or run to try, with "
        "values; 1 and 2 set them while the training goes on, ↵ shows the curve.\n"
        "Why the loss is what it is: its addends, and the numbers that tell whether something is "
        "learned although the loss is 0. Σ Â sums each answer's mean advantage; ‖g‖ is the length "
        "of the gradient before it is scaled down to max_grad_norm.\n"
        "A verdict is said when it has held for three steps in a row (at once where an update was "
        "skipped or an evaluation fell), and until it has not held for eight; its numbers are "
        "those of the step in which it held last. "
        "It is a rule of thumb with fixed thresholds; it may be wrong about your run."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.at = 0
        self.part = "verdicts"
        self.parts = (Verdicts(self, id="verdicts"), LossCard(self, id="loss"))

    def found(self) -> list[Verdict]:
        """All verdicts; the chosen one stays within."""
        found = health_model.found(self.context)
        self.at = max(0, min(self.at, len(found) - 1))
        return found

    def step(self) -> int | None:
        """The step that is looked at."""
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
        """The curve that shows the chosen verdict; without one, the loss."""
        from grpolab.tui.curves.screen import CurvesScreen

        found = self.found()
        metric = found[self.at].metric if found and self.part == "verdicts" else "loss"
        self.app.push_screen(CurvesScreen(self.context, (metric,)))

    def action_health_try(self, number: int) -> None:
        """Set what a verdict suggests, on its lane."""
        found = self.found()
        tries = found[self.at].tries if found else ()
        if not 1 <= number <= len(tries):
            self.context.say("there is no such suggestion here", "warn")
        elif not tries[number - 1].live:
            key = tries[number - 1].key
            self.context.say(f"{key} is settled when a run starts: --set {key}=…", "warn")
        else:
            t, lane = tries[number - 1], found[self.at].lane
            command = {"do": "set", "key": t.key, "value": t.value}
            several = len(self.context.state.lanes) > 1
            self.lab.send(command | ({"lane": lane} if several else {}), f"setting {t.key}…")
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
