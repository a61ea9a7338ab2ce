"""Tokens recorded only now and then: the pane says whose tokens it shows, and a key goes there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rich.cells import cell_len

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.tui import quantities as recorded
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.credit_trace.screen import TraceScreen
from grpolab.tui.source import Playing

from .conftest import Live, settle
from .fake_run import FakeRun
from .test_answers import press

SIZES = [(80, 24), (120, 36), (200, 60)]
EVERY = 5


def now_and_then(every: int = EVERY, **more) -> list[tuple[float, ev.Event]]:
    out = []
    for t, e in FakeRun(switches={}, prompts=2, group=2, **more).events():
        if isinstance(e, ev.RunStarted):
            record = {"tokens": every > 0, "tokens_every": max(1, every)}
            e = dataclasses.replace(e, scenario=e.scenario | {"record": record})
        if not isinstance(e, ev.Tokens) or (every and (e.step - 1) % every == 0):
            out.append((t, e))
    return out


@pytest.mark.parametrize("size", SIZES)
async def test_a_replay_says_whose_tokens_these_are(tmp_path: Path, size: tuple[int, int]) -> None:
    lines = [codec.encode(e, t) + "\n" for t, e in now_and_then(steps=9)]
    (tmp_path / "events.jsonl").write_text("".join(lines), encoding="utf-8")
    source = Playing(tmp_path)
    source.load()
    source.playing = False
    app = LabApp(AppContext(source, tmp_path))
    async with app.run_test(size=size) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        told = await press(app, pilot, "end", "2")
        flat = " ".join(told.split())
        assert "! tokens are recorded every 5 steps" in flat
        assert "step 6 · prompt 1 · answer 1" in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        told = await press(app, pilot, "V")
        assert isinstance(app.screen, TraceScreen)
        assert "! tokens are recorded every 5 steps" in told and "these are of step 6" in told
        told = await press(app, pilot, "r")  # the clock goes back to it
        assert app.context.state.step == 6 and "recorded every" not in told
        told = await press(app, pilot, "escape", "2")
        assert "recorded every" not in told and "step 6/9" in told
        told = await press(app, pilot, "r")
        assert "this step's tokens are recorded" in told


async def test_a_live_run_held_between_two_recorded_steps(live: Live) -> None:
    for t, e in now_and_then(steps=9, end=False):
        live.t = t
        live.write(e)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        found = recorded.lag(live.context)
        assert found == recorded.Lag(looked=9, shown=6, every=EVERY, nearest=6)
        told = await press(live.app, pilot, "comma")  # holds step 8, which has no tokens
        assert recorded.lag(live.context) == recorded.Lag(8, None, EVERY, 6)
        assert "r goes to the nearest, step 6" in " ".join(told.replace("│", " ").split())
        pane = live.app.lab.panes["tokens"]
        at = next(i for i, row in enumerate(pane.plain.split("\n")) if "! tokens" in row)
        await pilot.click("#tokens", offset=(8, at))
        await settle(live.app)
        held = live.context.view.held
        assert held is not None and held.step == 6 and recorded.lag(live.context) is None
        assert "recorded every" not in pane.plain
        # a step that is being sampled is none whose tokens are missing
        await press(live.app, pilot, "end")
        live.write(ev.RolloutStarted(10, "main", "grpo", ["1+1="], ["easy"], 2, 48))
        await settle(live.app)
        assert recorded.lag(live.context) == recorded.Lag(9, 6, EVERY, 6)
        live.context.view.held = live.context.state.lanes["main"].rollout
        assert recorded.lag(live.context) is None


async def test_a_run_that_records_no_tokens(live: Live) -> None:
    for _, e in now_and_then(every=0, steps=3, end=False):
        live.write(e)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "2")
        assert "tokens are not recorded in this run: set record.tokens" in told
        assert "not recorded in this run" in (await press(live.app, pilot, "r")).split("\n")[1]
        # and one that began to record them
        live.write(ev.SettingChanged(3, "main", "record.tokens", False, True, "command"))
        await settle(live.app)
        assert recorded.every(live.context.state, live.context.state.lanes["main"]) == 1
