"""At a run's end the lab waits for what comes next: it says so, and every key still works."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from textual.pilot import Pilot

from grpolab.record import events as ev
from grpolab.tui.app import LabApp, farewell
from grpolab.tui.context import AppContext
from grpolab.tui.lab.dialogs.failure import Leaving
from grpolab.tui.source import Following

from .conftest import Live, settle, text
from .fake_run import FakeRun
from .test_actions import press

STEPS = 6


@pytest.fixture
async def end(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    """A live run that waits at its end."""
    live.record(
        FakeRun(steps=STEPS), until=lambda e: isinstance(e, ev.StepDone) and e.step == STEPS
    )
    live.write(*(e for _, e in FakeRun(steps=STEPS).events()
                 if isinstance(e, ev.Evaluated) and e.step == STEPS))  # fmt: skip
    live.write(ev.Checkpointed(STEPS, "checkpoints/step-000006"))
    live.write(ev.Paused(STEPS, "end"), ev.PhaseChanged("waiting", STEPS + 1))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        yield live, pilot


async def test_the_end_says_what_comes_next(end: tuple[Live, Pilot[int]]) -> None:
    live, pilot = end
    shown = text(live.app)
    assert "step 6/6" in shown and "PAUSED AT THE END" in shown
    assert not live.context.over and live.context.commands
    live.context.say("")
    live.context._notice = ("", "dim", 0.0)
    for size in ((120, 36), (80, 24)):
        await pilot.resize_terminal(*size)
        await settle(live.app)
        assert "p trains 6 more" in text(live.app), size
        assert "the next one follows" not in text(live.app), size


async def test_p_and_n_go_on_from_the_end(end: tuple[Live, Pilot[int]]) -> None:
    live, pilot = end
    await press(live, pilot, "p", "n")
    assert live.engine.sent == [{"do": "continue"}, {"do": "step"}]
    live.write(ev.Extended(6, 6, 12), ev.Continued(6), ev.PhaseChanged("sampling", 7))
    await settle(live.app)
    shown = text(live.app)
    assert "step 6/12" in shown and "50%" in shown and "PAUSED" not in shown
    assert "6 → 12 steps" in shown
    await press(live, pilot, "p")
    assert live.engine.sent[-1] == {"do": "pause"}
    live.write(ev.Extended(12, 12, 18, note="the learning rate's schedule ended"))
    await settle(live.app)
    assert "12 → 18 steps: the learning rate's schedule ended" in text(live.app)


async def test_a_switch_at_the_end_continues(end: tuple[Live, Pilot[int]]) -> None:
    live, pilot = end
    await press(live, pilot, "a", *"ppo-kl", "enter")
    (sent,) = live.engine.sent
    assert (sent["do"], sent["algorithm"]["name"], sent["then"]) == ("switch", "ppo-kl", "continue")
    assert "6 more steps" in text(live.app)


async def test_an_evaluation_that_is_there_already_is_said(end: tuple[Live, Pilot[int]]) -> None:
    live, pilot = end
    await press(live, pilot, "e")
    assert not live.engine.sent and "step 6 is evaluated already" in text(live.app)


async def test_back_to_the_end_is_the_end(end: tuple[Live, Pilot[int]]) -> None:
    """A rewind that undoes what the run was extended by, and one that does not."""
    live, _ = end
    live.write(ev.Extended(6, 6, 12), ev.Continued(6))
    await settle(live.app)
    assert not live.context.state.waits_at_end
    live.write(ev.Resumed(6, "rewind", 9))
    await settle(live.app)
    assert "the run's end" in text(live.app)
    live.write(ev.Paused(6, "end"))
    await settle(live.app)
    assert live.context.state.waits_at_end and "step 6/6" in text(live.app)


async def test_left_at_its_end_it_is_done(end: tuple[Live, Pilot[int]]) -> None:
    live, pilot = end
    await press(live, pilot, "q")
    assert live.engine.stopped and isinstance(live.app.screen, Leaving)
    assert "The run is done" in text(live.app) and "resumed" not in text(live.app)
    live.write(ev.Ended(6, "done"))
    live.engine.code = 0
    for _ in range(5):
        live.app.lab.tick()
        await pilot.pause()
    assert live.app.return_code == 0
    told = farewell(live.context)
    assert "6 of 6 steps" in told and f"--resume {live.folder} --steps 6" in told


async def test_watched_it_waits_without_offering_keys(end: tuple[Live, Pilot[int]]) -> None:
    """Where another process trains, nothing can be continued from here."""
    live, _ = end
    app = LabApp(AppContext(Following(live.folder, "watch"), live.folder))
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        shown = text(app)
        assert "PAUSED AT THE END" in shown and "WATCHING" in shown
        assert "6 more steps" not in shown
        assert "trains 6" not in shown
        assert "switch algorithm and continue" not in shown


@pytest.mark.parametrize("keys", [("p", "n"), ("p", "p")])
async def test_pause_followed_at_once(live: Live, keys: tuple[str, ...]) -> None:
    """By `n` it steps; by another `p`, before the engine has paused, it goes on."""
    live.record(FakeRun(steps=9), until=lambda e: isinstance(e, ev.Graded) and e.step == 4)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live, pilot, *keys)
        second = {"do": "step"} if keys[1] == "n" else {"do": "continue"}
        assert live.engine.sent == [{"do": "pause"}, second]
