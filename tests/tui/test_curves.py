"""The curves screen: choosing, axes, smoothing, scale, cursor, range, lanes, seeds, the mouse."""

from __future__ import annotations

import dataclasses
import math
from array import array
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.analysis.curves import thin
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.curves.screen import CurvesScreen
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Playing
from grpolab.tui.widgets.palette import DARK
from grpolab.tui.widgets.plot import Chart, Rule, Stroke, draw, rows, rule_labels, x_axis, y_ticks

from .conftest import Live, settle, text
from .fake_run import FakeRun

SIZES = [(80, 24), (200, 60)]  # the others are at 120 × 36


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    return text(app)


async def opened(app: LabApp, pilot: Pilot[int]) -> str:
    app._pilot = pilot  # pyright: ignore
    await settle(app)
    if isinstance(app.context.source, Playing):
        app.context.source.end()
    await settle(app)
    told = await press(app, pilot, "u")
    assert isinstance(app.screen, CurvesScreen)
    return told


def screen(app: LabApp) -> CurvesScreen:
    assert isinstance(app.screen, CurvesScreen)
    return app.screen


def playing(tmp_path: Path, run: FakeRun, change=lambda e: e) -> LabApp:
    lines = [codec.encode(change(e), t) + "\n" for t, e in run.events()]
    (tmp_path / "events.jsonl").write_text("".join(lines), encoding="utf-8")
    source = Playing(tmp_path)
    source.load()
    source.playing = False
    return LabApp(AppContext(source, tmp_path))


@pytest.mark.parametrize("size", SIZES)
async def test_every_key_at_every_size(replay: LabApp, size: tuple[int, int]) -> None:
    async with replay.run_test(size=size) as pilot:
        told = await opened(replay, pilot)
        assert "reward" in told and "by step" in told and "→PPO" in told and "steps" in told
        for keys in (
            "down enter up left right shift+left shift+right",
            "home right_square_bracket left_square_bracket underscore backslash asterisk",
            "asterisk plus minus 0",
            "end number_sign tab", "tab pagedown pageup 1 t t question_mark escape",
        ):  # fmt: skip
            told = await press(replay, pilot, *keys.split())
            assert {cell_len(row) for row in told.split("\n")} == {size[0]}, keys
            screen(replay)
        await pilot.resize_terminal(100, 30)
        await settle(replay)
        await pilot.resize_terminal(24, 7)
        await settle(replay)
        await pilot.resize_terminal(*size)
        told = await press(replay, pilot, "escape")
        assert isinstance(replay.screen, LabScreen) and not replay.lab.listeners


