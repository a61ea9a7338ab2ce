"""The start: the first frame waits for nothing, and a viewer never loads what computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.record.tail import read
from grpolab.tui.app import LabApp, farewell
from grpolab.tui.context import AppContext
from grpolab.tui.source import Following

from .conftest import Live, settle, text
from .fake_run import FakeRun

WATCHED = """
import asyncio, sys
from pathlib import Path
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing
from grpolab.tui.lab.screen import LabScreen
from tests.tui import quiet

quiet.take_over()
at_first = set()
mount_panes = LabScreen.mount_panes
def first_frame(self):
    at_first.update(sys.modules)
    mount_panes(self)
LabScreen.mount_panes = first_frame

async def main():
    run = Path(sys.argv[1])
    source = Playing(run)
    app = LabApp(AppContext(source, run))
    async with app.run_test(size=(200, 60)) as pilot:
        source.load()
        source.end()
        await pilot.pause(0.3)
        for key in "1 2 3 4 5 6 z question_mark escape f down escape k escape l".split():
            await pilot.press(key)
        await app.workers.wait_for_complete()
        assert app.screen.lens is not None
        await pilot.pause(0.6)
asyncio.run(main())
heavy = {"torch", "transformers", "peft", "numpy", "bitsandbytes"} & set(sys.modules)
assert not heavy, heavy
early = {"pydantic", "yaml", "grpolab.algorithms", "grpolab.scenario.spec"} & at_first
assert at_first and not early, early
assert "grpolab.algorithms" in sys.modules
"""


@pytest.mark.slow
def test_first_frame_loads_little_and_nothing_that_computes(run_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(run_dir)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]


async def test_loading_tells_how_far_the_start_is(live: Live) -> None:
    async with live.app.run_test(size=(100, 30)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        assert "engine process" in text(live.app)  # there is no run file yet
        events = [e for _, e in FakeRun(steps=2).events()]
        live.write(*events[:3])
        await settle(live.app)
        assert "✓ engine process" in text(live.app)
        assert "embedded policy" in text(live.app)
        live.write(*events[3:6])
        await settle(live.app)
        assert "✓ model" in text(live.app) and "3.5M parameters" in text(live.app)
        live.write(*events[6:8])
        await settle(live.app)
        assert "✓ first evaluation" in text(live.app)
        await pilot.press("p", "g", "down", "right", "v", "v", "tab", "z", "z", "comma", "c", "L")
        await pilot.press("l", "escape", "f", "escape", "k", "escape", "1")
        live.write(*events[8:11])
        await settle(live.app)
        shown = text(live.app)
        assert "Rollouts" in shown and "◌" in shown and "▌" in shown, shown


async def test_an_engine_that_dies_at_the_start(live: Live) -> None:
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        live.engine.code = 1
        await settle(live.app)
        await settle(live.app)
        assert "exit code 1" in text(live.app)
        await pilot.press("escape")
        await pilot.press("q")
    assert live.app.return_code == 0


async def test_answers_stream_and_are_graded(live: Live) -> None:
    run = FakeRun(steps=1)
    live.record(run, until=lambda e: isinstance(e, ev.Sampled) and e.position >= 12)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        streaming = live.app.lab.panes["rollouts"].plain
        assert streaming.count("▌") == 8 and "sampling 12/48" in streaming
        rest = [e for _, e in FakeRun(steps=1).events()]
        live.write(*rest[rest.index(next(e for e in rest if isinstance(e, ev.Graded))) :])
        await settle(live.app)
        graded = live.app.lab.panes["rollouts"].plain
        assert "▌" not in graded and "right" in graded and "▇" in graded


async def test_the_live_screen_is_the_replayed_one(live: Live, replay, run_dir: Path) -> None:
    live.path.write_bytes((run_dir / "events.jsonl").read_bytes())
    shown = []
    for app in (live.app, replay):
        async with app.run_test(size=(160, 45)) as pilot:
            app._pilot = pilot
            await settle(app)
            if app is replay:
                app.context.source.end()
                await settle(app)
            shown.append([p.plain for p in app.lab.panes.values()])
    assert shown[0][:5] == shown[1][:5]


def test_farewell_says_where_and_how(live: Live, run_dir: Path) -> None:
    state = LabState()
    for t, event in read(run_dir / "events.jsonl")[:-1]:
        state.apply(event, t)
    live.context.state = state
    told = farewell(live.context)
    assert str(live.folder) in told and "grpolab run --resume" in told and "24 of 24" in told
    state.apply(ev.Ended(24, "done"))
    assert "--steps" in farewell(live.context)


async def test_a_wrong_request_closes_the_screen(tmp_path: Path) -> None:
    def find() -> Path:
        raise ValueError("no such scenario")

    context = AppContext(Following(None, "live", find), tmp_path)
    app = LabApp(context)
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(100):
            await pilot.pause(0.02)
            if context.problem:
                break
    assert str(context.problem) == "no such scenario"
    assert app.return_code == 0


async def test_the_directory_may_become_known_later(run_dir: Path) -> None:
    context = AppContext(Following(None, "live", lambda: run_dir), Path("…"))
    app = LabApp(context)
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        assert context.run_dir == run_dir
        assert "step 24/24" in text(app)
