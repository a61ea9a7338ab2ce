"""What the screen says of a token is what `grpolab lens --explain` says of it."""

from __future__ import annotations

import pytest

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.record.state import LabState
from grpolab.tui.formulas import token_facts

from .fake_run import FakeRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("facts")
    FakeRun(steps=4, switches={2: "ppo"}).write(folder)
    return folder


def rollout(folder, step: int) -> RolloutView:
    from grpolab.record.tail import read

    state = LabState()
    for t, event in read(folder / "events.jsonl"):
        state.apply(event, t)
    return state.lanes["main"].rollouts[step]


@pytest.mark.parametrize(("step", "place"), [(2, (0, 2, 5)), (4, (3, 1, 10)), (3, (7, 7, 0))])
def test_all_algorithms_agree_with_the_lens(run, step: int, place: tuple[int, int, int]) -> None:
    from grpolab.algorithms import ALGORITHMS
    from grpolab.lens.batch_file import from_run
    from grpolab.lens.compute import lens

    r = rollout(run, step)
    g, s, t = place
    for beta in (None, 0.3):
        given = None if beta is None else {"beta": beta, "kl_place": "reward"}
        found = lens(from_run(run, step, "main"), explain=place, settings=given)
        assert len(found["algorithms"]) >= (15 if beta is None else 8)
        for name, one in found["algorithms"].items():
            made = token_facts.algorithm(name, one["settings"])
            assert made is not None
            sample = one["groups"][g]["samples"][s]
            token = token_facts.facts_of(
                made, r, g * r.group_size + s, t, sample["advantages"], sample["returns"]
            )
            assert token is not None
            for mine, its in zip(
                token_facts.terms(made, token, r), one["explain"]["terms"], strict=True
            ):
                assert mine.symbol == its["symbol"]
                assert mine.value == pytest.approx(its["value"], rel=2e-3, abs=2e-3), (
                    name, mine.symbol,
                )  # fmt: skip
            branch = made.branch(token)
            assert branch.slope == pytest.approx(
                one["explain"]["branch"]["slope"], rel=2e-3, abs=2e-3
            )
            assert branch.push == one["explain"]["push"], name
        assert set(ALGORITHMS) == {*found["algorithms"], *found["left_out"]}


def test_what_is_not_known_is_none(run) -> None:
    r = rollout(run, 2)
    made = token_facts.algorithm("grpo", {})
    assert made is not None
    assert token_facts.facts_of(made, r, 0, 10**6, [0.0] * 5) is None
    assert token_facts.facts_of(made, r, 10**6, 0, [0.0] * 5) is None
    assert r.tokens is not None
    few = ev.Tokens(2, "main", r.tokens.pieces, {"advantage": r.tokens.channels["advantage"]})
    shape = (r.prompts, r.difficulty, r.group_size, 48, r.text)
    bare = RolloutView(2, "grpo", *shape, graded=r.graded, tokens=few)
    assert token_facts.facts_of(made, bare, 0, 0, [0.0] * 5) is None
    assert token_facts.algorithm("nobody", {}) is None
    assert token_facts.algorithm("grpo", {"beta": -1}) is None
    assert token_facts.algorithm("grpo", {"gone": 1}) is None
    steered = token_facts.algorithm("grpo", {"beta": 0.04}, beta=0.08)
    assert steered is not None and steered.beta == pytest.approx(0.08)
    process = token_facts.algorithm("grpo-process", {})
    assert process is not None
    token = token_facts.facts_of(process, r, 0, 0, [1.0] * 40)
    assert token is not None  # the step has no graded steps: their mean is not known
    assert {t.symbol for t in token_facts.terms(process, token, r) if t.value is None} >= {"m", "s"}


def test_what_rounding_leaves_of_equal_rewards_is_no_push() -> None:
    from grpolab.tui.widgets.token_rows import Scale

    assert Scale("advantage", [1.8e-7, -6e-8]).look(1.8e-7)[1] < 1e-6
    assert Scale("advantage", [1.8e-5, 0.0]).look(1.8e-5)[1] == 1.0
