"""The engine as a process: commands, stopping, crashing, killing and going on, by its run file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from grpolab.engine.lab import Lab
from grpolab.launch import Engine, Request, spawn
from grpolab.record import directory, tail
from grpolab.record import events as ev
from tests.engine.conftest import finish, tiny

LONG = {"steps": 8, "checkpoint_every": 2}


def start(folder: Path, **changes) -> Engine:
    return Engine.start(directory.create(tiny(**changes), folder), threads=1)


def events(engine: Engine) -> list[ev.Event]:
    path = engine.run_dir / directory.EVENTS
    return [e for _, e in tail.read(path)] if path.exists() else []


def wait_for(engine: Engine, what: Callable[[list[ev.Event]], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what(events(engine)):
        assert time.monotonic() < end, "nothing of the kind happened"
        assert engine.running or what(events(engine)), engine.log_tail()
        time.sleep(0.05)


def steps(found: list[ev.Event]) -> list[int]:
    return [e.step for e in found if isinstance(e, ev.StepDone)]


def last(engine: Engine) -> ev.Ended:
    (*_, end) = (e for e in events(engine) if isinstance(e, ev.Ended))
    return end


def without_a_process(folder: Path, **changes) -> str:
    """The digest of a run when nothing happens to it."""
    return finish(Lab(tiny(**changes), folder, lambda event: None, torch.device("cpu"), 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the long run when nothing happens to it, in this process."""
    return without_a_process(tmp_path_factory.mktemp("whole"), train=LONG)


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_digest(tmp_path: Path, whole: str):
    engine = start(tmp_path / "killed", train=LONG)
    wait_for(engine, lambda found: 3 in steps(found))
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    with (engine.run_dir / directory.EVENTS).open("ab") as file:
        file.write(b'{"t": 9, "kind": "st')  # cut off while it was writing
    again = Engine.start(engine.run_dir, threads=1, resume=True)
    assert again.wait(120) == 0, again.log_tail()
    assert last(again).digest == whole != ""


def test_stopped_and_resumed_it_ends_with_the_same_digest(tmp_path: Path):
    train = LONG | {"updates_per_rollout": 1}
    whole = without_a_process(tmp_path / "whole", train=train)
    engine = start(tmp_path / "stopped", train=train)
    wait_for(engine, lambda found: 1 in steps(found))
    engine.stop()
    assert engine.wait(60) == 130
    done = last(engine).step
    assert last(engine).status == "interrupted" and 1 <= done < 8
    assert directory.checkpoints(engine.run_dir)[-1][0] == done
    again = Engine.start(engine.run_dir, threads=1, resume=True)
    assert again.wait(120) == 0
    assert last(again).digest == whole
    assert steps(events(again)) == list(range(1, 9))


SLOW = """
import sys, time
from grpolab.engine import __main__, lab
lab.Lab.open = lambda self: time.sleep(100)
sys.exit(__main__.main())
"""


@pytest.mark.slow
def test_it_is_left_at_once_while_it_loads(tmp_path: Path, whole: str):
    folder = directory.create(tiny(train=LONG), tmp_path / "loading")
    with (folder / directory.LOG).open("ab") as log:
        engine = Engine(spawn(["-c", SLOW, str(folder), "--threads", "1"], log, log), folder)
    wait_for(engine, lambda found: bool(found))
    engine.send({"do": "pause"})
    engine.stop()
    assert engine.wait(20) == 130, engine.log_tail()
    found = events(engine)
    assert found[-1] == last(engine) and (last(engine).step, last(engine).status) == (
        0, "interrupted",
    )  # fmt: skip
    again = Engine.start(folder, threads=1, resume=True)
    assert again.wait(120) == 0, again.log_tail()
    assert last(again).digest == whole


