"""Steps in columns: the same numbers as in the events, whichever way they came in."""

from __future__ import annotations

import struct
from array import array
from dataclasses import replace
from itertools import accumulate
from typing import Any
from unittest.mock import patch

import pytest
from front.synthetic import run_events
from hypothesis import given
from hypothesis import strategies as st

from grpolab.record import columns, history
from grpolab.record import events as ev
from grpolab.record.columns import Column
from grpolab.record.history import AXES, KEPT_STEPS, Samples, Steps
from grpolab.record.state import LabState


def done(step: int) -> ev.StepDone:
    metrics = {"reward": step / 8} | ({"kl_ref": step / 4} if step % 4 == 1 else {})
    metrics |= {"value_loss": 1 / step} if 20 < step < 90 or step > 100 else {}
    return ev.StepDone(
        step, "main", "grpo" if step <= 100 else "ppo", metrics, {"rollout": 0.5, "update": 0.25},
        2, 30 + step, {"adapters": 7, "critic": 0 if step <= 100 else 5}, 90 + step, f"d{step}",
        {"rollout": {"adapters": 7}} | ({"evaluate": {"adapters": step}} if step % 5 == 0 else {}),
    )  # fmt: skip


def steps(count: int) -> Steps:
    made = Steps("main")
    for n in range(1, count + 1):
        made.append(done(n), n * 1.5, 8)
    return made


def equal(a: Steps, b: Steps) -> None:
    assert [a.axis(x) for x in AXES] == [b.axis(x) for x in AXES]
    for one, two in zip(a._columns(), b._columns(), strict=True):
        assert {k: (list(c.rows), c.values) for k, c in one.items()} == {
            k: (list(c.rows), c.values) for k, c in two.items()
        }
    assert [a.algorithm(r) for r in range(len(a))] == [b.algorithm(r) for r in range(len(b))]


def test_old_steps_are_made_from_the_columns() -> None:
    made = steps(200)
    assert len(made) == 200 and made[-1] == done(200) and made[200 - KEPT_STEPS].digest
    old = made[0]
    assert old == replace(done(1), digest="", memory_phases={})
    assert [s.step for s in made] == list(range(1, 201))
    assert [s.metrics for s in made] == [done(n).metrics for n in range(1, 201)]
    assert made.upto(500) == done(200) and made.of(500) is None and made.upto(0) is None
    assert [s.step for s in made[2:5]] == [3, 4, 5]
    with pytest.raises(IndexError):
        made[200]


def test_old_steps_come_from_the_file_where_there_is_one() -> None:
    made, asked = steps(200), []

    def fetch(step: int) -> ev.StepDone | None:
        asked.append(step)
        return done(step) if step != 2 else None

    made.fetch = fetch
    assert made[0] == done(1) and made[1].digest == "" and made[199] == done(200)
    assert asked == [1, 2]


def test_series_on_every_axis() -> None:
    made = steps(9)
    assert made.series("kl_ref") == (array("i", [1, 5, 9]), array("d", [0.25, 1.25, 2.25]))
    assert made.series("kl_ref", "time")[0] == array("d", [1.5, 7.5, 13.5])
    assert made.series("reward", "sample")[0].tolist() == [8 * n for n in range(1, 10)]
    assert made.series("reward", "update")[0].tolist() == [2 * n for n in range(1, 10)]
    assert made.series("reward", "token")[0][-1] == sum(30 + n for n in range(1, 10))
    assert made.series("nothing")[1].tolist() == []
    assert made.total("token") == made.axis("token")[-1]
    assert made.spent() == {"rollout": 4.5, "update": 2.25}


@pytest.mark.parametrize("kept", [0, 1, 99, 100, 101, 150, 200])
def test_cutting_back_is_as_if_it_had_never_been(kept: int) -> None:
    cut, never = steps(200), steps(kept)
    cut.cut(kept)
    equal(cut, never)
    # of the phases only those of steps that were still kept whole are known
    assert all(never.phases[name][1] == owners for name, (_, owners) in cut.phases.items())
    assert kept < 200 - KEPT_STEPS or set(cut.phases) == set(never.phases)
    for n in range(kept + 1, 211):
        cut.append(done(n), n * 1.5, 8)
    equal(cut, steps(210))


@pytest.mark.parametrize("parts", [[(0, 210)], [(0, 0), (0, 99), (99, 103), (103, 210)]])
def test_rows_of_another_history(parts: list[tuple[int, int]]) -> None:
    whole, made = steps(210), Steps("main")
    for a, b in parts:
        made.extend(whole, a, b)
    equal(made, whole)


def test_rows_behind_a_resume_go_on_counting() -> None:
    """Rows 5 to 7 are void: 8 and on are steps 5 and on once more."""
    log, plain = Steps("main"), Steps("main")
    for n in (1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8):
        log.append(done(n), float(len(log)), 8)
    for n in range(1, 9):
        plain.append(done(n), float(n - 1 if n < 5 else n + 2), 8)
    made = Steps("main")
    made.extend(log, 0, 6)
    made.cut(4)
    made.extend(log, 7, 11)
    equal(made, plain)


def test_what_is_no_number_does_no_harm() -> None:
    made = Steps("main")
    made.append(replace(done(1), metrics={"x": None, "groups_replaced": float("nan")}))  # pyright: ignore
    assert made.series("x")[1][0] != made.series("x")[1][0]


VALUES = st.one_of(
    st.floats(), st.floats(0, 9, width=32), st.integers(-3, 300), st.integers(), st.booleans(),
    st.sampled_from([0.0, -0.0, 1 << 53, (1 << 53) + 1, 10**400, -(10**400), None, "?"]),
)  # fmt: skip
"""What a run file may hold where a number is expected."""

