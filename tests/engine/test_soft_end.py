"""A run on a screen pauses at its end and goes on from there; a finished run is trained further. In
both cases with the digest of a run that long from the start."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpolab.errors import RequestError
from grpolab.headless.rerun import rerun
from grpolab.launch import Engine, Request, RunIsDone
from grpolab.record import directory, tail
from grpolab.record import events as ev
from grpolab.record.state import LabState
from tests.engine.conftest import OpenLab, finish, small
from tests.engine.test_host import events, last, steps, wait_for

SHORT = {"steps": 3, "checkpoint_every": 2}


@pytest.fixture
def plan(model: Any) -> Any:
    """A scenario of three short steps on a random model."""

    def make(**changes: Any):
        changes["train"] = SHORT | changes.get("train", {})
        return small(model("llama"), **{"algorithm": "grpo"} | changes)

    return make


def begin(scenario: Any, folder: Path, *, stay: bool = True) -> Engine:
    return Engine.start(directory.create(scenario, folder), threads=1, stay=stay)


def further(run: Path, n: int, **how: Any) -> Engine:
    """The run, n steps further, to its end."""
    engine = Engine.boot(Request(resume=str(run), further=n, threads=1, **how))
    engine.ready()
    assert how.get("stay") or engine.wait(120) == 0, engine.log_tail()
    return engine


def whole(scenario: Any, folder: Path) -> str:
    """The digest of a run of this length from the start."""
    engine = begin(scenario, folder, stay=False)
    assert engine.wait(120) == 0, engine.log_tail()
    return last(engine).digest


def at_end(step: int):
    """Whether the events end with a run that waits at its end, after `step` steps."""

    def waits(found: list[ev.Event]) -> bool:
        return any(isinstance(e, ev.Paused) and (e.step, e.origin) == (step, "end") for e in found)

    return waits


def extensions(found: list[ev.Event]) -> list[tuple[int, int, int]]:
    return [(e.step, e.before, e.after) for e in found if isinstance(e, ev.Extended)]


def test_it_pauses_at_its_end_evaluated_and_saved_and_goes_on(plan: Any, tmp_path: Path):
    """`p` trains as many steps again, `n` one, and a stop there is the end of a run that is
    done."""
    engine = begin(plan(), tmp_path / "soft")
    wait_for(engine, at_end(3))
    found = events(engine)
    assert [e.step for e in found if isinstance(e, ev.Evaluated)] == [0, 3]
    assert directory.checkpoints(engine.run_dir)[-1][0] == 3
    assert engine.running and not any(isinstance(e, ev.Ended) for e in found)
    before = sum(psutil.Process(engine.process.pid).cpu_times()[:2])
    time.sleep(0.5)
    assert sum(psutil.Process(engine.process.pid).cpu_times()[:2]) - before <= 0.02  # it sleeps
    engine.send({"do": "continue"})
    wait_for(engine, at_end(6))
    engine.send({"do": "step"})
    engine.send({"do": "step"})
    wait_for(engine, lambda found: 8 in steps(found))
    time.sleep(0.2)
    assert steps(events(engine))[-1] == 8  # two were asked for, and no third is made
    engine.send({"do": "continue"})
    wait_for(engine, at_end(9))
    engine.stop()
    assert engine.wait(60) == 0
    assert extensions(events(engine)) == [(3, 3, 6), (6, 6, 9)]
    assert (last(engine).step, last(engine).status) == (9, "done")
    assert last(engine).digest == whole(plan(train={"steps": 9}), tmp_path / "long") != ""
    assert "steps: 3" in (engine.run_dir / directory.SCENARIO).read_text()
    assert rerun(engine.run_dir, out=tmp_path / "second") == 0
    again = tail.read(tmp_path / "second" / directory.EVENTS)
    assert again[-1][1].digest == last(engine).digest  # pyright: ignore


def test_continue_and_one_step_in_a_burst(plan: Any, tmp_path: Path):
    engine = begin(plan(), tmp_path / "burst")
    wait_for(engine, at_end(3))
    engine.send({"do": "continue"})
    engine.send({"do": "step"})
    wait_for(engine, lambda found: 4 in steps(found))
    time.sleep(0.2)
    assert steps(events(engine))[-1] == 4 and engine.running
    engine.stop()
    assert engine.wait(60) == 130  # in the middle of what it was extended by
    assert extensions(events(engine)) == [(3, 3, 6)]


def test_a_switch_at_the_end_continues_and_a_refused_one_does_not(plan: Any, tmp_path: Path):
    engine = begin(plan(), tmp_path / "switch")
    wait_for(engine, at_end(3))
    engine.send({"do": "switch", "algorithm": "nosuch", "then": "continue"})
    wait_for(engine, lambda found: any(isinstance(e, ev.Refused) for e in found))
    engine.send({"do": "evaluate"})
    time.sleep(0.2)
    assert steps(events(engine))[-1] == 3
    engine.send({"do": "set", "key": "rollout.temperature", "value": 0.8})
    engine.send({"do": "switch", "algorithm": "ppo", "then": "continue"})
    wait_for(engine, at_end(6))
    done = {e.step: e.algorithm for e in events(engine) if isinstance(e, ev.StepDone)}
    assert [done[n] for n in range(1, 7)] == ["grpo"] * 3 + ["ppo"] * 3
    engine.send({"do": "fork", "name": "twin", "lane": "main"})
    engine.send({"do": "rewind", "to": 3})  # the switch, the fork and the extension are undone
    wait_for(engine, lambda found: at_end(3)(found[-4:]))
    state = LabState()
    for t, event in tail.read(engine.run_dir / directory.EVENTS):
        state.apply(event, t)
    assert state.waits_at_end and (state.step, state.steps, state.more) == (3, 3, 3)
    assert list(state.lanes) == ["main"] and state.lanes["main"].algorithm == "grpo"
    engine.send({"do": "fork", "name": "twin", "lane": "main", "algorithm": "rloo"})
    engine.send({"do": "continue"})
    wait_for(engine, lambda found: at_end(6)(found[-4:]))
    engine.stop()
    assert engine.wait(60) == 0
    assert rerun(engine.run_dir, out=tmp_path / "second") == 0


def test_killed_at_its_end_it_is_done_when_resumed(plan: Any, tmp_path: Path):
    """And what it was extended by, and a change just before, are not lost with it."""
    engine = begin(plan(), tmp_path / "killed")
    wait_for(engine, at_end(3))
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    engine = Engine.start(engine.run_dir, threads=1, resume=True, stay=True)
    wait_for(engine, at_end(3))
    engine.send({"do": "set", "key": "rollout.temperature", "value": 0.8})
    engine.send({"do": "continue"})
    wait_for(engine, lambda found: 4 in steps(found))
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    again = Engine.start(engine.run_dir, threads=1, resume=True)
    assert again.wait(120) == 0, again.log_tail()
    assert (last(again).step, last(again).status) == (6, "done")
    assert rerun(engine.run_dir, out=tmp_path / "second") == 0


@pytest.mark.parametrize("algorithm", ["grpo", {"name": "ppo-kl"}, {"name": "vapo"}, "reinforce"])
def test_a_finished_run_is_trained_further(algorithm: Any, plan: Any, tmp_path: Path):
    """Also by one that has a critic, and a controller of its KL coefficient."""
    engine = begin(plan(algorithm=algorithm), tmp_path / "short", stay=False)
    assert engine.wait(120) == 0, engine.log_tail()
    run, scenario = engine.run_dir, (engine.run_dir / directory.SCENARIO).read_text()
    with pytest.raises(RunIsDone):
        Engine.boot(Request(resume=str(run), threads=1)).ready()
    assert steps(events(further(run, 2))) == [1, 2, 3, 4, 5]
    engine = further(run, 4)
    assert extensions(events(engine)) == [(3, 3, 5), (5, 5, 9)]
    assert (run / directory.SCENARIO).read_text() == scenario
    long = whole(plan(algorithm=algorithm, train={"steps": 9}), tmp_path / "long")
    assert last(engine).digest == long != ""
    assert rerun(run, out=tmp_path / "second") == 0


def test_a_finished_run_on_the_screen_goes_on_and_pauses_again(plan: Any, tmp_path: Path):
    engine = begin(plan(), tmp_path / "short", stay=False)
    assert engine.wait(120) == 0, engine.log_tail()
    engine = further(engine.run_dir, 2, stay=True)
    wait_for(engine, at_end(5))
    engine.send({"do": "continue"})  # as many as the run began with
    wait_for(engine, at_end(8))
    engine.stop()
    assert engine.wait(60) == 0
    assert last(engine).digest == whole(plan(train={"steps": 8}), tmp_path / "long") != ""


def test_steps_are_counted_from_where_a_run_resumes(plan: Any, tmp_path: Path):
    engine = begin(plan(train={"steps": 6}), tmp_path / "run")
    wait_for(engine, at_end(6))
    engine.stop()
    assert engine.wait(60) == 0
    run = engine.run_dir
    asked = Engine.boot(Request(resume=str(run), back_to=2, further=3, threads=1))
    with pytest.raises(RequestError, match=r"--steps 3: .* at step 2 of 6; .*the 4 that are left"):
        asked.ready()
    engine = further(run, 5, back_to=2)
    assert last(engine).step == 7 and extensions(events(engine)) == [(2, 6, 7)]
    assert last(engine).digest == whole(plan(train={"steps": 7}), tmp_path / "long") != ""
    engine = further(run, 4, back_to=3) if (run / "checkpoints/step-3").exists() else engine
    assert rerun(run, out=tmp_path / "second") == 0


def test_a_schedule_that_ends_stays_where_it_is_and_says_so(open_small: OpenLab, tmp_path: Path):
    from grpolab.engine import apply_cue

    lab, seen = open_small("grpo", train={"steps": 3, "schedule": "linear"})
    finish(lab)
    apply_cue.extend(lab, 5, "command")
    finish(lab)
    rates = [e.metrics["learning_rate"] for e in seen if isinstance(e, ev.StepDone)]
    assert rates == pytest.approx([0.02, 0.011, 0.002, 0.002, 0.002])
    (told,) = (e for e in seen if isinstance(e, ev.Extended))
    assert "stays at its last value" in told.note and "5 steps from the start" in told.note
    with pytest.raises(ValueError, match="5 steps already"):
        apply_cue.extend(lab, 5, "command")
    lab, seen = open_small("grpo", train={"steps": 1}, folder=tmp_path / "constant")
    finish(lab)
    apply_cue.extend(lab, 2, "command")
    (told,) = (e for e in seen if isinstance(e, ev.Extended))
    assert not told.note