@pytest.mark.slow
def test_what_was_done_by_hand_is_done_again_after_a_kill(tmp_path: Path):
    engine = start(tmp_path / "hand", train=LONG)
    engine.send({"do": "pause"})
    wait_for(engine, lambda found: any(isinstance(e, ev.Paused) for e in found))
    for _ in range(3):
        engine.send({"do": "step"})
    wait_for(engine, lambda found: len(steps(found)) >= 3)
    engine.send({"do": "switch", "algorithm": "rloo"})
    engine.send({"do": "set", "key": "rollout.temperature", "value": 0.8})
    engine.send({"do": "nonsense"})
    engine.send({"do": "step"})
    wait_for(engine, lambda found: any(isinstance(e, ev.Refused) for e in found))
    wait_for(engine, lambda found: len(steps(found)) >= 4)
    time.sleep(0.3)
    assert max(steps(events(engine))) in (3, 4)  # paused: no step that was not asked for
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    again = Engine.start(engine.run_dir, threads=1, resume=True)
    assert again.wait(120) == 0, again.log_tail()
    from grpolab.headless.rerun import rerun

    assert rerun(engine.run_dir, out=tmp_path / "second") == 0
    in_force = [e for _, e in directory.in_force(tail.read(engine.run_dir / directory.EVENTS))]
    done = {e.step: e.algorithm for e in in_force if isinstance(e, ev.StepDone)}
    at = next(e.step for e in in_force if isinstance(e, ev.Switched))
    assert {done[s] for s in range(1, at + 1)} == {"grpo"}
    assert {done[s] for s in range(at + 1, 9)} == {"rloo"}


@pytest.mark.slow
def test_rewound_and_forked_by_command_it_reruns_to_the_same_digest(tmp_path: Path):
    """Paused all the way: what is undone stays out of the rerun, and out of a resume."""
    engine = start(tmp_path / "hand", train={"steps": 5, "checkpoint_every": 1})
    engine.send({"do": "pause"})
    wait_for(engine, lambda found: any(isinstance(e, ev.Paused) for e in found))
    for _ in range(3):
        engine.send({"do": "step"})
    wait_for(engine, lambda found: len(steps(found)) >= 3)
    at = steps(events(engine))[-1]
    engine.send({"do": "set", "key": "beta", "value": 0.3})
    engine.send({"do": "rewind", "to": 77})
    engine.send({"do": "rewind", "to": "1"})
    for wrong in ({"lane": "nobody"}, {"name": "main"}, {"algorithm": "ppx"}):
        fork = {"do": "fork", "name": "twin", "lane": "main", "checkpoint": at - 1}
        engine.send(fork | wrong)
    engine.send(
        {"do": "fork", "name": "twin", "algorithm": "ppo", "lane": "main", "checkpoint": at - 1}
    )
    engine.send({"do": "step"})
    wait_for(engine, lambda found: steps(found)[-1:] == [at] and len(steps(found)) >= at + 2)
    found = events(engine)
    assert sum(isinstance(e, ev.Refused) for e in found) == 5
    (back,) = (e for e in found if isinstance(e, ev.Resumed))
    assert (back.step, back.origin, back.before) == (at - 1, "rewind", at)
    os.killpg(engine.process.pid, signal.SIGKILL)
    engine.wait(10)
    again = Engine.start(engine.run_dir, threads=1, resume=True)
    assert again.wait(120) == 0, again.log_tail()
    from grpolab.headless.rerun import rerun, scenario_of

    recorded = tail.read(engine.run_dir / directory.EVENTS)
    assert [cue["do"] for cue in scenario_of(recorded)["cues"]] == ["fork"]
    assert rerun(engine.run_dir, out=tmp_path / "second") == 0


