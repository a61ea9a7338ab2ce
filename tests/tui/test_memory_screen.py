"""The memory screen: stacked over the steps, by owner, by phase, predicted beside measured."""

from __future__ import annotations

import dataclasses

import pytest
from rich.cells import cell_len

from grpolab.record import events as ev
from grpolab.record.lane_state import LaneState
from grpolab.tui.app import LabApp
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.memory.model import LETTERS, Rows, draw, stack
from grpolab.tui.memory.screen import MemoryScreen
from grpolab.tui.memory.view import differs
from grpolab.tui.widgets.palette import DARK

from .conftest import Live, settle, text
from .fake_run import FakeRun
from .test_curves import playing, press

MB = 2**20


def screen(app: LabApp) -> MemoryScreen:
    assert isinstance(app.screen, MemoryScreen)
    return app.screen


async def opened(app: LabApp, pilot) -> str:
    app._pilot = pilot
    await settle(app)
    app.context.source.end()  # pyright: ignore
    await settle(app)
    told = await press(app, pilot, "M")
    screen(app)
    return told


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_owners_phases_prediction_and_every_key(
    replay: LabApp, size: tuple[int, int]
) -> None:
    async with replay.run_test(size=size) as pilot:
        told = await opened(replay, pilot)
        assert "each step's peak" in told and "cursor at step 24" in told and "→PPO" in told
        assert " B  backbone       13.0 MB" in told and "predicted 49.6 MB" in told
        told += await press(replay, pilot, "tab")
        for phase in ("rollout", "score", "update", "step"):
            assert phase in told
        for keys in ("down", "up up", "left", "shift+left", "home", "right shift+right", "1",
                     "end 1 L"):  # fmt: skip
            told = await press(replay, pilot, *keys.split())
            assert {cell_len(row) for row in told.split("\n")} == {size[0]}, keys
        await pilot.resize_terminal(30, 9)
        await settle(replay)
        await pilot.resize_terminal(*size)
        await press(replay, pilot, "question_mark", "escape", "escape")
        assert isinstance(replay.screen, LabScreen) and not replay.lab.listeners


async def test_cursor_phase_and_shares(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        told = await opened(replay, pilot)
        assert "C  critic            none" in told  # after PPO it is gone
        while screen(replay).at != 12:
            await press(replay, pilot, "left")
        told = await press(replay, pilot, "up")
        assert screen(replay).phase == "step" and "phase step" in told
        await press(replay, pilot, "up")
        told = await press(replay, pilot)
        assert screen(replay).phase == "update" and "cursor at step 12" in told
        assert "C  critic          5.6 MB" in told and "new" in told  # nobody had predicted it
        told = await press(replay, pilot, "1")
        assert "as shares" in told and "100% ┤" in told
        assert "·  other" in told
        told = await press(replay, pilot, "1", "2")
        assert "without non-model" in told and "·  other" not in told
        await press(replay, pilot, "end")
        assert screen(replay).at is None
        row = next(y for y, r in enumerate(text(replay).split("\n")) if "▸update" in r)
        await pilot.click(offset=(70, row - 2))
        await settle(replay)
        assert screen(replay).phase == "score"
        await pilot.click(screen(replay).parts[0], offset=(13, 5))
        await settle(replay)
        assert screen(replay).at == 1


async def test_a_prediction_far_above_does_not_press_the_stack_flat(tmp_path) -> None:
    def change(e: ev.Event) -> ev.Event:
        if isinstance(e, ev.RunStarted):
            return dataclasses.replace(e, predicted_memory={"update": {"backbone": 9000 * MB}})
        return e

    app = playing(tmp_path, FakeRun(steps=6, switches={}), change)
    async with app.run_test(size=(120, 36)) as pilot:
        told = await opened(app, pilot)
        assert "predicted 8.8 GB (above this scale)" in told and "╌" not in told


async def test_old_runs_and_runs_without_a_step(live: Live) -> None:
    events = [e for _, e in FakeRun(steps=3, switches={}, end=False).events()]
    old = [
        dataclasses.replace(e, memory_phases={}) if isinstance(e, ev.StepDone) else
        dataclasses.replace(e, predicted_memory={}) if isinstance(e, ev.RunStarted) else e
        for e in events
    ]  # fmt: skip
    first = next(i for i, e in enumerate(old) if isinstance(e, ev.LaneOpened))
    live.write(*old[: first + 1])
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "M")
        assert "appears with the first step" in told
        await press(live.app, pilot, "left", "right", "home", "end", "down", "1", "L", "tab")
        live.write(*old[first + 1 :])
        told = await press(live.app, pilot, "tab")
        assert "backbone" in told and "predicted" not in told
        assert "recorded without phases" in await press(live.app, pilot, "tab")


