"""Back to a checkpoint and on: the detour leaves no trace; forks and settings live; the session as
a scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grpolab.engine import apply_cue, checkpoint, lab_checkpoint
from grpolab.engine.lab import Lab, parts_of
from grpolab.engine.lab_checkpoint import rewind
from grpolab.headless.rerun import scenario_of
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.scenario.spec import AlgorithmSection, ForkCue, SetCue, build
from tests.engine.conftest import OpenLab, finish, only, state_of

EVERY = {"steps": 6, "checkpoint_every": 1, "updates_per_rollout": 1}


def do(lab: Any, **cue: Any) -> None:
    """What a command does."""
    model = {"set": SetCue, "fork": ForkCue}[cue["do"]]
    apply_cue.apply(lab, model(at=lab.step_number, **cue), "command")


def fold(seen: list[ev.Event]) -> LabState:
    state = LabState()
    for event in seen:
        state.apply(event)
    return state


CUES = [
    {"at": 2, "do": "switch", "algorithm": "ppo"},
    {"at": 4, "do": "switch", "algorithm": "grpo-iterative"},
]


@pytest.mark.parametrize(
    "to", [0, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 2, 3))]
)
def test_a_detour_leaves_no_trace(open_small: OpenLab, tmp_path: Path, to: int):
    plain, _ = open_small("grpo", folder=tmp_path / "plain", train=EVERY, cues=CUES)
    digest = finish(plain)
    lab, seen = open_small("grpo", folder=tmp_path / "detour", train=EVERY, cues=CUES)
    lab.evaluate()
    for _ in range(4):
        lab.apply_cues()
        lab.advance()
    do(lab, do="set", key="beta", value=0.5)
    do(lab, do="set", key="train.steps", value=9)
    do(lab, do="fork", name="twin", algorithm=AlgorithmSection(name="rloo"))
    lab.advance()
    rewind(lab, to)
    assert (lab.step_number, list(lab.lanes)) == (to, ["main"])
    assert [step for step, _ in checkpoint.complete(lab.run_dir)] == list(range(1, to + 1))
    state = fold(seen)
    lane = state.lanes["main"]
    assert (state.step, list(state.lanes)) == (to, ["main"])
    assert lane.changes == [] and len(lane.switches) == (to > 2)
    assert lane.algorithm == lab.lanes["main"].algorithm.name
    assert finish(lab) == digest
    timed = [(0.0, e) for e in seen]
    kept = [e for _, e in directory.in_force(timed) if isinstance(e, ev.StepDone)]
    assert [s.step for s in kept] == [1, 2, 3, 4, 5, 6]
    assert directory.recorded_cues(timed) == []
    names = {k: state_of(v) for k, v in lab.lanes.items()}
    assert names == {k: state_of(v) for k, v in plain.lanes.items()}


def test_what_was_done_after_the_checkpoint_of_the_same_step_is_undone_too(open_small: OpenLab):
    lab, seen = open_small("grpo", train=EVERY)
    lab.advance()
    lab.advance()
    do(lab, do="set", key="rollout.temperature", value=0.7)
    rewind(lab, 2)
    assert lab.lanes["main"].rollout.temperature == 1.0
    assert fold(seen).lanes["main"].changes == []
    do(lab, do="set", key="beta", value=0.3)
    lab.advance()
    assert [c["key"] for c in directory.recorded_cues([(0.0, e) for e in seen])] == ["beta"]
    assert [c.key for c in fold(seen).lanes["main"].changes] == ["beta"]


def test_a_rewind_to_nowhere_changes_nothing(open_small: OpenLab):
    lab, seen = open_small("grpo", train={"steps": 6, "checkpoint_every": 2})
    for _ in range(3):
        lab.advance()
    before = state_of(lab.lanes["main"])
    with pytest.raises(ValueError, match=r"no checkpoint of step 3; there are .* steps 0, 2"):
        rewind(lab, 3)
    assert state_of(lab.lanes["main"]) == before and not only(seen, ev.Resumed)


def test_a_session_with_everything_in_it_is_a_scenario_with_the_same_digest(
    open_small: OpenLab, tmp_path: Path
):
    """Switches, settings of every section, a rewind and a fork there, then the same as cues."""
    lab, seen = open_small("grpo", folder=tmp_path / "hand", train=EVERY)
    opening = ev.RunStarted(1, "x", lab.plan.complete(), 0, "cpu", 1, 6)
    lab.advance()
    do(lab, do="set", key="rollout.group_size", value=3)
    do(lab, do="set", key="train.max_grad_norm", value=0.5)
    lab.advance()
    apply_cue.switch(lab, lab.lanes["main"], AlgorithmSection(name="ppo"), "command")
    lab.advance()
    rewind(lab, 2)
    do(lab, do="fork", name="twin", algorithm=AlgorithmSection(name="rloo"))
    do(lab, do="set", key="beta", value=0.2, lane="twin")
    do(lab, do="set", key="evaluate.every", value=2)
    do(lab, do="set", key="train.steps", value=5)
    do(lab, do="set", key="task.k", value=3)
    digest = finish(lab)
    assert lab.step_number == 5
    plan = build(scenario_of([(0.0, e) for e in [opening, *seen]]))
    assert [cue.do for cue in plan.cues] == ["set", "set", "fork", "set", "set", "set", "set"]
    again, seen_again = open_small(folder=tmp_path / "again", cues=plan.model_dump()["cues"],
                                   train=EVERY)  # fmt: skip
    assert finish(again) == digest and again.step_number == 5
    assert len(again.test_prompts) == 1
    assert only(seen_again, ev.Refused) == []


def test_lab_wide_settings_come_back_with_a_checkpoint(open_small: OpenLab, tmp_path: Path):
    lab, _ = open_small("rloo", folder=tmp_path / "a", train=EVERY)
    do(lab, do="set", key="train.steps", value=8)
    do(lab, do="set", key="record.reference_every", value=0)
    lab.advance()
    again, seen = open_small("grpo", folder=tmp_path / "b", train=EVERY)
    apply_cue.switch(again, again.lanes["main"], AlgorithmSection(name="rloo"), "command")
    lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "a", 1))
    assert (again.plan.train.steps, again.plan.record.reference_every) == (8, 0)
    again.advance()
    assert "kl_ref" not in only(seen, ev.StepDone)[-1].metrics


def test_the_weights_of_the_reward_change_live(open_small: OpenLab, tmp_path: Path):
    """From the next step on, in every lane and in evaluations; a checkpoint and a session keep
    them, a rewind undoes them."""

    def opened(name: str, **more: Any) -> tuple[Lab, list[ev.Event]]:
        lab, seen = open_small("rloo", folder=tmp_path / name, train=EVERY, **more)
        lab.parts = parts_of(lab.plan)  # the fixture's own reward knows no weights
        return lab, seen

    lab, seen = opened("hand")
    opening = ev.RunStarted(1, "x", lab.plan.complete(), 0, "cpu", 1, 6)
    lab.advance()
    lab.advance()
    do(lab, do="set", key="rewards.format.weight", value=3)
    lab.advance()
    told = only(seen, ev.SettingChanged)[0]
    assert (told.key, told.before, told.after) == ("rewards.format.weight", 0.2, 3)
    graded = {e.step: e for e in only(seen, ev.Graded)}
    assert {round(p["format"], 6) for p in graded[2].parts} <= {0.0, 0.2}
    assert {p["format"] for p in graded[3].parts} <= {0.0, 3.0}
    for e in graded.values():
        assert e.reward == pytest.approx([sum(p.values()) for p in e.parts])
    metrics = {e.step: e.metrics for e in only(seen, ev.StepDone)}
    assert 0 <= metrics[3]["format"] <= 1  # the share that keeps it, whatever it is worth
    lab.advance()
    again, _ = opened("b")
    lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "hand", 4))
    assert [weight for _, weight in again.parts] == [weight for _, weight in lab.parts] == [1.0, 3]
    rewind(lab, 1)
    assert [weight for _, weight in lab.parts] == [1.0, 0.2]
    do(lab, do="set", key="rewards.accuracy.weight", value=0.5)
    digest = finish(lab)
    timed = [(0.0, e) for e in [opening, *seen]]
    assert [(c["at"], c["key"]) for c in directory.recorded_cues(timed)] == [
        (1, "rewards.accuracy.weight")
    ]
    plan = build(scenario_of(timed))
    replayed, _ = opened("again", cues=[c.model_dump(mode="json") for c in plan.cues])
    assert finish(replayed) == digest


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("train.steps", 1, "are already done"),
        ("train.microbatch", 0, "greater than or equal to 1"),
        ("rollout.max_tokens", 4096, "positions"),
        ("evaluate.prompts", 0, "greater than or equal to 1"),
        ("record.tokens", "maybe", "expected"),
        ("model.quantize", "nf4", "can only be set when a run starts: backbone"),
        ("seed", 3, "are sampled from it"),
        ("rewards.accuracy", 3, "rewards.NAME.weight"),
        ("rewards.acuracy.weight", 3, "no reward 'acuracy'; the run has accuracy, format"),
        ("rewards.accuracy.wieght", 3, "did you mean 'weight'"),
        ("rewards.accuracy.weight", "1", "expected a number"),
        ("rewards.accuracy.weight", True, "expected a number"),
        ("train.step", 3, "did you mean 'steps'"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(
    open_small: OpenLab, key: str, value: Any, told: str
):
    lab, seen = open_small("grpo", train=EVERY)
    lab.advance()
    do(lab, do="set", key=key, value=value)
    (refused,) = only(seen, ev.Refused)
    assert told in refused.reason and "\n" not in refused.reason
    assert json.dumps(lab.plan.complete()) == json.dumps(lab.first.complete())