@pytest.mark.slow
def test_a_run_that_is_done_goes_back_to_a_checkpoint_and_on(tmp_path: Path, whole: str):
    """What was done by hand since is undone; the way on is the one that it took before."""
    engine = start(tmp_path / "done", train=LONG)
    wait_for(engine, lambda found: 5 in steps(found))
    engine.send({"do": "set", "key": "rollout.temperature", "value": 0.6})
    assert engine.wait(120) == 0, engine.log_tail()
    assert last(engine).digest != whole
    request = Request(resume=str(engine.run_dir), back_to=4, threads=1)
    again = Engine.boot(request)
    assert again.ready() == engine.run_dir and again.wait(120) == 0, again.log_tail()
    assert last(again).digest == whole != ""
    found = events(again)
    rewound = [e for e in found if isinstance(e, ev.Resumed) and e.origin == "rewind"]
    assert [(e.step, e.before) for e in rewound] == [(4, 8)]
    again = Engine.boot(Request(resume=str(engine.run_dir), back_to=8, threads=1))
    again.send({"do": "pause"})  # at its end there is nothing to do but to make it longer
    again.send({"do": "set", "key": "train.steps", "value": 9})
    again.send({"do": "continue"})
    assert again.wait(120) == 0, again.log_tail()
    assert steps(events(again))[-1] == 9 and last(again).status == "done"


@pytest.mark.slow
def test_a_session_saved_as_a_scenario_has_its_digest(tmp_path: Path):
    """By hand: a switch, settings, questions, a rewind, a fork; then the file, headless."""
    from grpolab.scenario import export
    from grpolab.scenario.load import load

    engine = start(tmp_path / "hand", train={"steps": 4, "checkpoint_every": 1})
    engine.send({"do": "pause"})
    wait_for(engine, lambda found: any(isinstance(e, ev.Paused) for e in found))
    engine.send({"do": "step"})
    wait_for(engine, lambda found: len(steps(found)) >= 1)
    at = steps(events(engine))[-1]
    for command in (
        {"do": "switch", "algorithm": "ppo"},
        {"do": "chat", "text": "1+1; 2+2; 3*3; 4-1", "lane": "main"},
        {"do": "step"},
        {"do": "rewind", "to": at},
        {"do": "switch", "algorithm": {"name": "rloo", "beta": 0.02}},
        {"do": "set", "key": "train.max_grad_norm", "value": 0.3, "lane": "main"},
        {"do": "set", "key": "evaluate.prompts", "value": 3},
        {"do": "set", "key": "task.mix", "value": [0, 0, 1]},
        {"do": "fork", "name": "twin", "algorithm": "dr-grpo", "lane": "main"},
        {"do": "chat", "text": "what?", "lane": "twin"},
        {"do": "continue"},
    ):
        engine.send(command)
    assert engine.wait(120) == 0, engine.log_tail()
    assert not [e for e in events(engine) if isinstance(e, ev.Refused)]
    path, count = export.save(engine.run_dir)
    assert count == 5 and path.parent == engine.run_dir
    plan = load(str(path))
    assert [cue.do for cue in plan.cues] == ["switch", "set", "set", "set", "fork"]
    again = Engine.start(directory.create(plan, tmp_path / "again"), threads=1)
    assert again.wait(120) == 0, again.log_tail()
    assert last(again).digest == last(engine).digest != ""


def test_it_never_outlives_its_viewer(tmp_path: Path):
    engine = start(tmp_path / "orphan", train={"steps": 500})
    wait_for(engine, lambda found: bool(steps(found)))
    assert engine.process.stdin is not None
    engine.process.stdin.close()
    assert engine.wait(60) == 130


def test_a_failure_is_an_event_and_native_output_stays_off_the_screen(tmp_path: Path):
    engine = start(tmp_path / "bad", model={"path": str(tmp_path / "nowhere")})
    assert engine.wait(60) == 1
    failed = [e for e in events(engine) if isinstance(e, ev.Failed)]
    assert len(failed) == 1 and "nowhere" in failed[0].error
    assert last(engine).status == "failed"
    assert "Traceback" in (engine.run_dir / "engine.log").read_text()


@pytest.mark.slow
def test_answers_longer_than_the_model_can_be_are_refused_in_words(tmp_path: Path):
    engine = start(tmp_path / "long", rollout={"max_tokens": 1000})
    assert engine.wait(60) == 1
    failed = next(e for e in events(engine) if isinstance(e, ev.Failed))
    assert "lower rollout.max_tokens" in failed.error
