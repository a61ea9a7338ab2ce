"""The health screen: verdicts with what to try, the loss explained, the count in the header."""

from __future__ import annotations

import dataclasses
import re

import pytest
from rich.cells import cell_len

from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.curves.screen import CurvesScreen
from grpolab.tui.health.screen import HealthScreen
from grpolab.tui.lab.header import BAR
from grpolab.tui.lab.screen import LabScreen

from .conftest import Live, settle, text
from .fake_run import FakeRun
from .test_curves import playing, press

ALL_SIZES = [(80, 24), (120, 36), (200, 60)]
EXPLAINED = {
    "policy_loss_first": 0.0, "advantage_sum": 0.0, "advantage_mean": 0.0, "updates_skipped": 0.0,
    "zero_std_groups": 0.0,
}  # fmt: skip


def ill(e: ev.Event) -> ev.Event:
    """Half of the answers are cut, and sampler and trainer disagree a little."""
    if isinstance(e, ev.StepDone):
        more = EXPLAINED | {"truncated": 0.7, "sampler_gap": 0.05}
        return dataclasses.replace(e, metrics=e.metrics | more)
    return e


def well(e: ev.Event) -> ev.Event:
    if isinstance(e, ev.StepDone):
        calm = {"entropy": 0.5, "truncated": 0.0, "reward": 0.5 + e.step * 0.01}
        return dataclasses.replace(e, metrics=e.metrics | EXPLAINED | calm)
    return e


def recorded(live: Live, change=ill, **more) -> None:
    for _, event in FakeRun(steps=6, switches={}, end=False, **more).events():
        live.write(change(event))


@pytest.mark.parametrize("size", ALL_SIZES)
async def test_verdicts_and_what_to_try(live: Live, size: tuple[int, int]) -> None:
    recorded(live)
    app = live.app
    async with app.run_test(size=size) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        assert re.search(
            "✗ (2|1 error, 1 warning)", text(app).split("\n")[0]
        )  # the header counts them
        told = await press(app, pilot, "h")
        assert isinstance(app.screen, HealthScreen)
        assert "▸✗ Answers are cut at max_tokens" in told
        assert "! Training–inference mismatch" in told
        assert "graded as wrong" in told and "share cut 0.700" in told
        assert "1 try rollout.max_tokens = 72  now 48" in told
        assert "loss" in told and "Σ Â over the answers" in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        told = await press(app, pilot, "1")
        assert live.engine.sent == [{"do": "set", "key": "rollout.max_tokens", "value": 72}]
        told = await press(app, pilot, "down")
        assert "▸! Training–inference mismatch" in told and "try train.learning_rate" in told
        told = await press(app, pilot, "up", "tab", "pagedown", "pagedown", "down")
        assert "Look at the reward" in told
        await press(app, pilot, "tab", "enter")
        assert isinstance(app.screen, CurvesScreen) and app.screen.view.at == "truncated"
        await press(app, pilot, "escape", "question_mark", "escape", "escape")
        assert isinstance(app.screen, LabScreen) and not app.lab.listeners


async def test_a_replay_says_that_it_sets_nothing(tmp_path) -> None:
    app = playing(tmp_path, FakeRun(steps=8, switches={}), ill)
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        app.context.source.end()  # pyright: ignore
        told = await press(app, pilot, "h")
        assert "apply first fix" not in told.split("\n")[-1]
        assert "a replay computes nothing" in await press(app, pilot, "2")
        line = next(y for y, row in enumerate(told.split("\n")) if "! Training–inference" in row)
        await pilot.click(offset=(6, line))
        await settle(app)
        assert "▸! Training–inference" in text(app)
        # one step back in time, verdicts too
        told = await press(app, pilot, *["comma"] * 7)
        assert "after step 2" in told and "too few steps" in told


async def test_a_setting_of_the_next_run_is_not_sent(live: Live) -> None:
    def change(e: ev.Event) -> ev.Event:
        if isinstance(e, ev.RunStarted):
            scenario = e.scenario | {"model": {"compute": "bfloat16", "quantize": "none"}}
            return dataclasses.replace(e, scenario=scenario)
        if isinstance(e, ev.LaneOpened):
            return dataclasses.replace(e, settings=e.settings | {"tis_cap": 2.0})
        return ill(e)

    recorded(live, change)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "h", "down", "1")
        assert "model.compute = float32" in told and "full precision; for the" in told
        assert "model.compute can only be set when" in told and live.engine.sent == []


async def test_a_healthy_run_and_a_run_without_steps(live: Live) -> None:
    events = [well(e) for _, e in FakeRun(steps=14, switches={}, end=False).events()]
    first = next(i for i, e in enumerate(events) if isinstance(e, ev.LaneOpened))
    live.write(*events[: first + 1])
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "h")
        assert "too few steps" in told and "appears with the first finished step" in told
        await press(live.app, pilot, "down", "1", "2", "tab", "down", "L")
        live.write(*events[first + 1 :])
        told = await press(live.app, pilot, "tab")
        assert "✓ no warnings" in told and "Checked:" in told
        assert "there is no such suggestion" in await press(live.app, pilot, "1")
        told = await press(live.app, pilot, "tab", "pagedown", "pagedown")
        assert "0 by construction" in told or "it is learning" in told
        assert "✗" not in told.split("\n")[0] and " ! " not in told.split("\n")[0]


async def test_several_lanes_are_told_apart(tmp_path) -> None:
    app = playing(tmp_path, FakeRun(steps=6, switches={}, lanes=("main", "other")), ill)
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        app.context.source.end()  # pyright: ignore
        told = await press(app, pilot, "h")
        assert "● main Answers are cut" in told and "▲ other Answers are cut" in told
        assert "Why the loss is what it is ─ main" in told
        told = await press(app, pilot, "L")
        assert "Why the loss is what it is ─ other" in told


async def test_a_click_on_the_header_s_count(live: Live) -> None:
    recorded(live)
    app: LabApp = live.app
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        at = text(app).split("\n")[0].index("✗ 1 error")
        await pilot.click(offset=(at + 3, 0))
        await settle(app)
        assert isinstance(app.screen, HealthScreen)


@pytest.mark.parametrize("width", [80, 90, 100, 110, 120, 140, 200])
@pytest.mark.parametrize("change", [ill, well])
async def test_the_bar_of_the_run_stays_beside_the_badge(live: Live, width: int, change) -> None:
    recorded(live, change)
    app: LabApp = live.app
    async with app.run_test(size=(width, 30)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        row = text(app).split("\n")[0]
        assert cell_len(row) == width and "step 6/6" in row and "100%" in row
        assert row.count("━") >= (BAR if width >= 90 else 4), row
        assert bool(re.search("✗ (2|1 error, 1 warning)", row)) == (change is ill)
        assert bool(re.search(r"\d (error|warning)", row)) == (change is ill and width >= 100)
