"""The KL bench: KL estimators compared with the exact KL, in value and in gradient."""

from __future__ import annotations

import time
from typing import Any

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.kl_bench.view import BenchHistory, BenchTable
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings
from grpolab.tui.widgets.text import visible


class KlBenchScreen(Overlay):
    BINDINGS = bindings("kl-bench")
    key = "kl-bench"
    heading = "KL bench"
    mouse = "click a measurement, a key below"
    explains = (
        "The exact KL to reference, over the whole vocabulary at every state of a new rollout, and "
        "what the usual estimators compute from the sampled tokens alone.\n"
        "value, bias ± standard error, std of one token's estimate. ≈ the bias is within two "
        "standard errors of 0.\n"
        "gradient in the loss: β times the estimator is added to the loss and differentiated. "
        "gradient in the reward: β times the estimator is subtracted from the reward. cos: cosine "
        "with the gradient of the exact KL; error: distance from it, in units of its norm. Both "
        "are expectations over the vocabulary, without sampling noise.\n"
        "After Schulman, Approximating KL Divergence, and Tang & Munos 2025, arXiv 2506.09477. "
        "The distribution of visited states is taken as given."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.lane = context.view.lane
        self.back = 0  # the selected measurement, counted back from the newest
        self.problem = ""
        self.part = "history"
        self.parts = (BenchTable(self, id="table"), BenchHistory(self, id="history"))

    def opened(self) -> None:
        if self.context.commands and not any(
            b.step == self.context.state.step for b in self.benches
        ):
            self.ask()

    @property
    def benches(self) -> list[ev.KlBenched]:
        """This lane's measurements, the newest first."""
        lane = self.context.state.lanes.get(self.lane)
        return list(reversed(lane.benches)) if lane else []

    @property
    def shown(self) -> ev.KlBenched | None:
        found = self.benches
        return found[min(self.back, len(found) - 1)] if found else None

    def ask(self) -> None:
        """Have the engine measure after its current step."""
        self.problem = ""
        waiting = ("kl-bench", self.lane) in self.context.asked
        if not waiting and self.lab.send({"do": "kl-bench", "lane": self.lane}):
            self.context.asked["kl-bench", self.lane] = time.monotonic()
        self.again()

    def news(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.KlBenched) and event.lane == self.lane:
                self.back = 0
                self.again()
            elif isinstance(event, ev.Refused) and event.command.get("do") == "kl-bench":
                self.problem = event.reason
                self.again()
        if ("kl-bench", self.lane) in self.context.asked and not self.context.commands:
            del self.context.asked["kl-bench", self.lane]
            self.problem = "the engine ended before it could measure"
            self.again()
        if self.status() is not None:
            self.touch(self.parts[0])

    def status(self) -> tuple[str, str] | None:
        """Progress or an error, with its color."""
        since = self.context.asked.get(("kl-bench", self.lane))
        if since is not None:
            spin = self.context.spin
            waited = f"{time.monotonic() - since:.0f} s"
            return f"{spin} requested: the engine measures after this step, {waited}", "accent"
        return (f"✗ {visible(self.problem)}", "bad") if self.problem else None

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if width >= 150:
            left = round(width * 0.62)
            return {
                "table": Rect(0, 0, left, height),
                "history": Rect(left, 0, width - left, height),
            }
        below = min(max(4, len(self.benches) + 3), max(4, height // 3))
        return {
            "table": Rect(0, 0, width, height - below),
            "history": Rect(0, height - below, width, below),
        }

    def scrolled(self) -> Box[Any] | None:
        return self.parts[0]

    def _go(self, back: int) -> None:
        self.back = max(0, min(back, len(self.benches) - 1))
        self.again()

    def action_row_next(self) -> None:
        self._go(self.back + 1)

    def action_row_previous(self) -> None:
        self._go(self.back - 1)

    def action_kl_bench_again(self) -> None:
        self.ask()

    def clicked(self, what: str, value: Any) -> None:
        if what == "bench":
            self._go(int(value))