# --- the stack itself ---


def test_every_owner_has_a_letter_of_its_own() -> None:
    assert set(LETTERS) == set(ev.OWNERS) and len(set(LETTERS.values())) == len(LETTERS)


def lane(*held: dict[str, int], phases: dict[int, dict[str, dict[str, int]]] | None = None):
    out = LaneState("main", "grpo", "paper", {})
    for i, memory in enumerate(held, 1):
        told = (phases or {}).get(i, {})
        out.steps.append(ev.StepDone(i, "main", "grpo", {}, {}, 1, 1, memory, 0, "", told))
    return out


def test_a_stack_is_as_high_as_its_bytes() -> None:
    rows = Rows(lane({"backbone": 10, "adapters": 10}, {"backbone": 10, "optimizer": 30}))
    made = stack(rows, "peak", 4)
    lines = [line.plain for line in draw(DARK, made, 8, axis=False)]
    assert made.top == 40 and lines == ["  OO"] * 4 + ["AAOO"] * 2 + ["BBBB"] * 2
    assert [made.column(s) for s in (0, 1, 2, 9)] == [0, 1, 3, 3]
    full = [line.plain for line in draw(DARK, made, 4, axis=False, shares=True)]
    assert full == ["AAOO", "AAOO", "BBOO", "BBBB"]
    high = stack(rows, "peak", 4, 80)
    dashed = [line.plain for line in draw(DARK, high, 8, line_at=79, axis=False)]
    assert dashed[0] == "╌╌╌╌" and dashed[-1] == "BBBB"
    assert stack(rows, "peak", 4, 0, ("optimizer",)).top == 20


def test_a_column_of_several_steps_shows_the_one_that_held_most() -> None:
    made = stack(Rows(lane(*({"other": n} for n in (1, 9, 2, 3)))), "peak", 2)
    assert [sum(h.values()) for h in made.held] == [9, 3] and list(made.steps) == [2, 4]
    assert stack(Rows(None), "peak", 5).held == []


def test_a_phase_that_is_not_in_every_step_stays_as_it_was_last_told() -> None:
    all_of = {i: {"rollout": {"other": i}} for i in (1, 2, 3)}
    rows = Rows(lane({}, {"other": 4}, {}, phases=all_of | {2: {"evaluate": {"other": 5}}}))
    assert rows.phases() == ["peak", "evaluate", "rollout"]
    assert [rows.held(i, "evaluate") for i in range(3)] == [{}, {"other": 5}, {"other": 5}]
    assert [rows.held(i, "rollout") for i in range(3)] == [{"other": 1}, {"other": 1}, {"other": 3}]
    assert rows.held(1, "peak") == {"other": 4} and rows.totals()[1] == 4
    assert [rows.upto(x) for x in (0, 1, 3, 9, None)] == [-1, 0, 2, 2, 2]


def test_how_a_prediction_differs_is_said_with_its_sign() -> None:
    assert [differs(*x) for x in ((10, 10), (15, 10), (5, 10), (5, 0), (0, 0))] == [
        "=", "+50%", "−50%", "new", "",
    ]  # fmt: skip
