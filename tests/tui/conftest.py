"""A recorded fake run, and an engine that only remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from textual.worker import WorkerCancelled

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Following, Playing
from grpolab.tui.widgets import repaint

from . import quiet
from .fake_run import FakeRun

quiet.take_over()
repaint.strict = True


LARGER = ((120, 36), (200, 60))


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where a screen is tried at three sizes, the smallest is quick: least fits there."""
    for item in items:
        if isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            sizes = item.callspec.params.values() if hasattr(item, "callspec") else ()
            if any(size in LARGER for size in sizes):
                item.add_marker(pytest.mark.slow)


class FakeEngine:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.code: int | None = None
        self.stopped = self.killed = False

    def ready(self) -> Path:
        return Path("run")

    def send(self, command: dict[str, Any]) -> bool:
        self.sent.append(command)
        return True

    def stop(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.killed = True
        self.code = -9

    @property
    def exit_code(self) -> int | None:
        return self.code

    def log_tail(self, lines: int = 20) -> str:
        return "loading weights\nTraceback (most recent call last):\n  File x\nMemoryError"


class Live:
    """A live lab on a run file that the test writes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.engine = FakeEngine()
        self.path = folder / "events.jsonl"
        self.context = AppContext(Following(folder, "live"), folder, self.engine)
        self.app = LabApp(self.context)
        self.t = 100.0

    def write(self, *events: ev.Event) -> None:
        self.t += 1
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(codec.encode(e, self.t) + "\n" for e in events)

    def record(self, run: FakeRun, until: Callable[[ev.Event], bool] = lambda e: False) -> None:
        for _, event in run.events():
            self.write(event)
            if until(event):
                return


@pytest.fixture(autouse=True)
def _own_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRPOLAB_KEYS", str(tmp_path / "no-keys.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GRPOLAB_TOUR", "0")
    for name in ("NO_COLOR", "SSH_CONNECTION", "GRPOLAB_SSH", "GRPOLAB_THEME", "GRPOLAB_LAYOUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    FakeRun(steps=24, switches={8: "ppo", 16: "reinforce"}, evaluate_every=4).write(folder)
    return folder


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path / "live")


@pytest.fixture
def replay(run_dir: Path) -> LabApp:
    """Stopped at the start."""
    source = Playing(run_dir)
    source.load()
    source.playing = False
    return LabApp(AppContext(source, run_dir))


async def settle(app: LabApp) -> None:
    """Panes mounted, events folded, everything painted."""
    lab = app.lab
    for _ in range(200):
        await app._pilot.pause()  # pyright: ignore
        if lab.panes and all(p.is_mounted for p in lab.panes.values()):
            break
    with suppress(WorkerCancelled):  # something newer took its place
        await app.workers.wait_for_complete()
    lab.tick()
    lab.tick()
    await app._pilot.pause()  # pyright: ignore
    lab.repaint(at_once=True)


def text(app: LabApp) -> str:
    """The screen as characters."""
    height = app.size.height
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip) for strip in lines[:height])
