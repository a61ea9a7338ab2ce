"""Comparing two runs: the first step and quantity that differ."""

from __future__ import annotations

from typing import Any

import pytest
from front.synthetic import run_events, started, step_events, timed

from grpolab.errors import RequestError
from grpolab.headless.rerun import Difference, Record, compare, scenario_of
from grpolab.record import events as ev
from grpolab.scenario.spec import build


def record(events: list[ev.Event]) -> Record:
    return Record.of(timed(events))


def with_step(step: int, **change: Any) -> Record:
    """The run of `run_events`, one step of it computed differently."""
    events = run_events()
    at = next(
        i for i, e in enumerate(events) if getattr(e, "step", 0) == step and e.kind == "rollout"
    )
    events[at : at + 5] = step_events(step, **change)
    return record(events)


def test_equal() -> None:
    assert compare(record(run_events()), record(run_events())) is None


@pytest.mark.parametrize(
    ("change", "quantity"),
    [({"text": "!"}, "tokens"), ({"reward": 0.25}, "rewards"), ({"salt": "x"}, "advantages")],
)
def test_the_first_difference_is_named(change: dict[str, Any], quantity: str) -> None:
    found = compare(record(run_events()), with_step(3, **change))
    assert found == Difference(3, "main", quantity)


def test_adapters_alone() -> None:
    found = compare(record(run_events()), record(run_events(digest="other")))
    assert found == Difference(4, "", "adapters")


def test_an_interrupted_run_is_compared_as_far_as_it_came() -> None:
    interrupted = record(run_events(2, status="interrupted", digest="so far"))
    assert compare(interrupted, record(run_events(2))) is None
    assert interrupted.last == 2


def test_a_shorter_second_run_is_different() -> None:
    assert compare(record(run_events(4)), record(run_events(3))) == Difference(4, "main", "steps")


def test_what_is_computed_again() -> None:
    opening = started(9, cues=[{"at": 1, "do": "pause"}, {"at": 1, "do": "evaluate"}])
    by_hand = ev.Switched(1, "main", "grpo", "ppo", "paper", {"beta": 0.0}, [], [], "command")
    data = scenario_of(timed([opening, *step_events(1), by_hand, *step_events(2)]))
    scenario = build(data)
    assert scenario.train.steps == 9
    assert [cue.do for cue in scenario.cues] == ["evaluate", "switch"]


def test_nothing_to_compare() -> None:
    with pytest.raises(RequestError, match="no finished step"):
        scenario_of(timed([started()]))
