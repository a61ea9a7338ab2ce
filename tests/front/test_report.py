"""The JSON object that scripts read, from made-up runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from front.synthetic import evaluated, run_events, started, step_events, timed

from grpolab.headless.report import report
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.state import LabState

PROMISED = {
    "run", "scenario", "algorithm", "seed", "device", "steps", "updates", "tokens", "seconds",
    "eval", "peak_memory_bytes", "memory", "switches", "digest",
}  # fmt: skip


def test_events_from_before_memory_had_phases_still_fold() -> None:
    (done,) = [e for e in step_events(1) if isinstance(e, ev.StepDone)]
    line = json.loads(codec.encode(done, 1.0))
    del line["memory_phases"]
    opening = json.loads(codec.encode(started(), 0.0))
    del opening["predicted_memory"]
    old = [codec.decode(json.dumps(record)) for record in (opening, line)]
    found = [e for pair in old if pair is not None for e in pair[1:]]
    assert len(found) == 2 and found[1] == done
    state = folded([found[0], ev.LaneOpened("main", "grpo", "paper", {}, 0), found[1]])
    assert state.predicted_memory == {} and report(state, Path("x"))["memory_phases"] == {}


def test_phases_are_reported_as_last_seen() -> None:
    steps = [e for n in (1, 2) for e in step_events(n)]
    phases = [{"load": {"backbone": 1}, "rollout": {"backbone": 2}}, {"rollout": {"backbone": 3}}]
    done = [
        dataclasses.replace(e, memory_phases=phases.pop(0)) if isinstance(e, ev.StepDone) else e
        for e in steps
    ]
    state = folded([started(), ev.LaneOpened("main", "grpo", "paper", {}, 0), *done])
    assert report(state, Path("x"))["memory_phases"] == {
        "load": {"backbone": 1}, "rollout": {"backbone": 3},
    }  # fmt: skip


def folded(events: Iterable[ev.Event]) -> LabState:
    state = LabState()
    for t, event in timed(events):
        state.apply(event, t)
    return state


def test_a_whole_run() -> None:
    out = report(folded(run_events(3)), Path("runs/x"))
    assert set(out) >= PROMISED
    assert (out["run"], out["scenario"], out["algorithm"]) == ("runs/x", "made-up", "grpo")
    assert (out["steps"], out["updates"], out["tokens"]) == (3, 6, 3 * 18)
    assert list(out["seconds"]) == ["total", "startup", "rollout", "score", "update", "eval"]
    assert out["seconds"]["startup"] == 2.0
    assert [(e["step"], e["accuracy"], e["prompts"]) for e in out["eval"]] == [
        (0, 0.4, 128),
        (3, 0.9, 128),
    ]
    assert set(out["memory"]) == set(ev.OWNERS)
    assert out["memory"]["adapters"] == 30
    assert out["peak_memory_bytes"] == 5003
    assert (out["digest"], out["status"]) == ("final", "done")
    assert "lanes" not in out


def test_a_run_that_was_cut_short_adds_up_its_steps() -> None:
    events = run_events(4)[:-2]
    out = report(folded(events), Path("x"))
    assert out["status"] == "unfinished"
    assert out["seconds"]["rollout"] == 0.8
    assert out["digest"] == events[-1].digest  # type: ignore[attr-defined]


def test_no_event_at_all() -> None:
    out = report(LabState(), Path("x"))
    assert set(out) >= PROMISED
    assert (out["steps"], out["eval"], out["digest"]) == (0, [], "")


def test_a_run_that_was_left_while_it_loaded() -> None:
    plan = {"name": "x", "lanes": [{"name": "main", "algorithm": {"name": "rloo"}}]}
    opening = dataclasses.replace(started(), scenario=plan)
    found = report(folded([opening, ev.Ended(0, "interrupted")]), Path("runs/x"))
    assert (found["status"], found["algorithm"], found["steps"]) == ("interrupted", "rloo", 0)
    assert set(found) >= PROMISED and found["eval"] == []


def test_a_switch() -> None:
    events = run_events(2)
    events.insert(-2, ev.Switched(1, "main", "grpo", "ppo", "paper", {}, [], [], "cue"))
    out = report(folded(events), Path("x"))
    assert out["algorithm"] == "grpo"
    assert out["switches"] == [{"step": 1, "from": "grpo", "to": "ppo"}]


def test_several_lanes() -> None:
    lanes = [ev.LaneOpened(name, algorithm, "paper", {}, 0) for name, algorithm in
             (("a", "grpo"), ("b", "ppo"))]  # fmt: skip
    events = [started(1), *lanes, evaluated(0, 0.5, "b")]
    events += [*step_events(1, "a"), *step_events(1, "b", "ppo")]
    out = report(folded(events), Path("x"))
    assert (out["algorithm"], out["updates"], out["eval"]) == ("grpo", 4, [])
    assert out["lanes"]["b"]["algorithm"] == "ppo"
    assert out["lanes"]["b"]["eval"][0]["accuracy"] == 0.5


def test_a_failure_says_why() -> None:
    out = report(folded([started(), ev.Failed(1, "out of memory", "updating")]), Path("x"))
    assert (out["status"], out["error"]) == ("failed", "out of memory")
