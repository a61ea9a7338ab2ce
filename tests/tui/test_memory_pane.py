"""The memory pane: by owner, by phase, predicted beside measured, and runs from before there was
any of it."""

from __future__ import annotations

import dataclasses

import pytest
from rich.cells import cell_len

from grpolab.record import events as ev
from grpolab.tui.app import LabApp

from .conftest import Live, settle, text
from .fake_run import FakeRun
from .test_screen import SIZES, at

MB = 2**20
ALL = dict.fromkeys(ev.OWNERS, 40 * MB) | {
    owner: (i + 3) * 90 * MB
    for i, owner in enumerate(("backbone", "optimizer", "activations", "fragmentation", "outside"))
}


@pytest.mark.parametrize("size", ["small", "large"])
async def test_owners_phases_and_what_was_predicted(replay: LabApp, size: str) -> None:
    async with replay.run_test(size=SIZES[size]) as pilot:
        await at(replay, pilot, 12)
        await pilot.press("5", "z")
        await settle(replay)
        shown = text(replay)
    assert "predicted 49.6 MB" in shown and "peak 60.0 MB" in shown
    assert "13.0 MB" in shown and "activations" in shown
    for phase in ("rollout", "score", "update", "step"):
        assert phase in shown
    assert "▲ update" in shown  # the phase that held most


async def test_a_low_pane_says_it_all_in_a_few_lines(replay: LabApp) -> None:
    async with replay.run_test(size=SIZES["middle"]) as pilot:
        await at(replay, pilot, 12)
        assert "5 Memory " in text(replay)  # one line, without what is not the model's
        line = replay.lab.panes["memory"].plain
        assert "activations" in line and "non-model" not in line and "\n" not in line
        await pilot.press("5")
        await settle(replay)
        shown = text(replay)
    for word in ("B backbone 13.0M", "X activations 21."):
        assert word in shown


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_every_owner_at_once_fits(live: Live, size: tuple[int, int]) -> None:
    events = [e for _, e in FakeRun(steps=3).events()]
    phases = dict.fromkeys(ev.MEMORY_PHASES, ALL)
    live.write(
        *(
            dataclasses.replace(e, memory=ALL, memory_phases=phases)
            if isinstance(e, ev.StepDone)
            else e
            for e in events
        )
    )
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("5")
        await settle(live.app)
        shown = text(live.app)
    assert {cell_len(row) for row in shown.split("\n")} == {size[0]}
    for owner in ("backbone", "optimizer", "activations", "fragmentation", "non-model"):
        assert owner in shown


async def test_a_run_from_before_there_were_phases(live: Live) -> None:
    events = [e for _, e in FakeRun(steps=3).events()]
    old = ("backbone", "adapters", "critic", "optimizer", "gradients", "kv_cache", "activations")
    for e in events:
        if isinstance(e, ev.StepDone):
            held = {k: e.memory[k] for k in (*old, "other")}
            e = dataclasses.replace(e, memory=held, memory_phases={})
        elif isinstance(e, ev.RunStarted):
            e = dataclasses.replace(e, predicted_memory={})
        live.write(e)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("5")
        await settle(live.app)
        shown = text(live.app)
    assert "activations" in shown and "predicted" not in shown and "score" not in shown


async def test_before_the_first_step_the_prediction_stands(live: Live) -> None:
    live.record(FakeRun(steps=3), until=lambda e: isinstance(e, ev.RolloutStarted))
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("5")
        await settle(live.app)
        shown = text(live.app)
    assert "predicted 49.6 MB" in shown and "X activations 23.0M" in shown
    assert "measured in every step" in shown
