"""Where events come from: whatever way is taken through a run, the state is the fold of it."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from grpolab.record import codec, index
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.record.tail import Timed, read
from grpolab.tui import source as sources
from grpolab.tui.app import LabApp
from grpolab.tui.source import Following, Playing, Source

from .conftest import Live, settle, text
from .fake_run import FakeRun


def taken(source: Source, state: LabState, seconds: float = 0.0) -> LabState:
    """What a screen does with a poll."""
    restart, batch = source.poll(seconds)
    if restart:
        state = source.fresh()
    elif state.archive is None:
        state.archive = source.past
    for t, event in batch:
        state.apply(event, t)
    return state


def folded(events: list[Timed]) -> LabState:
    state = LabState()
    for t, event in events:
        state.apply(event, t)
    return state


def same(found: LabState, state: LabState) -> None:
    assert (found.step, found.version, found.phase) == (state.step, state.version, state.phase)
    assert list(found.lanes) == list(state.lanes)
    for name, lane in state.lanes.items():
        mine = found.lanes[name]
        assert mine.last == lane.last and mine.evals == lane.evals
        assert mine.series("reward") == lane.series("reward")
        assert list(mine.rollouts) == list(lane.rollouts)
        for step, view in lane.rollouts.items():
            for field in ("text", "graded", "tokens", "prompts"):
                assert getattr(mine.rollouts[step], field) == getattr(view, field), (step, field)


@pytest.mark.parametrize("ahead", [0, pytest.param(2, marks=pytest.mark.slow), 1000])
def test_moving_the_clock_about(run_dir: Path, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FAR_AHEAD", ahead)
    events, rng = read(run_dir / "events.jsonl"), random.Random(ahead)
    source, state = Playing(run_dir), LabState()
    source.load()
    for _ in range(60):
        match rng.randrange(6):
            case 0 | 1:
                source.scrub(rng.choice((-5, -1, 1, 1, 4)))
            case 2:
                source.seek(rng.uniform(0, source.length))
            case 3:
                rng.choice((source.home, source.end))()
            case 4:
                source.toggle()
        state = taken(source, state, rng.choice((0.0, 0.1, 3.0)))
        same(state, folded([(t, e) for t, e in events if t <= source.clock]))
    source.close()


def test_a_run_that_is_still_being_indexed_can_be_looked_at(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "CHUNK", 1 << 15)
    monkeypatch.setattr(sources, "GLIMPSE", 0.0)
    events = read(run_dir / "events.jsonl")
    source, state, seen = Playing(run_dir), LabState(), set[int]()
    state = taken(source, state, 1.0)
    assert state.run is None and source.clock == 0 and not source.over
    source.end()
    while source.log.read():  # as `load` does, in a thread of its own
        state = taken(source, state)
        seen.add(state.step)
        same(state, folded(events[: source.log.lines]))
    source.load()
    state = taken(source, state)
    assert source.over and state.step == 24 and len(seen) > 5
    same(state, folded(events))
    # at the end it can be played again from where something is to be seen
    source.toggle()
    state = taken(source, state)
    assert source.clock == source.log.start and state.step == 0


def test_indexing_and_looking_at_the_same_time(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "CHUNK", 1 << 14)
    monkeypatch.setattr(sources, "GLIMPSE", 0.0)
    source, state = Playing(run_dir), LabState()
    thread = threading.Thread(target=source.load)
    source.end()
    thread.start()
    while not source.over:
        state = taken(source, state)
        lane = state.lanes.get("main")
        assert lane is None or len(lane.steps) == state.step
    thread.join()
    same(state, folded(read(run_dir / "events.jsonl")))


@pytest.mark.parametrize("far", [1, 1 << 16, 1 << 22])
def test_following_a_run_that_is_long_already(
    tmp_path: Path, run_dir: Path, far: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is there at first, and however much comes at once, also in the midst of a line."""
    monkeypatch.setattr(sources, "FAR_BEHIND", far)
    whole, rng = (run_dir / "events.jsonl").read_bytes(), random.Random(far)
    source, state = Following(tmp_path, "watch"), LabState()
    assert source.poll(0.0) == (False, [])
    path, at = tmp_path / "events.jsonl", len(whole) // 3
    path.write_bytes(whole[:at])
    source.load()
    while at < len(whole):
        for _ in range(rng.choice((1, 4))):
            state = taken(source, state)
        more = rng.choice((100, 5_000, 300_000))
        with path.open("ab") as file:
            file.write(whole[at : at + more])
        at += more
    for _ in range(4):
        state = taken(source, state)
    events = read(path)
    assert state.step == 24 and state.ended is not None
    assert state.lanes["main"].series("reward") == folded(events).lanes["main"].series("reward")
    lane = folded(events).lanes["main"]
    for step, view in state.lanes["main"].rollouts.items():
        assert view.graded == lane.rollouts[step].graded and view.text == lane.rollouts[step].text
    assert [s.digest for s in state.lanes["main"].steps[:3]] == [s.digest for s in lane.steps[:3]]
    source.close()


def test_old_rollouts_of_a_followed_run_are_read_again(tmp_path: Path) -> None:
    events = FakeRun(steps=70, switches={}, prompts=1, group=2).events()
    path = tmp_path / "events.jsonl"
    path.write_text("".join(codec.encode(e, t) + "\n" for t, e in events))
    source, state = Following(tmp_path, "watch"), LabState()
    source.load()
    state = taken(source, state)
    lane = state.lanes["main"]
    assert state.step == 70 and sum("text" in vars(v) for v in lane.rollouts.values()) <= 5
    first = lane.rollout_at(1)
    assert first is not None and first.channel("ratio") is not None
    assert lane.steps[0].memory_phases and lane.steps[0].digest


async def test_a_key_shows_its_step_before_the_next_tick(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        source = replay.context.source
        assert isinstance(source, Playing)
        source.end()
        await settle(replay)
        replay.lab.tick = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
        for _ in range(3):
            await pilot.press("comma")
        assert replay.context.state.step == 22 and "step 22/24" in text(replay)


async def test_a_long_live_run_opens_at_its_end(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "FAR_BEHIND", 1 << 16)
    run = FakeRun(steps=12, switches={4: "ppo"})
    live.record(run, until=lambda e: isinstance(e, ev.Graded) and e.step == 9)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        assert "step 8/12" in text(live.app) and " PPO " in text(live.app)
        live.write(ev.Refused(9, {"do": "evaluate"}, "already under way"))
        await settle(live.app)
        assert "already under way" in text(live.app)
        for _ in range(8):
            await pilot.press("comma")
        await settle(live.app)
        held = live.context.view.held
        assert held is not None and held.step == 1 and "VIEW HELD at step 1" in text(live.app)
