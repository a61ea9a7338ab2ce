"""Steps in columns: the same numbers as in the events, whichever way they came in."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from front.synthetic import run_events
from hypothesis import given
from hypothesis import strategies as st

from grpolab import events as ev
from grpolab.history import AXES, KEPT_STEPS, Samples, Steps
from grpolab.state import LabState


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
    assert a.peak == b.peak


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


MEASURED = st.dictionaries(
    st.sampled_from("abcde"), st.one_of(st.floats(0, 9), st.none(), st.just("?")), max_size=5
)
"""What a step measured; now and then something that is no number."""


RUNS = st.lists(st.tuples(MEASURED, st.integers(1, 4)), max_size=12)
"""Rows, each so many times in a row."""


@given(RUNS, st.integers(0, 40), RUNS)
def test_columns_hold_what_was_measured(
    before: list[tuple[dict[str, float], int]], kept: int,
    behind: list[tuple[dict[str, float], int]],
) -> None:  # fmt: skip
    """Rows alike and unlike, gaps, and rows behind a cut: each column has its own rows."""
    made, every = Steps("main"), list[dict[str, float]]()
    for runs in (before, behind):
        made.cut(kept)
        every = every[:kept]
        for metrics in (measured for measured, times in runs for _ in range(times)):
            every.append(metrics)
            done = ev.StepDone(len(every), "main", "grpo", metrics, {}, 1, 1, {}, 0, "")
            made.append(done, len(every))
    first = list(dict.fromkeys(name for row in every for name in row))
    assert sorted(made.metrics) == sorted(first)
    assert kept or list(made.metrics) == first  # in the order in which they came
    for name in "abcde":
        column = made.metrics.get(name)
        rows = [n for n, measured in enumerate(every) if name in measured]
        assert (list(column.rows) if column else []) == rows
        for n in rows:
            value, known = column.at(n) if column else None, every[n][name]
            assert value == known if isinstance(known, float) else value != value


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
