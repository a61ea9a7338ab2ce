"""Several runs as one: lanes under their runs' names, in time, without what a resume made void."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpolab.analysis.curves import groups
from grpolab.errors import RequestError
from grpolab.record import codec, merge
from grpolab.record import events as ev
from grpolab.record.directory import EVENTS
from grpolab.record.state import LabState
from grpolab.record.tail import read
from grpolab.resources import shipped_records
from tests.tui.fake_run import FakeRun


def folded(folder: Path) -> LabState:
    state = LabState()
    for t, event in read(folder / EVENTS):
        state.apply(event, t)
    return state


def comparison(folder: Path, **runs: FakeRun) -> Path:
    for name, run in runs.items():
        run.write(folder / name.replace("_", "-"))
    return folder


def test_a_comparison_becomes_lanes_and_seeds(tmp_path: Path) -> None:
    comparison(
        tmp_path / "cmp", grpo_1=FakeRun(steps=4, switches={}, seed=1),
        grpo_0=FakeRun(steps=6, switches={3: "ppo"}), other=FakeRun(steps=3, switches={}),
    )  # fmt: skip
    runs = merge.runs_of([str(tmp_path / "cmp")])
    assert [r.name for r in runs] == ["grpo-0", "grpo-1", "other"]
    out = tmp_path / "out"
    out.mkdir()
    state = folded(merge.merge(runs, out))
    assert list(state.lanes) == ["grpo-0", "grpo-1", "other"]
    assert state.steps == 6 and state.ended is not None and state.step == 3
    assert [len(x.steps) for x in state.lanes.values()] == [6, 4, 3]
    for run in runs:
        alone = folded(run).lanes["main"]
        lane = state.lanes[run.name]
        assert lane.series("reward") == alone.series("reward")
        assert [e.accuracy for e in lane.evals] == [e.accuracy for e in alone.evals]
        assert lane.rollout is not None and alone.rollout is not None
        assert lane.rollout.tokens is not None and lane.rollout.text == alone.rollout.text
    assert [s.after for s in state.lanes["grpo-0"].switches] == ["ppo"]
    assert [g.lanes for g in groups(list(state.lanes.values()))] == [
        ("grpo-0", "grpo-1"), ("other",),
    ]  # fmt: skip
    times = [t for t, _ in read(out / EVENTS)]
    assert times[:-1] == sorted(times[:-1])


def test_runs_of_several_lanes_and_of_one_name(tmp_path: Path) -> None:
    a = FakeRun(steps=2, switches={}, lanes=("x", "y")).write(tmp_path / "a" / "run").parent
    b = FakeRun(steps=2, switches={}).write(tmp_path / "b" / "run").parent
    state = folded(merge.merge([a, b], tmp_path))
    assert list(state.lanes) == ["a/run/x", "a/run/y", "b/run"]


def test_a_shipped_record_goes_beside_a_run_of_ones_own(tmp_path: Path) -> None:
    own = FakeRun(steps=2, switches={}).write(tmp_path / "own").parent
    runs = merge.runs_of([str(own), "qlora"])
    assert runs == [own, shipped_records()["qlora"]]


def test_what_was_measured_and_asked_comes_along(tmp_path: Path) -> None:
    path = FakeRun(steps=2, switches={}).write(tmp_path / "own")
    asked = ev.Chatted(2, "main", "grpo", "1+1", "1+1=", 1.0, True, "", 0.1, [])
    with path.open("a", encoding="utf-8") as file:
        for event in (ev.After(2, "main", "AAAA", 0.5), asked):
            file.write(codec.encode(event, 1e6) + "\n")
    (tmp_path / "o").mkdir()
    (lane,) = folded(merge.merge([path.parent], tmp_path / "o")).lanes.values()
    assert lane.rollouts[2].after is not None and [c.prompt for c in lane.chats] == ["1+1="]


def test_what_a_resume_made_void_is_not_shown(tmp_path: Path) -> None:
    run, again = FakeRun(steps=5, switches={}, end=False), FakeRun(steps=5, switches={}, seed=9)
    events = list(run.events())
    later = [(t + 100, e) for t, e in again.events() if getattr(e, "step", 0) > 3]
    (tmp_path / "r").mkdir()
    lines = [codec.encode(e, t) + "\n" for t, e in (*events, (99.0, ev.Resumed(3)), *later)]
    (tmp_path / "r" / EVENTS).write_text("".join(lines) + '{"t": 1, "kind": "st', encoding="utf-8")
    (tmp_path / "o").mkdir()
    state = folded(merge.merge([tmp_path / "r"], tmp_path / "o"))
    (alone,) = folded(tmp_path / "r").lanes.values()
    assert state.lanes["r"].series("reward") == alone.series("reward")
    assert len(state.lanes["r"].steps) == 5


def test_many_runs_leave_their_tokens_where_they_are(tmp_path: Path) -> None:
    n = merge.MOST_WITH_TOKENS + 1
    runs = [FakeRun(steps=1, prompts=1, group=2, switches={}).write(tmp_path / f"r{i}").parent
            for i in range(n)]  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    state = folded(merge.merge(runs, out))
    assert len(state.lanes) == n
    assert all(
        x.rollout and x.rollout.graded and not x.rollout.tokens for x in state.lanes.values()
    )


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such run"):
        merge.runs_of([str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / EVENTS).write_text("")
    with pytest.raises(RequestError, match="nothing is recorded"):
        merge.merge([tmp_path / "empty"], tmp_path)
