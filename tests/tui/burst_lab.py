"""A live lab on a made-up run, in a terminal: its engine only remembers what it was told, and what
is on the screen is written to `state.json` for who cannot see it.

`python -m tests.tui.burst_lab FOLDER`
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from grpolab.record import codec
from grpolab.tui import app
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.search.screen import AnswersScreen
from grpolab.tui.source import Following
from grpolab.tui.widgets.chooser import Chooser

from .fake_run import FakeRun


class Engine:
    exit_code = None

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def ready(self) -> Path:
        return Path("run")

    def send(self, command: dict[str, Any]) -> bool:
        self.sent.append(command)
        return True

    def stop(self) -> None:
        os._exit(0)

    kill = stop

    def log_tail(self, lines: int = 20) -> str:
        return ""


class BurstLab(LabApp):
    CSS_PATH = Path(app.__file__).with_name("lab.tcss")

    def __init__(self, context: AppContext, engine: Engine, path: Path) -> None:
        super().__init__(context, keep=False)
        self.engine, self.path = engine, path

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(0.05, self._write)

    def _write(self) -> None:
        screen = self.screen
        typed = ""
        if isinstance(screen, AnswersScreen):
            typed = screen.entry.value
        elif isinstance(screen, Chooser):
            typed = screen.typed
        state = {
            "screen": type(screen).__name__, "typed": typed, "sent": self.engine.sent,
            "waiting": len(self.type_ahead.waiting), "begun": self.lab.begun,
            "lane": self.context.view.lane, "focused": self.focused is not None,
        }  # fmt: skip
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.replace(self.path)


def main(folder: Path) -> None:
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        for t, event in FakeRun(steps=3, lanes=("main", "other"), end=False).events():
            file.write(codec.encode(event, t) + "\n")
    engine = Engine()
    context = AppContext(Following(folder, "live"), folder, engine)
    BurstLab(context, engine, folder / "state.json").run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
