"""The long made-up run is one that the engine could have written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.record.tail import read
from tests.benchmarks import screen
from tests.benchmarks.large_run import LargeRun


@pytest.mark.parametrize("every", [1, 7])
def test_it_folds_like_a_run_of_its_length(tmp_path: Path, every: int) -> None:
    path = LargeRun(steps=42, tokens_every=every).write(tmp_path / "run")
    events, state = read(path), LabState()
    assert len(events) == len(path.read_text().splitlines())  # every line is an event
    for t, event in events:
        state.apply(event, t)
    lane = state.lanes["main"]
    assert state.step == state.steps == 42 and state.ended and state.ended.status == "done"
    assert list(lane.axis("step")) == list(range(1, 43)) and lane.axis("sample")[-1] == 42 * 64
    assert [s.after for s in lane.switches] == ["rloo"] and len(lane.evals) == 10
    assert len(lane.steps.metrics) >= 25 and len(lane.series("kl_ref")[0]) < 42
    assert len({e.step for _, e in events if isinstance(e, ev.Tokens)}) == -(-42 // every)
    assert [e.step for _, e in events if isinstance(e, ev.Resumed)] == [14]
    view = lane.rollouts[36]
    assert view.tokens is not None and len(view.tokens.channels) >= 5
    assert len(view.text) == 64 and view.graded is not None and view.graded.step == 36
    times = [t for t, _ in events]
    assert times == sorted(times)


def test_its_keys_are_answered_in_words_that_the_screen_has() -> None:
    keys = [*screen.scrubbing(2), *screen.training(2)]
    assert len(keys) > 60 and all(re.compile(answer) for _, answer in keys)
    assert screen.percentile(range(100), 0.99) == 99 and screen.percentile([5.0], 0.99) == 5.0
