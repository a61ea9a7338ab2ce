"""Every verdict fires on what it is for, and stays silent on what only looks like it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from grpolab.algorithms import ALGORITHMS
from grpolab.analysis import health, loss_report
from grpolab.analysis.health import COMES, GOES
from grpolab.analysis.health_rules import RULES, Evidence, groups
from grpolab.analysis.health_suggestions import choose, values
from grpolab.analysis.metric_help import METRICS
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.scenario import spec
from grpolab.scenario.spec import AlgorithmSection, build, check_setting, make_algorithm, make_task

Curve = float | Callable[[int], float]
CALM: dict[str, Curve] = {
    "reward": lambda i: 0.5 + 0.004 * i + 0.01 * (-1) ** i,
    "accuracy": lambda i: 0.4 + 0.004 * i,
    "reward_std": 0.4, "zero_std_groups": 0.1, "truncated": 0.01, "length": 30.0,
    "entropy": lambda i: 0.5 * 0.99**i, "kl_ref": lambda i: 0.001 * i, "grad_norm": 0.3,
    "loss": 0.001, "policy_loss": 0.0, "clip_fraction_high": 0.02, "clip_fraction_low": 0.01,
    "clip_fraction": 0.03, "sampler_gap": 1e-6, "updates_skipped": 0.0, "updates_clipped": 0.5,
    "advantage_std": 0.9, "advantage_sum": 0.0, "advantage_mean": 0.0, "policy_loss_first": 0.0,
    "learning_rate": 1e-3,
}  # fmt: skip
"""A run in which nothing is wrong."""


def made(
    steps: int = 40,
    algorithm: str = "grpo",
    settings: dict[str, Any] | None = None,
    evals: dict[int, float] | None = None,
    drop: tuple[str, ...] = (),
    **curves: Curve,
) -> LabState:
    section = AlgorithmSection.model_validate({"name": algorithm, **(settings or {})})
    state = LabState()
    whole = build({"algorithm": {"name": algorithm, **(settings or {})}}).complete()
    own = make_algorithm(section).settings.model_dump(mode="json")
    state.apply(ev.RunStarted(1, "r", whole, 0, "cpu", 1, 60))
    state.apply(ev.LaneOpened("main", algorithm, "paper", own, 0))
    known = {k: v for k, v in (CALM | curves).items() if k not in drop}
    for i in range(1, steps + 1):
        metrics = {k: v(i) if callable(v) else v for k, v in known.items()}
        state.apply(ev.StepDone(i, "main", algorithm, metrics, {}, 2, 100, {}, 0, ""))
        if evals and i in evals:
            state.apply(ev.Evaluated(i, "main", evals[i], evals[i], evals[i], 128, 0.1))
    return state


def found(state: LabState, at: int | None = None) -> dict[str, str]:
    lane = state.lanes["main"]
    return {v.name: v.level for v in health.verdicts(state, lane, at)}


def test_nothing_is_said_of_a_run_that_learns() -> None:
    assert found(made()) == {}
    assert found(made(steps=0)) == {}


def spike(at: int, value: float, otherwise: float) -> Callable[[int], float]:
    return lambda i: value if i == at else otherwise


FIRES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "nan-skipped": [
        ("bad", {"updates_skipped": spike(35, 1.0, 0.0)}),
        ("bad", {"grad_norm": spike(38, math.nan, 0.3)}),
        ("bad", {"loss": spike(38, math.inf, 0.0)}),
    ],
    "reward-falling": [
        ("warn", {"reward": lambda i: (0.9 if i < 20 else 0.6) + 0.02 * (-1) ** i}),
        ("bad", {"reward": lambda i: (0.9 if i < 20 else 0.1) + 0.02 * (-1) ** i}),
        ("warn", {"evals": {10: 0.8, 20: 0.9, 40: 0.6}}),
    ],
    "entropy-collapsing": [
        ("warn", {"entropy": lambda i: 0.5 * 0.965**i, "reward": 0.5, "zero_std_groups": 0.6}),
        ("bad", {"entropy": lambda i: 0.5 * 0.9**i, "reward": 0.5, "zero_std_groups": 0.6}),
    ],
    "kl-accelerating": [
        ("warn", {"kl_ref": lambda i: 0.0001 * math.exp(i / 5)}),
        ("bad", {"kl_ref": lambda i: 0.001 * math.exp(i / 5)}),
        ("warn", {"kl_ref": lambda i: 0.0001 * math.exp(i / 5) if i < 40 else math.nan}),
    ],
    "clip-saturated": [
        ("warn", {"clip_fraction_high": 0.3, "clip_fraction_low": 0.02}),
        ("warn", {"clip_fraction_high": 0.0, "clip_fraction_low": 0.2}),
    ],
    "dead-groups": [
        ("warn", {"zero_std_groups": 0.6}),
        ("bad", {"zero_std_groups": 1.0, "accuracy": 0.0}),
        ("note", {"zero_std_groups": 0.95, "accuracy": 0.97}),
        ("bad", {"algorithm": "ppo", "zero_std_groups": 1.0, "reward_std": 0.0, "accuracy": 0.0}),
        ("warn", {"algorithm": "trpo", "settings": {"advantage": "group"},
                  "zero_std_groups": 0.6}),
    ],
    "critic-worse-than-mean": [
        ("warn", {"algorithm": "ppo", "explained_variance": -0.2}),
        ("bad", {"algorithm": "ppo", "explained_variance": -3.0}),
    ],
    "answers-cut": [("warn", {"truncated": 0.2}), ("bad", {"truncated": 0.7})],
    "sampler-gap": [("warn", {"sampler_gap": 0.04}), ("bad", {"sampler_gap": 0.3})],
    "gradient-always-clipped": [("note", {"updates_clipped": 1.0, "grad_norm": 0.9})],
}  # fmt: skip

SILENT: dict[str, list[dict[str, Any]]] = {
    "nan-skipped": [{"updates_skipped": spike(5, 1.0, 0.0)}, {"drop": ("updates_skipped",)}],
    "reward-falling": [
        {"reward": lambda i: 0.5 + 0.2 * math.sin(i)},  # as noisy as it is low
        {"reward": lambda i: 0.9 if i < 3 else 0.2, "steps": 11},  # too early
        {"evals": {10: 0.80, 20: 0.86, 40: 0.80}},  # within what 128 prompts can tell
    ],
    "entropy-collapsing": [
        {"entropy": lambda i: 0.5 * 0.9**i, "zero_std_groups": 0.6},  # and the reward still rises
        {"entropy": lambda i: 0.5 * 0.9**i, "reward": 1.1, "accuracy": 0.95},  # solved
        {"entropy": lambda i: 0.5 * 0.9**i, "reward": 0.5},  # groups still differ
        {"drop": ("entropy",)},
    ],
    "kl-accelerating": [
        {"kl_ref": lambda i: 0.02 * i},  # far, and straight on
        {"kl_ref": lambda i: 1e-5 * math.exp(i / 5)},  # bends, but is near
        {"kl_ref": lambda i: 0.5 - 0.4 * math.exp(-i / 9)},  # slows down
        {"kl_ref": lambda i: 0.0001 * math.exp(i / 5), "accuracy": 0.98},  # and all is solved
        {"drop": ("kl_ref",)},
    ],
    "clip-saturated": [
        {"clip_fraction_high": 0.2, "clip_fraction_low": 0.18},
        {"clip_fraction_high": 0.1, "clip_fraction_low": 0.0},
        {"drop": ("clip_fraction_high", "clip_fraction_low")},
    ],
    "dead-groups": [
        {"zero_std_groups": 0.45},
        {"algorithm": "ppo", "zero_std_groups": 0.8},  # the critic does not compare within groups
    ],
    "critic-worse-than-mean": [
        {"algorithm": "ppo", "explained_variance": lambda i: -2.0 if i < 10 else 0.3},
        {"algorithm": "ppo", "explained_variance": -0.01},  # as good as a mean
        {"algorithm": "ppo", "explained_variance": -0.5, "steps": 6},  # it has just begun
    ],
    "answers-cut": [{"truncated": 0.08}],
    "sampler-gap": [{"sampler_gap": 0.004}],
    "gradient-always-clipped": [
        {"updates_clipped": 1.0, "grad_norm": 0.2},
        {"updates_clipped": 0.8, "grad_norm": 5.0},
    ],
}


@pytest.mark.parametrize("name", FIRES)
def test_it_fires(name: str) -> None:
    for level, given in FIRES[name]:
        state = made(**given)
        assert found(state).get(name) == level, given
        verdict = next(v for v in health.of_run(state) if v.name == name)
        assert verdict.lane == "main" and verdict.step == 40 and verdict.cause.endswith(".")
        assert verdict.evidence and health.in_words(verdict.evidence)
        assert verdict.metric in METRICS or verdict.metric == "test accuracy"
        json.dumps(verdict.data(), allow_nan=False)


@pytest.mark.parametrize("name", SILENT)
def test_it_stays_silent(name: str) -> None:
    for given in SILENT[name]:
        assert name not in found(made(**given)), given


def test_every_rule_is_in_both_tables() -> None:
    assert set(FIRES) == set(SILENT) and len(FIRES) == len(RULES)


def test_a_step_of_the_past_is_judged_by_what_came_before_it() -> None:
    state = made(truncated=lambda i: 0.3 if i > 30 else 0.0)
    assert "answers-cut" not in found(state, at=30)
    assert "answers-cut" in found(state, at=36)


def test_it_is_said_once_it_lasts_and_until_it_has_gone() -> None:
    """The mean over 5 steps is at least .1 from the step after 20 on, and below it from 41 on."""
    state = made(steps=60, truncated=lambda i: 0.3 if 20 < i <= 40 else 0.0)
    said = [i for i in range(1, 61) if "answers-cut" in found(state, at=i)]
    held = range(22, 44)  # two of five steps, to two of five
    assert said == list(range(held[0] + COMES - 1, held[-1] + GOES))
    lane = state.lanes["main"]
    last = health.verdicts(state, lane, said[-1])[0]
    assert last.step == held[-1]  # its numbers are those of then
    assert dict(last.evidence)["share cut"] == pytest.approx(0.12)


def test_a_number_about_its_threshold_does_not_flicker() -> None:
    def about(i: int) -> float:  # means of 5 steps on both sides of .5, in turn
        return 0.5 + 0.3 * math.sin(i / 2)

    state = made(steps=60, zero_std_groups=about)
    rule = [groups(Evidence(state, state.lanes["main"], i)) is not None for i in range(1, 61)]
    said = ["dead-groups" in found(state, at=i) for i in range(1, 61)]

    def changes(flags: list[bool]) -> int:
        return sum(a != b for a, b in pairwise(flags))

    assert changes(rule) > 5 and changes(said) == 1
    grave = made(steps=60, zero_std_groups=1.0, accuracy=lambda i: 0.85 + 0.1 * math.sin(i / 2))
    levels = [found(grave, at=i).get("dead-groups") for i in range(1, 61)]
    assert set(levels[levels.index("bad") :]) == {"bad"}  # not now a note and then not


def test_the_past_is_judged_as_it_was_when_it_was_new() -> None:
    curves: dict[str, Curve] = {
        "truncated": lambda i: 0.1 + 0.1 * math.sin(i / 3),
        "zero_std_groups": lambda i: 0.5 + 0.2 * math.sin(i / 4),
        "entropy": lambda i: 0.5 * 0.93**i,
        "sampler_gap": lambda i: 0.03 if i % 7 < 4 else 0.0,
        "updates_skipped": spike(17, 1.0, 0.0),
    }
    evals = {10: 0.8, 20: 0.5, 30: 0.8}
    whole = made(steps=40, evals=evals, **curves)
    for i in range(40, 0, -1):  # back, as one scrubs
        then = made(steps=i, evals={k: v for k, v in evals.items() if k <= i}, **curves)
        was, now = (
            [(v.name, v.level, v.step, v.evidence) for v in health.verdicts(s, s.lanes["main"], at)]
            for s, at in ((then, None), (whole, i))
        )
        assert was == now, i


def test_a_rewind_is_judged_anew() -> None:
    state = made(steps=30, truncated=lambda i: 0.5 if i > 20 else 0.0)
    assert "answers-cut" in found(state)
    state.apply(ev.Resumed(20, "rewind", 30))
    assert found(state) == {}
    for i in range(21, 31):
        state.apply(ev.StepDone(i, "main", "grpo", {"truncated": 0.0}, {}, 2, 9, {}, 0, ""))
    assert found(state) == {}


def test_a_critic_is_judged_from_the_switch_on() -> None:
    state = made(steps=30, algorithm="ppo", explained_variance=-0.5)
    assert "critic-worse-than-mean" in found(state)
    state.apply(ev.Switched(28, "main", "ppo", "vapo", "paper", {}, [], [], "cue"))
    assert "critic-worse-than-mean" not in found(state)


def test_a_harder_task_is_no_falling_reward() -> None:
    state = made(reward=lambda i: (0.9 if i < 30 else 0.4) + 0.01 * (-1) ** i)
    assert "reward-falling" in found(state)
    state.apply(ev.SettingChanged(29, "main", "task.mix", [1, 0, 0], [0, 0, 1], "command"))
    assert "reward-falling" not in found(state)


def test_the_worst_comes_first_and_notes_are_not_wrong() -> None:
    state = made(truncated=0.2, sampler_gap=0.3, updates_clipped=1.0, grad_norm=0.9)
    levels = [v.level for v in health.of_run(state)]
    assert levels == ["bad", "warn", "note"]
    assert [v.level for v in health.wrong(health.of_run(state))] == ["bad", "warn"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_settings_exist_are_valid_and_would_change_something(algorithm: str) -> None:
    task = make_task(spec.TaskSection())
    seen = set()
    for name, cases in FIRES.items():
        for _, given in cases:
            state = made(**(given | {"algorithm": algorithm, "settings": {}}))
            lane = state.lanes["main"]
            known = values(state, lane)
            record = Evidence(state, lane)
            for rule in RULES:
                finding = rule(record)
                if finding is None:
                    continue
                seen.add(finding.name)
                tries = choose(finding.candidates, known)
                assert len(tries) == 2, (name, tries)
                for t in tries:
                    assert t.value != t.now and t.why
                    if t.live:
                        own = ALGORITHMS[algorithm](ALGORITHMS[algorithm].Settings())
                        check_setting(t.key, t.value, own, task)
    assert seen >= set(FIRES) - {"dead-groups"}


def test_which_algorithms_learn_nothing_from_equal_rewards() -> None:
    import torch

    from tests.algorithms.batches import make, make_batch

    batch = make_batch([3] * 8, [0] * 4 + [1] * 4, [1.0] * 4 + [1.0, 0.0, 0.0, 0.0])
    credit = {name: make(name, beta=0.0).credit(batch).advantage[:4] for name in ALGORITHMS}
    none = {name for name, a in credit.items() if bool(torch.all(a.abs() < 1e-9))}
    assert none == {name for name, cls in ALGORITHMS.items() if cls.group_baseline}


@pytest.mark.parametrize(
    ("given", "grouped"),
    [
        ({"algorithm": "grpo"}, True), ({"algorithm": "ppo"}, False),
        ({"algorithm": "trpo", "settings": {"advantage": "group"}}, True),
        ({"algorithm": "trpo", "settings": {"advantage": "gae"}}, False),
    ],
)  # fmt: skip
def test_whether_a_recorded_step_compared_within_groups(
    given: dict[str, Any], grouped: bool
) -> None:
    state = made(**given)
    assert Evidence(state, state.lanes["main"]).grouped is grouped


def test_an_algorithm_that_only_other_code_knew_is_no_error() -> None:
    state = made()
    evidence = Evidence(state, state.lanes["main"])
    evidence.algorithm = "theirs"
    assert not evidence.grouped


def test_the_loss_is_explained_in_words() -> None:
    state = made(kl_loss=0.002, loss=0.002)
    record = Evidence(state, state.lanes["main"])
    told = " ".join(loss_report.paragraphs(record))
    assert "0 by construction" in told and "its own group" in told
    assert "‖g‖ = 0.3" in told and "mostly kl_loss" in told and "it is learning" in told
    parts = loss_report.terms(record.metrics)
    assert sum(t.value for t in parts) == pytest.approx(0.002)

    def words(**given: Any) -> str:
        state = made(**given)
        return " ".join(loss_report.paragraphs(Evidence(state, state.lanes["main"])))

    assert "all groups have zero variance" in words(grad_norm=0.0, zero_std_groups=1.0)
    assert "weighs log π" in words(algorithm="reinforce", policy_loss_first=0.4)
    assert "do not add up to 0" in words(
        algorithm="raft", policy_loss_first=-0.3, advantage_mean=0.3
    )
    assert "only the critic learns" in words(algorithm="ppo", drop=("policy_loss",))
    assert "mean 0 over the batch" in words(algorithm="ppo")
    assert "skipped" in words(grad_norm=math.nan)
    assert "no more than noise" in words(reward=lambda i: 0.5 + 0.1 * (-1) ** i)
    assert loss_report.paragraphs(Evidence(made(steps=0), made(steps=0).lanes["main"])) == []
