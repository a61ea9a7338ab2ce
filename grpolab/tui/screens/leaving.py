"""Shown while the engine finishes its last step."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.binding import Binding, BindingType

from grpolab.tui.screens.dialog import Dialog
from grpolab.tui.text import Line


class Leaving(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+q", "end", "end now", show=False),
        Binding("ctrl+c", "end", "end now", show=False, priority=True),
        Binding("escape", "nothing", show=False),
    ]

    def on_mount(self) -> None:
        self.set_interval(0.25, self.again)

    def title_text(self) -> str:
        return "Leaving"

    def keys_text(self) -> str:
        return "q end at once"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        since = time.monotonic() - (self.desk.leaving or 0.0)
        return [
            Line("finishing the step and writing a checkpoint… ", p.style("text", bold=True)).add(
                f"{since:.0f} s", p.style("dim")
            ),
            Line("Nothing is lost: the run can be resumed where it stops.", p.style("dim")),
        ]

    def action_nothing(self) -> None:
        pass

    def action_end(self) -> None:
        if self.desk.engine is not None:
            self.desk.engine.kill()
        self.app.exit(0)
