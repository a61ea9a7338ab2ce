"""A run on a screen pauses at its end and goes on from there; a finished run is trained further. In
both cases with the digest of a run that long from the start."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpolab import boot
from grpolab.engine.host import Host
from grpolab.errors import RequestError
from grpolab.headless.rerun import rerun
from grpolab.launch import Engine, Request, RunIsDone
from grpolab.record import directory, tail
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.scenario.export import scenario_of
from grpolab.scenario.spec import build
from tests.engine.conftest import OpenLab, finish, small
from tests.engine.test_host import events, last, steps, wait_for

SHORT = {"steps": 3, "checkpoint_every": 2}


class Threaded:
    """An engine's host in a thread of this process: without the seconds of a process's start."""

    def __init__(self, run_dir: Path, request: Request) -> None:
        self.run_dir, self.code = run_dir, None
        resume = (run_dir / directory.EVENTS).exists()
        self.host = Host(
            run_dir,
            "cpu",
            1,
            resume=resume,
            started=time.perf_counter(),
            back_to=request.back_to,
            further=request.further,
            stay=request.stay,
        )
        self.host._listen = lambda: None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        self.code = self.host.run()

    @property
    def running(self) -> bool:
        return self.thread.is_alive()

    def log_tail(self) -> str:
        return repr(events(self)[-1])  # pyright: ignore[reportArgumentType]

    def send(self, command: dict[str, Any]) -> None:
        self.host._take(command)

    def stop(self) -> None:
        self.send({"do": "stop"})

    def wait(self, seconds: float = 60) -> int | None:
        self.thread.join(seconds)
        return self.code


@pytest.fixture
def plan(model: Any) -> Any:
    """A scenario of three short steps on a random model."""

    def make(**changes: Any):
        changes["train"] = SHORT | changes.get("train", {})
        return small(model("llama"), **{"algorithm": "grpo"} | changes)

    return make


def begin(scenario: Any, folder: Path, *, stay: bool = True) -> Any:
    return Threaded(directory.create(scenario, folder), Request(stay=stay))


def further(run: Path, n: int, **how: Any) -> Any:
    """The run, n steps further, to its end."""
    request = Request(resume=str(run), further=n, threads=1, **how)
    engine = Threaded(boot.prepare(request)[0], request)
    assert how.get("stay") or engine.wait() == 0, engine.log_tail()
    return engine


def whole(scenario: Any, folder: Path) -> str:
    """The digest of a run of this scenario from the start."""
    engine = begin(scenario, folder, stay=False)
    assert engine.wait() == 0, engine.log_tail()
    return last(engine).digest


def again(run: Path) -> str:
    """The digest of the run computed again from its events, as `rerun` does it."""
    scenario = build(scenario_of(tail.read(run / directory.EVENTS)))
    return whole(scenario, run.with_name(f"{run.name}-again"))


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
    folder = directory.create(plan(), tmp_path / "soft")
    engine = Engine.start(folder, threads=1, stay=True)
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
    assert again(engine.run_dir) == last(engine).digest


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
    assert again(engine.run_dir) == last(engine).digest


@pytest.mark.slow
def test_killed_at_its_end_it_is_done_when_resumed(plan: Any, tmp_path: Path):
    """And what it was extended by, and a change just before, are not lost with it."""
    engine = Engine.start(directory.create(plan(), tmp_path / "killed"), threads=1, stay=True)
    wait_for(engine, at_end(3))
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    engine = Engine.start(engine.run_dir, threads=1, resume=True, stay=True)
    wait_for(engine, lambda found: sum(e.kind == "paused" for e in found) == 2)
    engine.send({"do": "set", "key": "rollout.temperature", "value": 0.8})
    engine.send({"do": "continue"})
    wait_for(engine, lambda found: 4 in steps(found))
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    second = Engine.start(engine.run_dir, threads=1, resume=True)
    assert second.wait(120) == 0, second.log_tail()
    assert (last(second).step, last(second).status) == (6, "done")
    assert rerun(engine.run_dir, out=tmp_path / "second") == 0


@pytest.mark.parametrize("algorithm", ["grpo", {"name": "ppo-kl"}, {"name": "vapo"}, "reinforce"])
def test_a_finished_run_is_trained_further(algorithm: Any, plan: Any, tmp_path: Path):
    """Also by one that has a critic, and a controller of its KL coefficient."""
    engine = begin(plan(algorithm=algorithm), tmp_path / "short", stay=False)
    assert engine.wait() == 0, engine.log_tail()
    run, scenario = engine.run_dir, (engine.run_dir / directory.SCENARIO).read_text()
    with pytest.raises(RunIsDone):
        boot.prepare(Request(resume=str(run)))
    assert steps(events(further(run, 2))) == [1, 2, 3, 4, 5]
    engine = further(run, 4)
    assert extensions(events(engine)) == [(3, 3, 5), (5, 5, 9)]
    assert (run / directory.SCENARIO).read_text() == scenario
    long = whole(plan(algorithm=algorithm, train={"steps": 9}), tmp_path / "long")
    assert last(engine).digest == long != ""
    assert again(run) == last(engine).digest


def test_a_finished_run_on_the_screen_goes_on_and_pauses_again(plan: Any, tmp_path: Path):
    engine = begin(plan(), tmp_path / "short", stay=False)
    assert engine.wait() == 0, engine.log_tail()
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
    with pytest.raises(RequestError, match=r"--steps 3: .* at step 2 of 6; .*the 4 that are left"):
        boot.prepare(Request(resume=str(run), back_to=2, further=3))
    engine = further(run, 5, back_to=2)
    assert last(engine).step == 7 and extensions(events(engine)) == [(2, 6, 7)]
    assert last(engine).digest == whole(plan(train={"steps": 7}), tmp_path / "long") != ""
    assert again(run) == last(engine).digest


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
