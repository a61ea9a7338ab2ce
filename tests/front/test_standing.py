"""The standing: intervals that are never 0, which evaluations are compared, seeds and forks."""

from __future__ import annotations

import math

import pytest

from grpolab.analysis.curves import places
from grpolab.analysis.intervals import accuracy_half_width, half_width, wilson
from grpolab.analysis.standing import Entrant, cells, entrants, notes, standing, text
from grpolab.record import events as ev
from grpolab.record.lane_state import LaneState


def lane(
    name: str, *accuracies: float, every: int = 5, prompts: int = 100, **more: str
) -> LaneState:
    """A lane with an evaluation every so many steps, from step 0 on."""
    made = LaneState(
        name, more.get("algorithm", "grpo"), "paper", {}, parent=more.get("parent", "")
    )
    for i, accuracy in enumerate(accuracies):
        made.evals.append(ev.Evaluated(i * every, name, accuracy, accuracy, accuracy, prompts, 0.1))
    for step in range(1, (len(accuracies) - 1) * every + 1):
        done = ev.StepDone(
            step, name, made.algorithm, {"kl_ref": 0.01 * step, "reward": 0.5},
            {"rollout": 0.2, "score": 0.1, "update": 0.2}, 1, 100,
            {"backbone": 2**20, "outside": 2**30}, 2**21, "",
        )  # fmt: skip
        made.steps.append(done, float(step), 8)
    return made


@pytest.mark.parametrize(
    ("share", "prompts", "low", "high"),
    [(0.5, 100, 0.4038, 0.5962), (1.0, 100, 0.9630, 1.0), (0.0, 20, 0.0, 0.1611)],
)
def test_wilson(share: float, prompts: int, low: float, high: float) -> None:
    """Against the interval's published ends (Newcombe 1998; p = 1 and 0 are exact)."""
    half = wilson(share, prompts)
    assert half == pytest.approx((high - low) / 2, abs=2e-4)


def test_an_interval_is_never_zero() -> None:
    assert wilson(1.0, 0) is None and wilson(math.nan, 10) is None
    same = accuracy_half_width([1.0, 1.0, 1.0], [64, 64, 64])  # seeds that happen to agree
    assert half_width([1.0, 1.0, 1.0]) == 0 and same == wilson(1.0, 192) and same
    apart = accuracy_half_width([0.7, 0.8, 0.9], [1000] * 3)
    assert apart == pytest.approx(half_width([0.7, 0.8, 0.9]))
    assert accuracy_half_width([0.2, 0.9], [64, 64]) == pytest.approx(0.55)  # it is a share
    assert accuracy_half_width([], []) is None


def test_lanes_are_ranked_at_the_step_that_all_have() -> None:
    found = entrants([lane("a", 0.5, 0.6, 0.9), lane("b", 0.5, 0.7)])
    s = standing(found)
    assert s is not None and s.step == 5 and [r.name for r in s.rows] == ["b", "a"]
    a = s.rows[1]
    assert a.accuracy == 0.6 and a.behind == pytest.approx(-0.1) and not a.apart
    assert a.memory == 2**20 and a.seconds == pytest.approx(0.5)
    assert a.kl == pytest.approx(0.055)  # the last ten of ten
    assert cells(a)[:2] == ["60 ±9.4%", "−10≈"] and cells(s.rows[0])[1] == "best "
    assert any("no difference" in note for note in notes(s))
    assert standing(entrants([lane("a"), lane("b")])) is None


def test_a_lane_that_stopped_does_not_hold_the_others_up() -> None:
    long, short = lane("long", 0.5, 0.6, 0.7, 0.8), lane("short", 0.5, 0.9)
    s = standing(entrants([long, lane("other", 0.5, 0.6, 0.7, 0.75), short]), {id(short)})
    assert s is not None and s.step == 15
    best = s.rows[0]
    assert (best.name, best.step, best.stopped) == ("short", 5, 5)
    assert "short stopped at step 5" in notes(s)


def test_equals_are_told_apart_from_the_best() -> None:
    s = standing(entrants([lane("a", 0.5), lane("b", 0.5), lane("c", 0.0)]))
    assert s is not None and [cells(r)[1].strip() for r in s.rows] == ["best", "=", "−50"]


def test_seeds_are_averaged_and_a_seed_that_lags_waits() -> None:
    lanes = [lane("x-0", 0.5, 0.6, 0.8), lane("x-1", 0.5, 0.7, 0.6), lane("y-0", 0.5, 0.5, 0.5),
             lane("y-1", 0.5, 0.5, 0.5)]  # fmt: skip
    found = entrants(lanes)
    assert [(e.name, list(e.lanes)) for e in found] == [("x", ["0", "1"]), ("y", ["0", "1"])]
    s = standing(found)
    assert s is not None and (s.step, s.seeds, s.of, s.prompts) == (10, 2, 2, 200)
    assert s.rows[0].accuracy == pytest.approx(0.7)
    lanes[1].evals.pop()  # one evaluation behind: the one before counts for all
    s = standing(found)
    assert s is not None and (s.step, s.seeds) == (5, 2)
    del lanes[1].evals[1:], lanes[3].evals[1:]  # far behind: only the first seed counts
    s = standing(found)
    assert s is not None and (s.step, s.seeds, s.of) == (10, 1, 2)
    assert "1 of 2 seeds" in text(s)


def test_what_is_a_seed_of_what() -> None:
    alone = [lane("x-0", 0.5), lane("x-1", 0.5)]  # seeds of one configuration: side by side
    assert [e.name for e in entrants(alone)] == ["x-0", "x-1"]
    assert places(alone) == {"x-0": 0, "x-1": 1}
    mixed = [*alone, lane("y-0", 0.5), lane("y-1", 0.5), lane("z", 0.5),
             lane("x-2", 0.5, parent="x-0")]  # fmt: skip
    found = entrants(mixed)
    assert [e.name for e in found] == ["x", "y", "z", "x-2"]
    assert list(found[2].lanes) == ["0"]  # with the first seed
    assert list(places(mixed).values()) == [0, 0, 1, 1, 2, 3]


def test_names_are_printed_without_what_steers_a_terminal() -> None:
    found = [Entrant("a\x1b[2J", {"": lane("a", 0.5)}), Entrant("b", {"": lane("b", 0.4)})]
    s = standing(found)
    assert s is not None and "\x1b" not in text(s) and "a�[2J (grpo)" in text(s)
