"""The fold at any place of an indexed run is the fold of the events up to there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from tui.fake_run import FakeRun

from grpolab.record import codec, index
from grpolab.record import events as ev
from grpolab.record.history import AXES
from grpolab.record.index import RunLog
from grpolab.record.lane_state import LaneState
from grpolab.record.seek import LOADED, Recall, Stored
from grpolab.record.state import KEPT_ROLLOUTS, LabState
from grpolab.record.tail import Timed, read


def interrupted(steps: int = 12, back: int = 5, died: int = 8) -> list[ev.Event]:
    """A run of two lanes that died in the middle of a step, was resumed, and was resumed again."""
    events = [e for _, e in FakeRun(steps=steps, lanes=("main", "öther \"x"), switches={6: "ppo"},
                                    prompts=2, group=2, evaluate_every=3).events()]  # fmt: skip

    def reached(step: int, kind: type[ev.Event]) -> int:
        return next(i for i, e in enumerate(events) if isinstance(e, kind) and e.step == step)  # pyright: ignore

    saved, broken = reached(back + 1, ev.RolloutStarted), reached(died, ev.Graded)
    lanes = [e for e in events if isinstance(e, ev.LaneOpened)]
    pretraining = [
        ev.PhaseChanged("sampling", 7, "main", "value pretraining, rollout 1 of 1"),
        ev.RolloutStarted(7, "main", "ppo", ["1+1="], ["easy"], 2, 8),
    ]
    evaluated = next(e for e in events if isinstance(e, ev.Evaluated) and e.step == 6)
    pretraining += [evaluated, replace(evaluated, accuracy=0.5)]  # asked for by hand
    fork = ev.LaneOpened("fork", "ppo", "paper", {"beta": 0.0}, 7, "main")
    once = [*events[: reached(7, ev.RolloutStarted)], *pretraining,
            *events[reached(7, ev.RolloutStarted) : broken], fork]  # fmt: skip
    again = [ev.Resumed(back), *lanes, ev.Switched(back, "main", "grpo", "rloo", "paper", {}, [],
             [], "command"), ev.SettingChanged(back, "main", "beta", 0.1, 0.2, "command"),
             *events[saved:broken]]  # fmt: skip
    return [
        *once,
        *again,
        ev.Resumed(back - 1),
        *lanes,
        *events[reached(back, ev.RolloutStarted) :],
    ]


def write(path: Path, events: Iterable[ev.Event]) -> Path:
    lines = [codec.encode(e, round(0.25 * i, 4)) for i, e in enumerate(events)]
    lines[9:9] = ['{"t":2.3,"kind":"of-the-future","step":1}', "", "no json"]
    lines[40:40] = [lines[41][:-9]]  # torn by a crash, and written on behind
    path.write_text("\n".join(lines) + '\n{"t":999,"kind":"end","ste', encoding="utf-8")
    return path


def indexed(path: Path) -> RunLog:
    log = RunLog(path)
    while log.read():
        pass
    return log


def folded(events: list[Timed]) -> LabState:
    state = LabState()
    for t, event in events:
        state.apply(event, t)
    return state


def same(found: LabState, state: LabState) -> None:
    for name in ("run", "model", "phase", "paused", "failed", "ended", "refused", "relieved",
                 "checkpoint", "time", "version", "step", "steps"):  # fmt: skip
        assert getattr(found, name) == getattr(state, name), name
    assert list(found.lanes) == list(state.lanes)
    for name, lane in state.lanes.items():
        same_lane(found.lanes[name], lane)


def same_lane(found: LaneState, lane: LaneState) -> None:
    for name in ("name", "algorithm", "preset", "settings", "parent", "opened", "trainable",
                 "evals", "switches", "changes", "critic", "lenses", "benches", "history",
                 "last"):  # fmt: skip
        assert getattr(found, name) == getattr(lane, name), name
    assert [found.axis(a) for a in AXES] == [lane.axis(a) for a in AXES]
    metrics = set(lane.steps.metrics) | set(found.steps.metrics)
    assert all(found.series(m) == lane.series(m) for m in metrics)
    assert [s.memory for s in found.steps] == [s.memory for s in lane.steps]
    assert list(found.rollouts) == sorted(lane.rollouts)
    for step, view in lane.rollouts.items():
        assert vars(view).keys() <= {*vars(found.rollouts[step]), *view.__dataclass_fields__}
        for name in view.__dataclass_fields__:
            assert getattr(found.rollouts[step], name) == getattr(view, name), (step, name)
    for row in range(len(lane.steps)):
        assert found.steps[row].digest  # whole, out of the file


@pytest.mark.parametrize(
    ("chunk", "every"),
    [(1 << 21, 7), (700, 37), pytest.param(1 << 21, 1, marks=pytest.mark.slow)],
)
def test_the_state_at_any_line(
    tmp_path: Path, chunk: int, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "CHUNK", chunk)
    path = write(tmp_path / "events.jsonl", interrupted())
    events, log = read(path), indexed(path)
    assert log.lines == len(events) and log.events(0, log.lines) == events
    assert log.length == max(t for t, _ in events)
    assert log.start == next(t for t, e in events if e.kind == "rollout")
    assert list(log.ends) == sorted({t for t, e in events if e.kind == "step"})
    ends = [t for t, e in events if isinstance(e, ev.StepDone) and e.step == 7]
    assert log.finished(7) == ends[-1] and log.finished(99) is None
    recall, state = Recall(log), LabState()
    same(recall.state(0), state)
    for lines, (t, event) in enumerate(events, 1):
        state.apply(event, t)
        if lines % every == 0 or lines == log.lines:
            same(recall.state(lines), state)


def test_going_on_from_a_recalled_state(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl", interrupted())
    events, log = read(path), indexed(path)
    for start in range(0, len(events), 13):
        recall = Recall(log)
        state = recall.state(start)
        for line in range(start, len(events)):
            recall.lines = line + 1
            state.apply(events[line][1], events[line][0])
        same(state, folded(events))


def test_a_file_that_grows(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.jsonl", interrupted()).read_bytes()
    path, log, found = tmp_path / "events.jsonl", RunLog(tmp_path / "events.jsonl"), list[Timed]()
    assert not log.read(found) and log.behind() == 0
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(whole), 977):
            file.write(whole[at : at + 977])
            while log.read(found):
                pass
    assert found == read(path) and log.events(0, log.lines) == found
    same(Recall(log).state(log.lines), folded(found))
    late = indexed(path)
    assert (log.at, log.due, log.kind, log.ends) == (late.at, late.due, late.kind, late.ends)


def test_whoever_takes_the_events_finds_the_same_index(tmp_path: Path) -> None:
    """Lines that are parsed for somebody and lines that are only placed."""
    path = tmp_path / "events.jsonl"
    path.write_text("".join(codec.encode(e, t / 8) + "\n" for t, e in enumerate(interrupted())))
    skimmed, parsed, events = RunLog(path), RunLog(path), list[Timed]()
    while skimmed.read() | parsed.read(events):
        pass
    assert events == read(path)
    for name in ("lines", "at", "due", "kind", "rare", "resumes", "ends", "start", "end"):
        assert getattr(skimmed, name) == getattr(parsed, name), name
    for name, lane in skimmed.lanes.items():
        other = parsed.lanes[name]
        assert lane.parts == other.parts and lane.rollout_line == other.rollout_line
        assert lane.steps.axis("sample") == other.steps.axis("sample")


def test_only_a_few_rollouts_are_held(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [e for _, e in FakeRun(steps=60, prompts=1, group=2, switches={}).events()]
    path.write_text("".join(codec.encode(e, 0.0) + "\n" for e in events))
    log = indexed(path)
    recall = Recall(log)
    lane = recall.state(log.lines).lanes["main"]
    assert len(lane.rollouts) == KEPT_ROLLOUTS
    views = [v for v in lane.rollouts.values() if isinstance(v, Stored)]
    assert len(views) == KEPT_ROLLOUTS and not any("text" in vars(v) for v in views)
    for view in views:
        assert view.channel("advantage") is not None
    assert sum("text" in vars(v) for v in views) == LOADED
    assert views[0].channel("advantage") is not None and views[0].graded is not None
    old = lane.rollout_at(2)
    assert old is not None and old.step == 2 and old.graded is not None
    assert lane.rollout_at(61) is None
    # where the file is gone, there is nothing to see, and nothing breaks
    log.close()
    log._looked = None
    path.unlink()
    assert views[5].prompts == [] and views[5].graded is None


def test_a_step_without_tokens_is_known_as_such_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [e for _, e in FakeRun(steps=4, switches={}).events()]
    kept = [e for e in events if not (isinstance(e, ev.Tokens) and e.step != 2)]
    path.write_text("".join(codec.encode(e, 0.0) + "\n" for e in kept))
    log = indexed(path)
    lane = Recall(log).state(log.lines).lanes["main"]
    found = {step: view.tokens is not None for step, view in lane.rollouts.items()}
    assert found == {1: False, 2: True, 3: False, 4: False}
    assert ["text" in vars(v) for v in lane.rollouts.values()] == [False, True, False, False]


def test_fields_in_another_order(tmp_path: Path) -> None:
    """Another writer's lines may be ordered otherwise: they are parsed whole."""
    import json

    events = FakeRun(steps=3, switches={}, prompts=1, group=2).events()
    path = tmp_path / "events.jsonl"
    with path.open("w") as file:
        for t, e in events:
            record = json.loads(codec.encode(e, t))
            file.write(json.dumps(dict(reversed(record.items()))) + "\n")
    log = indexed(path)
    same(Recall(log).state(log.lines), folded(read(path)))