MEASURED = st.dictionaries(st.sampled_from("abcde"), VALUES, max_size=5)
"""What a step measured."""

RUNS = st.lists(st.tuples(MEASURED, st.integers(1, 9)), max_size=12)
"""Rows, each so many times in a row."""


def bits(value: float) -> bytes:
    """The float that is read back: every bit of it."""
    try:
        return struct.pack("d", value)
    except (struct.error, OverflowError):
        return struct.pack("d", float("nan"))


def taken(made: Steps, every: list[dict[str, float]], runs: list[tuple[dict[str, float], int]]):
    for metrics in (measured for measured, times in runs for _ in range(times)):
        every.append(metrics)
        made.append(ev.StepDone(len(every), "main", "grpo", metrics, {}, 1, 1, {}, 0, ""))


PARTS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=4)
"""From which row to which."""


@given(RUNS, st.integers(0, 60), RUNS, PARTS)
def test_columns_hold_what_was_measured(
    before: list[tuple[dict[str, float], int]], kept: int,
    behind: list[tuple[dict[str, float], int]], parts: list[tuple[int, int]],
) -> None:  # fmt: skip
    """Rows alike and unlike, gaps, and rows behind a cut: each column has its own rows, and not a
    bit is lost, whether it is packed or not, its own or another history's."""
    with patch.object(columns, "BLOCK", 8), patch.object(history, "BLOCK", 8):
        made, every = Steps("main"), list[dict[str, float]]()
        taken(made, every, before)
        holds(made, every)
        made.cut(kept)
        every = every[:kept]
        taken(made, every, behind)
        first = list(dict.fromkeys(name for row in every for name in row))
        assert sorted(made.metrics) == sorted(first)
        assert kept or list(made.metrics) == first  # in the order in which they came
        holds(made, every)
        other, theirs = Steps("main"), list[dict[str, float]]()
        for a, b in parts:
            other.extend(made, a, min(b, len(made)))
            theirs += every[a:b]
            holds(other, theirs)
        taken(other, theirs, before)
        holds(other, theirs)


def holds(made: Steps, every: list[dict[str, float]]) -> None:
    assert len(made) == len(every)
    for name in "abcde":
        rows = [n for n, measured in enumerate(every) if name in measured]
        known = [bits(every[n][name]) for n in rows]
        column = made.metrics.get(name, Column())
        assert list(column.rows) == rows and len(column) == len(rows)
        assert [bits(value) for value in column.part()] == known
        assert column.part(2, 11).tobytes() == column.part()[2:11].tobytes()
        found = [column.at(n) for n in range(-1, len(every) + 1)]
        assert [bits(value) for value in found if value is not None] == known
        assert [n for n, value in enumerate(found, -1) if value is not None] == rows
        steps, values = made.series(name)
        assert steps.tolist() == [made.axis("step")[n] for n in rows]
        assert values.tobytes() == b"".join(known)
        assert not rows or made.series(name)[1] is values  # the same array while nothing is cut


def test_a_long_history_is_packed_and_shared() -> None:
    made, other = steps(4000), Steps("main")
    other.extend(made, 0, 1000)
    other.extend(made, 1100, 4000)
    assert all(len(column.newest) <= 2 * columns.BLOCK for column in made.metrics.values())
    whole, part = (x.metrics["reward"]._held.blocks for x in (made, other))
    shared = {id(block) for block in whole} & {id(block) for block in part}
    assert len(shared) >= len(whole) - 2 > 0


@given(st.lists(st.integers(0, 5000), max_size=40), st.integers(0, 40))
def test_what_is_counted_adds_up(tokens: list[int], kept: int) -> None:
    with patch.object(columns, "BLOCK", 8), patch.object(history, "BLOCK", 8):
        made = Steps("main")
        for n, count in enumerate(tokens, 1):
            made.append(replace(done(n), tokens=count, peak_memory=count), n, n)
            assert made.axis("token")[-1] == sum(tokens[:n])
        made.cut(kept)
        tokens = tokens[:kept]
        assert made.axis("token").tolist() == [*accumulate(tokens)]
        assert made.axis("sample").tolist() == [*accumulate(range(1, len(tokens) + 1))]
        assert made.total("token") == sum(tokens) and made.peak == max(tokens, default=0)
        assert [s.tokens for s in made] == tokens


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 10**400, "?", None])
def test_a_count_that_is_none_counts_nothing(odd: Any) -> None:
    made = Steps("main")
    made.append(replace(done(1), tokens=odd, updates=odd, peak_memory=odd))
    made.append(done(2))
    assert made.total("token") == 32 and made.axis("update").tolist() == [0, 2]
    assert made.peak == 92 and made.series("reward", "token")[0].tolist() == [0, 32]


def test_samples_count_replaced_groups_and_the_critics_own_rollouts() -> None:
    samples = Samples()
    samples.rollout(4, 8)
    assert samples.done({}) == 32
    samples.sampling("value pretraining, rollout 1 of 2")
    samples.sampling("value pretraining, rollout 1 of 2")  # told again after a resume
    samples.sampling("value pretraining, rollout 2 of 2")
    samples.sampling("")
    samples.rollout(4, 8)
    assert samples.done({"groups_replaced": 1.0}) == (4 * 3 + 1) * 8
    samples.rollout(4, 8)
    assert samples.done({"groups_replaced": float("nan")}) == 32


def test_a_fork_has_the_steps_of_its_parent() -> None:
    state = LabState()
    for event in run_events(4)[:-2]:
        state.apply(event)
    state.apply(ev.LaneOpened("b", "ppo", "paper", {}, 4, "main"))
    assert state.step == 4
    state.apply(ev.LaneOpened("c", "ppo", "paper", {}, 3, "main"))
    assert state.step == 3