async def test_metrics_are_chosen_and_explained(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await opened(replay, pilot)
        view = screen(replay).view
        while view.at != "entropy":
            await press(replay, pilot, "down")
        told = await press(replay, pilot, "enter")
        assert "▸entropy" in told and "■ entropy" in told and "mean entropy of" in told
        assert view.chosen[-1] == "entropy"
        told = await press(replay, pilot, "enter")
        assert "□ entropy" in told and "entropy" not in view.chosen
        view.chosen = []
        assert "no metric selected" in await press(replay, pilot, "left")
        # it opens where it was left
        view.chosen, view.axis, view.smooth = ["entropy"], "token", 0.8
        await press(replay, pilot, "escape")
        told = await press(replay, pilot, "u")
        assert "by token · smoothed 0.8" in told and "tokens sampled" in told


async def test_the_cursor_says_what_was_measured(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await opened(replay, pilot)
        lane = replay.context.state.lanes["main"]
        told = await press(replay, pilot, "home", "right")
        step = screen(replay).view.step(replay.context.state, "main")
        assert step is not None and step <= 2 and f"cursor at step {step}" in told
        reward = lane.steps[step - 1].metrics["reward"]
        assert f"● {reward:.2f}" in told or f"● {reward:.3f}" in told
        for axis in ("update", "sample", "token", "time"):
            told = await press(replay, pilot, "underscore")
            assert f"by {axis}" in told and f"cursor at step {step}" in told
        before = screen(replay).view.step(replay.context.state, "main")
        await press(replay, pilot, "right")
        assert screen(replay).view.step(replay.context.state, "main") == (before or 0) + 1


async def test_smoothing_shows_the_raw_line_behind(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await opened(replay, pilot)
        view = screen(replay).view
        assert all(s.raw is None for s in view._strokes(
            replay.context.state, "reward", view.xlim(replay.context.state), DARK, 60))  # fmt: skip
        told = await press(replay, pilot, "right_square_bracket")
        assert "smoothed 0.5" in told and " raw " in told
        await press(replay, pilot, "left_square_bracket", "left_square_bracket")
        assert view.smooth == 0.98


async def test_range_zoom_and_back(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await opened(replay, pilot)
        view, state = screen(replay).view, replay.context.state
        whole = view.xlim(state)
        told = await press(replay, pilot, "shift+left", "space", "shift+left", "shift+left")
        assert "range started" in told
        told = await press(replay, pilot, "space")
        low, high = view.xlim(state)
        assert whole[0] < low < high < whole[1] and "zoomed 1×" in told
        await press(replay, pilot, "plus")
        assert len(view.zooms) == 2
        await press(replay, pilot, "escape")
        assert view.xlim(state) == (low, high)
        await press(replay, pilot, "space", "escape")  # a begun range is let go first
        assert view.marked is None and view.xlim(state) == (low, high)
        await press(replay, pilot, "minus", "minus", "minus", "minus", "minus")
        assert view.xlim(state) == whole and not view.zooms
        await press(replay, pilot, "plus", "plus", "0")
        assert view.xlim(state) == whole


async def test_the_mouse_sets_the_cursor_zooms_and_chooses(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await opened(replay, pilot)
        charts, view, state = screen(replay).charts, screen(replay).view, replay.context.state
        await pilot.click(charts, offset=(2 + 9 + 40, 6))
        await settle(replay)
        low, high = view.whole(state)
        assert view.cursor is not None and low < view.cursor < high
        await pilot.mouse_down(charts, offset=(2 + 9 + 10, 6))
        await pilot.mouse_up(charts, offset=(2 + 9 + 50, 6))
        await settle(replay)
        assert len(view.zooms) == 1 and view.xlim(state)[0] > low
        line = next(y for y, row in enumerate(text(replay).split("\n")) if "□ loss" in row)
        await pilot.click(offset=(100, line))
        await settle(replay)
        assert "loss" in view.chosen and view.at == "loss"
        bottom = replay.size.height - 1
        at = text(replay).split("\n")[bottom].index(" log ")
        await pilot.click(offset=(at + 1, bottom))
        await settle(replay)
        assert view.log


async def test_log_scale_says_what_it_cannot_show(tmp_path: Path) -> None:
    def change(e: ev.Event) -> ev.Event:
        if isinstance(e, ev.StepDone):
            loss = -1.0 if e.step % 4 == 0 else 0.01 * e.step
            more = {"loss": loss, "policy_loss": -1.0, "grad_norm": math.nan}
            return dataclasses.replace(e, metrics=e.metrics | more)
        return e

    app = playing(tmp_path, FakeRun(steps=12, switches={}), change)
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        view = screen(app).view
        view.chosen = ["loss", "policy_loss", "grad_norm"]
        view.at = "loss"
        told = await press(app, pilot, "asterisk")
        assert "3 values ≤ 0 are not shown" in told
        assert "no value above 0 here" in told and "12 not finite" in told
        told = await press(app, pilot, "asterisk")
        assert "≤ 0" not in told


async def test_lanes_keep_their_looks_and_can_be_hidden(tmp_path: Path) -> None:
    app = playing(tmp_path, FakeRun(steps=8, switches={4: "ppo"}, lanes=("main", "other")))
    async with app.run_test(size=(120, 36)) as pilot:
        told = await opened(app, pilot)
        assert "● main" in told and "▲ other" in told
        told = await press(app, pilot, "1")
        assert "– main" in told and "hidden" in told
        view = screen(app).view
        assert [x.name for x in view.shown(app.context.state)] == ["other"]
        readings = view.readings(app.context.state, "reward", DARK)
        assert [(r.glyph, r.colour) for r in readings] == [("▲", DARK.lane(1))]
        told = await press(app, pilot, "2")  # none left: all again
        assert not view.hidden
        line = next(y for y, row in enumerate(told.split("\n")) if "2 ▲ other" in row)
        await pilot.click(offset=(102, line))
        await settle(app)
        assert view.hidden == {"other"}


async def test_seeds_become_a_band(tmp_path: Path) -> None:
    app = playing(tmp_path, FakeRun(steps=8, switches={}, lanes=("grpo-0", "grpo-1", "grpo-2")))
    async with app.run_test(size=(120, 36)) as pilot:
        told = await opened(app, pilot)
        assert "░" in told and "●" in told
        readings = screen(app).view.readings(app.context.state, "reward", DARK)
        values = [lane.steps[-1].metrics["reward"] for lane in app.context.state.lanes.values()]
        assert len(readings) == 1 and readings[0].label == "grpo ×3"
        assert readings[0].value == pytest.approx(sum(values) / 3)
        assert readings[0].spread == pytest.approx((min(values), max(values)))
        told = await press(app, pilot, "number_sign")
        assert "░" not in told and "▲ grpo-1" in told


async def test_settings_and_forks_are_marked(live: Live) -> None:
    live.record(FakeRun(steps=6, switches={}, end=False))
    live.write(
        ev.SettingChanged(3, "main", "train.learning_rate", 1e-3, 5e-4, "command"),
        ev.LaneOpened("branch", "ppo", "paper", {}, 4, parent="main"),
    )
    async with live.app.run_test(size=(120, 36)) as pilot:
        told = await opened(live.app, pilot)
        assert "⑂branch from" in told


async def test_it_follows_a_live_run_and_goes_to_a_step(live: Live) -> None:
    events = [e for _, e in FakeRun(steps=6, switches={}, end=False).events()]
    ends = [i for i, e in enumerate(events) if isinstance(e, ev.StepDone)]
    live.write(*events[: ends[2] + 1])
    async with live.app.run_test(size=(120, 36)) as pilot:
        told = await opened(live.app, pilot)
        assert "cursor at step 3" in told
        live.write(*events[ends[2] + 1 :])
        told = await press(live.app, pilot)
        assert "cursor at step 6" in told
        await press(live.app, pilot, "home", "right", "j")
        assert isinstance(live.app.screen, LabScreen)
        assert live.context.view.held is not None and live.context.view.held.step == 1


async def test_a_replay_goes_to_the_cursor_s_step(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await opened(replay, pilot)
        await press(replay, pilot, "home", "right", "right", "right", "right")
        step = screen(replay).view.step(replay.context.state, "main")
        await press(replay, pilot, "j")
        assert isinstance(replay.screen, LabScreen) and replay.context.state.step == step
        await press(replay, pilot, "v", "u", "home", "right", "j")  # what was held is let go
        assert replay.context.view.held is None and replay.context.state.step == 1


async def test_before_anything_is_measured(live: Live) -> None:
    live.record(FakeRun(steps=2), until=lambda e: isinstance(e, ev.LaneOpened))
    async with live.app.run_test(size=(80, 24)) as pilot:
        told = await opened(live.app, pilot)
        assert "curves start with the first evaluation" in told
        signs = ("underscore", "right_square_bracket", "asterisk", "plus")
        for key in ("right", "enter", *signs, "space", "space", "down", "home", "end"):
            await press(live.app, pilot, key)
        told = await press(live.app, pilot, "j")
        assert "no step is finished there yet" in told


# --- the chart itself ---


def stroke(n: int, index: int = 0, raw: bool = False, lift: float = 1.2) -> Stroke:
    x = array("d", range(n))
    y = array("d", (math.sin(9 * i / max(n, 1) + index) + lift for i in range(n)))
    line = thin(x, y, 150)
    return Stroke(line, line if raw else None, DARK.lane(index), "●▲■◆"[index % 4], index)


def plain(chart: Chart, width: int = 60, height: int = 10, **more) -> list[str]:
    return [line.plain for line in rows(DARK, draw(chart, width, height), **more)]


def test_rows_are_as_many_and_as_wide_as_asked() -> None:
    for n in (0, 1, 2, 50):
        for log in (False, True):
            chart = Chart([stroke(n), stroke(n, 1)], (0.0, max(1.0, n - 1.0)), log)
            found = plain(chart, cursor=0.5)
            assert len(found) == 10 and (n == 0 or {cell_len(r) for r in found} == {60})
    assert plain(Chart([], (0.0, 1.0)))[5].strip() == "not measured here"
    assert len(plain(Chart([stroke(9)], (0.0, 9.0)), 9, 1)) == 1


def test_glyphs_rules_cursor_and_range_are_seen_without_colour() -> None:
    chart = Chart([stroke(50), stroke(50, 1)], (0.0, 49.0), False, [Rule(25.0, "→PPO")])
    found = plain(chart, cursor=40.0, marked=30.0)
    joined = "\n".join(found)
    assert "●" in joined and "▲" in joined and "┊" in joined and "│" in joined and "·" in joined
    label = rule_labels(DARK, chart, 60).plain
    column = label.index("→PPO")
    assert any(row[column] == "┊" for row in found)
    assert x_axis(DARK, chart.xlim, 60, "steps").plain.rstrip().endswith("steps")
    assert "2.5" not in x_axis(DARK, (0.0, 9.0), 90, "steps").plain
    assert "2.5" in x_axis(DARK, (0.0, 9.0), 70, "seconds", whole=False).plain


def test_lines_differ_by_dashes() -> None:
    flat = [Stroke(([0.0, 49.0], [1.0, 1.0]), None, "text", "x", i) for i in range(4)]
    drawn = [plain(Chart([s], (0.0, 49.0)), 60, 5) for s in flat]
    assert len({tuple(d) for d in drawn}) == 4


def test_ticks_are_round_and_inside() -> None:
    assert y_ticks((0.0, 1.0), 12, False) == {11: "0", 8: "0.25", 6: "0.5", 3: "0.75", 0: "1"}
    assert y_ticks((1e-4, 1.0), 13, True) == {12: "0.0001", 9: "0.001", 6: "0.01", 3: "0.1",
                                              0: "1"}  # fmt: skip
    assert len(y_ticks((2.0, 3.0), 9, True)) == 3  # no power of ten between them
    assert y_ticks((1.0, 1.0), 12, False) == {}
    assert all(0 <= row < 9 for row in y_ticks((-3.2, 17.0), 9, False))
