"""Channels: which there are, those that follow from others, two at once, a clip in words."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from textual.pilot import Pilot

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.record.state import LabState
from grpolab.tui import quantities
from grpolab.tui.app import LabApp
from grpolab.tui.widgets.token_rows import Scale

from .conftest import Live, settle, text
from .fake_run import FakeRun

PACKED = {
    "clip": [1.0, 0.0, -1.0],
    "push": [0.0, -0.5, 0.0],
    "advantage": [1.0, -0.5, -0.7],
    "ratio": [1.5, 1.0, 0.5],
    "logprob": [-0.5, -0.1, -2.0],
}


def pack(values: list[float]) -> str:
    return codec.pack(struct.pack(f"<{len(values)}e", *values))


def small(**more: list[float]) -> tuple[LaneState, RolloutView]:
    """A lane with one answer of three tokens, of two steps."""
    state = LabState()
    channels = {k: pack(v) for k, v in (PACKED | more).items()}
    for event in (
        ev.LaneOpened("main", "grpo", "paper", {"beta": 0.0}, 0),
        ev.RolloutStarted(1, "main", "grpo", ["2+2="], ["easy"], 1, 8),
        ev.Graded(
            1, "main", ["4 ok"], [1.0], [{"accuracy": 1.0}], [True], ["4"], [3], [True],
            steps=[[(0, 0.5), (2, 1.0)]],
        ),
        ev.Tokens(1, "main", [["4", " ", "ok"]], channels),
    ):  # fmt: skip
        state.apply(event)
    lane = state.lanes["main"]
    return lane, lane.rollouts[1]


def test_what_follows_from_what_was_recorded() -> None:
    lane, r = small()
    assert quantities.offered(lane, r) == [
        "advantage", "push", "ratio", "clip", "kl_old", "logprob", "process",
    ]  # fmt: skip
    d = [math.log(x) for x in PACKED["ratio"]]
    wanted = [math.exp(x) - 1 - x for x in d]
    assert quantities.values(lane, r, "kl_old", 0) == pytest.approx(wanted)
    assert quantities.values(lane, r, "process", 0) == [0.5, 1.0, 1.0]
    assert quantities.values(lane, r, "value", 0) == quantities.values(lane, r, "td", 0) == []
    assert quantities.values(lane, r, "ratio", 7) == []


def test_the_td_error_is_there_with_a_critic() -> None:
    value = [0.25, 0.5, 0.75]
    lane, r = small(value=value)
    lane.algorithm, r.algorithm = "ppo", "ppo"
    lane.settings = {"beta": 0.0, "gamma": 0.5}
    lane.history = [(0, "ppo", "paper", lane.settings)]
    assert "td" in quantities.offered(lane, r)
    found = quantities.values(lane, r, "td", 0)
    assert found == pytest.approx([0.5 * 0.5 - 0.25, 0.5 * 0.75 - 0.5, 1.0 - 0.75])


def test_a_clip_has_a_glyph_for_each_bound() -> None:
    scale = Scale("clip", PACKED["clip"])
    assert [scale.look(x)[2] for x in PACKED["clip"]] == ["⊤", "·", "⊥"]
    assert [scale.look(x)[0] for x in PACKED["clip"]] == ["plus", "faint", "minus"]


def test_after_is_a_channel_once_it_was_measured() -> None:
    lane, r = small()
    assert "after" not in quantities.offered(lane, r)
    r.after = ev.After(1, "main", pack([0.5, -0.25, 0.0]), 0.1)
    assert quantities.offered(lane, r)[-1] == "after"
    assert quantities.values(lane, r, "after", 0) == [0.5, -0.25, 0.0]


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_two_channels_at_once(live: Live, size: tuple[int, int]) -> None:
    live.record(FakeRun(steps=3, switches={}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "2")
        view = live.context.view
        assert view.second == "" and "marks " not in text(live.app)
        await press(live.app, pilot, "x")
        assert view.second and view.second != view.channel
        seen = text(live.app)
        assert f"marks {view.second}" in seen
        first = view.chosen(live.context.state).name
        assert view.channel == "auto" and f"auto: {first} + {view.second}" in seen
        while view.channel != view.second:  # the two never are the same
            await press(live.app, pilot, "c")
        assert "marks " not in text(live.app)
        await press(live.app, pilot, "x")
        assert view.second != view.channel
        names = {""} | {c for c in view.channels(live.context.state) if c != view.channel}
        found = set()
        for _ in names:
            found.add(view.second)
            await press(live.app, pilot, "X")
        assert found == names


async def test_why_a_clip_holds_the_token_is_said(live: Live) -> None:
    run = FakeRun(steps=2, switches={}, end=False)
    live.record(run)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        view, state = live.context.view, live.context.state
        r = view.scored(state)
        assert r is not None
        ratio, advantage = r.channel("ratio"), r.channel("advantage")
        assert ratio is not None and advantage is not None
        row, at = next(
            (i, t)
            for i, xs in enumerate(ratio)
            for t, x in enumerate(xs)
            if (x > 1.25 and advantage[i][t] > 0) or (x < 0.75 and advantage[i][t] < 0)
        )
        view.prompt, view.answer = divmod(row, r.group_size)
        view.token = at
        live.app.lab.moved()
        await press(live.app, pilot, "2", "z")
        seen = text(live.app)
        positive = advantage[row][at] > 0
        assert f"clipped ({'upper' if positive else 'lower'}): ρ = " in " ".join(seen.split())
        assert ("above 1.2 and Â > 0" if positive else "below 0.8 and Â < 0") in seen


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await settle(app)


async def test_a_recorded_run_of_before_has_what_it_has(run_dir: Path, replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await press(replay, pilot, "end", "2", "x")
        assert "push" not in replay.context.view.channels(replay.context.state)
        assert "kl_old" in replay.context.view.channels(replay.context.state)
        assert "per-step KL" in text(replay)
