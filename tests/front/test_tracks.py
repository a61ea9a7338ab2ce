"""Curves out of steps: axes, smoothing, thinning, seeds, and what a resume takes back."""

from __future__ import annotations

import math
from array import array

import pytest

from grpolab.analysis.curves import EMPTY, Tracks, band, groups, squeeze, thin, within
from grpolab.record import events as ev
from grpolab.record.history import AXES
from grpolab.record.state import LabState


def lab(*names: str, algorithm: str = "grpo") -> LabState:
    state = LabState()
    scenario = {"rollout": {"prompts": 2, "group_size": 4}}
    state.apply(ev.RunStarted(1, "r", scenario, 0, "cpu", 1, 60))
    for name in names or ("main",):
        state.apply(ev.LaneOpened(name, algorithm, "paper", {}, 0))
    return state


def step(state: LabState, i: int, lane: str = "main", **metrics: float) -> None:
    group = 8 if state.lanes[lane].changes else 4
    state.apply(ev.RolloutStarted(i, lane, "grpo", ["a", "b"], ["", ""], group, 9))
    seconds = {"rollout": 0.5, "update": 0.25}
    state.apply(
        ev.StepDone(i, lane, "grpo", metrics, seconds, 3, 100 * i, {"other": 7}, 7, ""), float(i)
    )


def test_every_axis_counts_what_it_says() -> None:
    state = lab()
    tracks = Tracks(state, state.lanes["main"])
    step(state, 1, reward=0.1)
    step(state, 2, reward=0.2, groups_replaced=1.0)
    state.apply(ev.SettingChanged(2, "main", "rollout.group_size", 4, 8, "command"))
    step(state, 3, reward=0.3)
    tracks.refresh()
    found = {axis: list(tracks.curve("reward", axis).x) for axis in AXES}
    assert found["step"] == [1, 2, 3] and found["update"] == [3, 6, 9]
    assert found["token"] == [100, 300, 600]
    assert found["sample"] == [8, 8 + 12, 20 + 16]
    assert len(found["time"]) == 3 and found["time"][0] < found["time"][2]
    assert tracks.step_at(300, "token") == 2 and tracks.step_at(299, "token") == 1
    assert tracks.step_at(99, "token") is None
    assert tracks.at(2, "update") == 6 and tracks.at(0, "update") == 0


def test_what_is_sparse_keeps_its_place_and_what_is_no_number_is_counted() -> None:
    state = lab()
    tracks = Tracks(state, state.lanes["main"])
    for i in range(1, 10):
        extra = {"kl_ref": float(i)} if i % 3 == 0 else {}
        step(state, i, reward=math.nan if i == 4 else 1.0, **extra)
        tracks.refresh()
        tracks.curve("kl_ref", "token")  # read as it grows
    assert list(tracks.curve("kl_ref", "token").x) == [600, 2100, 4500]
    reward = tracks.curve("reward")
    assert reward.broken == 1 and len(reward.x) == 8 and 4 not in reward.x
    assert tracks.curve("nothing") is EMPTY
    assert tracks.names()[:2] == ["reward", "kl_ref"] and "step memory" in tracks.names()


def test_evaluations_stand_where_their_step_ended() -> None:
    state = lab()
    tracks = Tracks(state, state.lanes["main"])
    state.apply(ev.Evaluated(0, "main", 0.2, 0.3, 0.4, 64, 1.0))
    step(state, 1, reward=1.0)
    step(state, 2, reward=1.0)
    state.apply(ev.Evaluated(2, "main", 0.6, 0.7, 0.8, 64, 1.0))
    tracks.refresh()
    curve = tracks.curve("held-out accuracy", "token", 0.5)
    assert list(curve.x) == [0, 300] and list(curve.y) == [0.2, 0.6]
    assert list(curve.smooth) == pytest.approx([0.2, (0.2 * 0.25 + 0.6 * 0.5) / 0.75])
    assert tracks.span("token") == (0, 300)


def test_smoothing_is_the_same_read_at_once_or_step_by_step() -> None:
    state = lab()
    slow = Tracks(state, state.lanes["main"])
    for i in range(1, 30):
        step(state, i, reward=math.sin(i))
        slow.refresh()
        slow.curve("reward", "step", 0.9)
    fast = Tracks(state, state.lanes["main"])
    fast.refresh()
    assert slow.curve("reward", "step", 0.9).smooth == fast.curve("reward", "step", 0.9).smooth
    mean, left = 0.0, 1.0
    for i in range(1, 30):
        mean, left = 0.9 * mean + 0.1 * math.sin(i), left * 0.9
    assert fast.curve("reward", "step", 0.9).smooth[-1] == pytest.approx(mean / (1 - left))
    assert fast.curve("reward").smooth is fast.curve("reward").y


def test_after_a_resume_what_was_undone_is_gone() -> None:
    state = lab()
    tracks = Tracks(state, state.lanes["main"])
    for i in range(1, 6):
        step(state, i, reward=float(i))
    tracks.refresh()
    state.apply(ev.Resumed(3))
    for i in range(4, 8):
        step(state, i, reward=float(-i))
    tracks.refresh()
    assert list(tracks.curve("reward").y) == [1, 2, 3, -4, -5, -6, -7]


def test_thinning_keeps_the_extremes() -> None:
    x = array("d", range(1000))
    y = array("d", (math.sin(i / 10) for i in range(1000)))
    y[500], y[501] = 9.0, -9.0
    xs, ys = thin(x, y, 20)
    assert len(xs) <= 40 and max(ys) == 9.0 and min(ys) == -9.0 and xs == sorted(xs)
    assert thin(x[:5], y[:5], 20) == (x[:5].tolist(), y[:5].tolist())
    assert thin(x[:0], y[:0], 20) == ([], [])
    seen = within(x, (100.5, 200.5))
    assert (x[seen][0], x[seen][-1]) == (100, 201)


def test_lanes_that_differ_by_a_number_are_seeds() -> None:
    state = lab("grpo-0", "grpo-1", "grpo-12", "other", "s1")
    state.apply(ev.LaneOpened("grpo-2", "ppo", "paper", {}, 0))
    found = [(g.name, g.lanes) for g in groups(list(state.lanes.values()))]
    assert found == [
        ("grpo", ("grpo-0", "grpo-1", "grpo-12")), ("other", ("other",)), ("s1", ("s1",)),
        ("grpo-2", ("grpo-2",)),
    ]  # fmt: skip


def test_a_band_is_mean_lowest_and_highest() -> None:
    state = lab("a-0", "a-1")
    for i in range(1, 4):
        step(state, i, "a-0", reward=float(i))
    for i in range(1, 3):
        step(state, i, "a-1", reward=float(i + 2))
    curves = []
    for lane in state.lanes.values():
        tracks = Tracks(state, lane)
        tracks.refresh()
        curves.append(tracks.curve("reward"))
    found = band(curves)
    assert list(found.x) == [1, 2] and list(found.mean) == [2, 3]
    assert list(found.low) == [1, 2] and list(found.high) == [3, 4]
    x, mean, low, high = squeeze(found.x, found.mean, found.low, found.high, 1)
    assert (len(x), mean, low, high) == (1, [2.5], [1], [4])
    assert list(band([]).x) == []
