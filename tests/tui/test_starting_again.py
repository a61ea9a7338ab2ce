"""A run that is over: the time screen starts an engine again, and it goes back to a checkpoint;
where none can be started, the screen says how it is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from grpolab.errors import RequestError
from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Following, Playing
from grpolab.tui.timeline.screen import TimeScreen

from .conftest import FakeEngine, Live, settle, text
from .fake_run import FakeRun
from .test_time import press, with_checkpoints

SIZES = [(80, 24), (120, 36), (200, 60)]


class Restarting(Live):
    """A live lab whose engine has ended and can be started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started: list[tuple[int, FakeEngine]] = []
        self.problem: Exception | None = None
        self.context.restart = self._start

    def _start(self, to: int) -> FakeEngine:
        engine = FakeEngine()
        if self.problem is not None:
            problem = self.problem

            def ready() -> Path:
                raise problem

            engine.ready = ready
        self.started.append((to, engine))
        return engine

    def over(self, steps: int = 12) -> None:
        self.record(FakeRun(steps=steps, switches={}))
        with_checkpoints(self, 5, 10, 12)


@pytest.fixture
def done(tmp_path: Path) -> Restarting:
    live = Restarting(tmp_path / "done")
    live.over()
    return live


async def begun(live: Live, pilot: Pilot[int]) -> None:
    live.app._pilot = pilot  # pyright: ignore
    await settle(live.app)


@pytest.mark.parametrize("size", SIZES)
async def test_back_to_a_checkpoint_of_a_run_that_is_done(
    done: Restarting, size: tuple[int, int]
) -> None:
    async with done.app.run_test(size=size) as pilot:
        await begun(done, pilot)
        done.engine.code = 0
        last = (await press(done.app, pilot)).rstrip("\n").split("\n")[-1]
        assert "R rewind" in last and "pause" not in last
        told = await press(done.app, pilot, "R")
        screen = done.app.screen
        assert isinstance(screen, TimeScreen) and screen.chosen.step == 12
        assert "checkpoint: can restart from here" in told
        told = await press(done.app, pilot, "up", "R")
        assert "Rewind to step 10" in told and "A new engine is started for it" in told
        assert "steps 11 to 12" in told
        await press(done.app, pilot, "enter")
        ((to, engine),) = done.started
        assert to == 10 and engine.sent == [{"do": "pause"}]
        assert done.context.engine is engine and not done.context.commands
        assert "STARTING A NEW ENGINE" in text(done.app)
        await press(done.app, pilot, "R")  # once is enough
        assert len(done.started) == 1
        done.write(ev.Resumed(12), ev.Resumed(10, "rewind", 12), ev.Paused(10))
        told = await press(done.app, pilot, "escape")
        assert isinstance(done.app.screen, LabScreen)
        assert (
            "paused at step 10; press p to resume" in told
            and "PAUSED" in told
            and "STARTING" not in told
        )
        assert done.context.commands and done.context.state.step == 10
        await press(done.app, pilot, "p")
        assert engine.sent[1:] == [{"do": "continue"}]
        await press(done.app, pilot, "q")
        assert engine.stopped and not done.engine.stopped


async def test_a_fork_there_goes_with_it(done: Restarting) -> None:
    async with done.app.run_test(size=(120, 36)) as pilot:
        await begun(done, pilot)
        done.engine.code = 0
        await press(done.app, pilot, "T", "end", "F")
        assert "the engine has ended" in done.context.notice[0] and not done.started
        await press(done.app, pilot, "home", "F", *"rloo", "enter", "enter")
        ((to, engine),) = done.started
        fork = {"do": "fork", "name": "rloo", "algorithm": {"name": "rloo"}, "lane": "main"}
        assert to == 0 and engine.sent == [{"do": "pause"}, fork]


async def test_an_engine_that_does_not_start_is_told_and_the_run_is_as_it_was(
    done: Restarting,
) -> None:
    done.problem = RequestError("done: another process computes this run")
    async with done.app.run_test(size=(120, 36)) as pilot:
        await begun(done, pilot)
        done.engine.code = 0
        told = await press(done.app, pilot, "R", "R", "enter")
        assert "could not start: done: another process computes this run" in told
        assert done.context.engine is done.engine and done.context.restartable
        assert "RUN DONE" in told


async def test_while_it_is_ending_it_does_not_start_again(done: Restarting) -> None:
    async with done.app.run_test(size=(120, 36)) as pilot:
        await begun(done, pilot)
        told = await press(done.app, pilot, "R", "R", "enter")
        assert "still ending" in told and not done.started


async def test_after_a_failure_it_can_go_on_and_may_fail_again(tmp_path: Path) -> None:
    live = Restarting(tmp_path / "failed")
    live.record(FakeRun(steps=7, switches={}, end=False))
    with_checkpoints(live, 5)
    live.write(ev.Failed(7, "MemoryError", "working"), ev.Ended(7, "failed"))
    live.engine.code = 1
    async with live.app.run_test(size=(120, 36)) as pilot:
        await begun(live, pilot)
        assert "or here: esc, then R" in await press(live.app, pilot)
        await press(live.app, pilot, "escape", "R", "R", "enter")
        ((to, engine),) = live.started
        assert to == 5
        live.write(ev.Resumed(5), ev.Resumed(5, "rewind", 5), ev.Paused(5))
        await press(live.app, pilot, "escape")
        assert live.context.state.failed is None and live.context.commands
        live.write(ev.Failed(6, "again", "working"), ev.Ended(6, "failed"))
        engine.code = 1
        await press(live.app, pilot)
        assert "The run stopped" in await press(live.app, pilot)


@pytest.mark.parametrize("mode", ["replay", "watch"])
@pytest.mark.parametrize("size", SIZES)
async def test_where_nothing_is_computed_it_says_how(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    live = Restarting(tmp_path / "R")
    live.over()
    (live.folder / "scenario.yaml").write_text("name: x\n")
    source = Playing(live.folder) if mode == "replay" else Following(live.folder, "watch")
    source.load()
    if isinstance(source, Playing):
        source.playing = False
    app = LabApp(AppContext(source, live.folder))
    async with app.run_test(size=size) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        told = await press(app, pilot, "end", "T", "home", "down")
        assert isinstance(app.screen, TimeScreen) and app.screen.chosen.kind == "checkpoint"
        assert "can resume here" not in told and "can restart" not in told
        about = app.screen.parts[1].plain.replace("│", " ")
        assert "no engine is running" in " ".join(about.split())
        shown = "".join(about.split())
        step = app.screen.chosen.step
        assert f"--resume{live.folder}--from{step}".replace(" ", "") in shown, about


async def test_a_record_without_checkpoints_offers_none(replay: LabApp) -> None:
    async with replay.run_test(size=(80, 24)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        told = await press(replay, pilot, "end", "T", "home")
        flat = " ".join(told.replace("│", " ").split())
        assert "this recording has no checkpoints" in flat and "--resume" not in told
