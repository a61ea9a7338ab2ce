"""What stands on the screen at three sizes, and how it gets there."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from grpolab.tui.app import LabApp
from grpolab.tui.source import Playing

from .conftest import settle, text

SIZES = {"small": (80, 24), "middle": (120, 36), "large": (200, 60)}


async def at(app: LabApp, pilot: Pilot, steps: int) -> None:
    app._pilot = pilot  # pyright: ignore
    await settle(app)
    source = app.context.source
    assert isinstance(source, Playing)
    source.scrub(steps)
    await settle(app)


@pytest.mark.parametrize("size", ["middle", "large"])
async def test_everything_is_in_sight_on_a_larger_screen(replay: LabApp, size: str) -> None:
    async with replay.run_test(size=SIZES[size]) as pilot:
        await at(replay, pilot, 12)
        shown = text(replay)
    for title in ("1 Rollouts", "2 Token", "3 Learning", "4 KL", "5 Memory", "6 Algorithm"):
        assert title in shown
    assert "step 12/24" in shown
    assert " PPO " in shown
    assert " GRPO " in shown and "┊" in shown  # the bands over the curve
    assert "<think>" in shown
    assert "critic" in shown or size == "middle"
    assert "advantage" in shown
    assert "min(ρ" in shown  # the formula
    assert "REPLAY" in shown


async def test_a_small_screen_folds_and_loses_nothing(replay: LabApp) -> None:
    wanted = {
        "1": ["Rollouts", "●", "mean r", "<think>"],
        "2": ["token 1/", "entropy", "▲"],
        "3": ["test accuracy", " PPO "],
        "4": ["KL to reference", "per-step KL"],
        "5": ["critic", "5.6 MB", "peak"],
        "6": ["Proximal policy", "clipped", "cold", "kept"],
    }
    async with replay.run_test(size=SIZES["small"]) as pilot:
        await at(replay, pilot, 12)
        for key, words in wanted.items():
            await pilot.press(key)
            await settle(replay)
            shown = text(replay)
            assert [w for w in words if w not in shown] == [], shown
            assert "quit" in shown


async def test_resizing_lays_out_again(replay: LabApp) -> None:
    async with replay.run_test(size=SIZES["small"]) as pilot:
        await at(replay, pilot, 5)
        assert "4 KL ─" not in text(replay)
        await pilot.resize_terminal(*SIZES["large"])
        await settle(replay)
        assert "4 KL ─" in text(replay)
        for width, height in ((120, 36), (40, 10), (20, 6), (3, 2), (80, 24)):
            await pilot.resize_terminal(width, height)
            await settle(replay)
        assert "1 Rollouts" in text(replay)


async def test_no_row_is_wider_than_the_screen(replay: LabApp) -> None:
    async with replay.run_test(size=SIZES["middle"]) as pilot:
        await at(replay, pilot, 12)
        for pane in replay.lab.panes.values():
            assert {strip.cell_length for strip in pane._strips} == {pane.size.width}


async def test_light_theme_and_back(replay: LabApp) -> None:
    async with replay.run_test(size=SIZES["middle"]) as pilot:
        await at(replay, pilot, 3)
        await pilot.press("t")
        await pilot.pause()
        assert not replay.context.palette.dark
        assert replay.theme == "grpolab-light"
        await pilot.press("t")
        await pilot.pause()
        assert replay.theme == "grpolab-contrast"
        await pilot.press("t")
        await pilot.pause()
        assert replay.theme == "grpolab-dark" and replay.context.palette.dark


async def test_without_colour_signs_remain(replay: LabApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replay.run_test(size=SIZES["middle"]) as pilot:
        await at(replay, pilot, 7)
        rollouts, tokens = replay.lab.panes["rollouts"].plain, replay.lab.panes["tokens"].plain
    assert "+" in rollouts or "−" in rollouts
    assert "○" in rollouts and "●" in rollouts
    assert any(mark in tokens for mark in "▲▴▼▾")
