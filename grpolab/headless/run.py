"""Run, replay and watch without a screen: progress on stderr, with `as_json` one JSON object on
stdout.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

from grpolab.analysis import health
from grpolab.headless import plot
from grpolab.headless.progress import Plain
from grpolab.headless.report import report
from grpolab.launch import Engine, counting, interruptible, log_tail
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.directory import EVENTS
from grpolab.record.state import LabState
from grpolab.record.tail import Follow, stream

POLL = 0.05
"""Seconds between two reads of the run file."""


def run(engine: Engine, *, as_json: bool = False, known: int = 0) -> int:
    """Follow an engine to its end; the command's exit code. The first `known` bytes of its run file
    are read without being printed.

    Raises what `Engine.ready` raises.
    """
    with interruptible():
        run_dir = engine.ready()
        with Plain() as plain:
            plain.say(f"writing {run_dir}")
            code = drive(engine, plain, known)
        _finish(plain, run_dir, code)
    if as_json:
        print(json.dumps(report(plain.state, run_dir), ensure_ascii=False))
    return code


def drive(engine: Engine, plain: Plain, known: int = 0, until: int | None = None) -> int:
    """Show an engine's events until its end: 0 done, 1 failed, 130 interrupted.

    The first `known` bytes of the run file are read without being printed; after step `until` the
    engine is stopped. Ctrl-C once lets it finish the step and write a checkpoint; twice ends it at
    once. A pause is ended at once: there is no screen to end it on.
    """
    follow = Follow(engine.run_dir / EVENTS)
    if known:
        plain.take(follow.poll(known), quiet=True)
    interrupted = enough = False
    with counting() as signals:
        while True:
            if signals and not interrupted:
                interrupted = True
                plain.say("interrupted: finishing the step (Ctrl-C again ends it at once)")
                engine.stop()
            if len(signals) > 1:
                engine.kill()
            # asked before the file is read: what a dead engine wrote is all there
            alive = engine.running
            taken = plain.take(follow.poll())
            if until is not None and plain.state.step >= until and not enough:
                enough = True
                engine.stop()
            if any(isinstance(event, ev.Paused) for event in taken) and not interrupted:
                engine.send({"do": "continue"})
            if not taken and not alive:
                break
            if not taken:
                time.sleep(POLL)
    follow.close()
    code, end = engine.exit_code, plain.state.ended
    if interrupted:
        return 0 if code == 0 and end is not None and end.status == "done" else 130
    if enough and code == 130:
        return 0
    return code if code in (0, 130) else 1


def _finish(plain: Plain, run_dir: Path, code: int) -> None:
    """The last lines: the outcome, where the run is, and how to replay or resume it."""
    state, place = plain.state, shlex.quote(str(run_dir))
    if code == 1:
        for line in cause(plain, run_dir):
            plain.say(line)
    temperature = _temperature(state)
    for lane in state.lanes.values():
        if len(lane.evals) > 1:
            first, last = lane.evals[0], lane.evals[-1]
            name = f"lane {lane.name}: " if len(state.lanes) > 1 else ""
            plain.say(
                f"{name}test accuracy (sampled, T = {temperature:g}) {first.accuracy:.1%} at step "
                f"{first.step}, {last.accuracy:.1%} at step {last.step}; greedy "
                f"{first.greedy_accuracy:.1%}, {last.greedy_accuracy:.1%}"
            )
    plot.at_the_end(plain.console, state)
    for line in health_lines(state):
        plain.say(line)
    word = {0: "done", 130: "interrupted"}.get(code, "failed")
    plain.say(
        f"{word}: {state.step} of {state.steps} steps in {state.time:.1f} s, kept in {run_dir}"
    )
    if code == 0:
        plain.say(f"replay: grpolab replay {place}")
        more = f"{state.more} step{'s' * (state.more > 1)} further"
        plain.say(f"resume: grpolab run --resume {place} --steps {state.more}   ({more})")
        return
    steps = [step for step, _ in directory.checkpoints(run_dir)]
    where = f"from its checkpoint of step {steps[-1]}" if steps else "from the start"
    plain.say(f"resume: grpolab run --resume {place}   ({where})")


def _temperature(state: LabState) -> float:
    """The rollout's temperature, at which test answers are sampled."""
    rollout = state.run.scenario.get("rollout", {}) if state.run else {}
    return float(rollout.get("temperature", 1.0))


def health_lines(state: LabState) -> list[str]:
    """The warnings and errors of the run as it ended, each with cause and suggestions."""
    out: list[str] = []
    for v in health.wrong(health.of_run(state)):
        name = f"lane {v.lane}: " if len(state.lanes) > 1 else ""
        word = health.WORDS[v.level]
        out.append(f"{word}: {name}{v.title} ({health.in_words(v.evidence)})")
        out.append(f"  {v.cause}")
        out += [f"  suggestion: {t.key} = {t.value} (now {t.now}): {t.why}" for t in v.tries]
    return out


def cause(plain: Plain, run_dir: Path) -> list[str]:
    """Why an engine failed: where its trace is, or the last lines it wrote before it died."""
    if plain.state.failed is not None:
        return [f"trace: {run_dir / 'engine.log'}"]
    tail = log_tail(run_dir).splitlines()
    return [
        "the engine ended without an error; the end of engine.log:",
        *(f"  {line}" for line in tail),
    ]


def replay(run_dir: Path, *, speed: float | None = None, as_json: bool = False) -> int:
    """Replay a recorded run as plain progress: as fast as it can, or at `speed` times the recorded
    pace.
    """
    began = time.monotonic()
    with interruptible(), Plain() as plain:
        try:
            for batch in stream(run_dir / EVENTS):  # a long run does not fit into memory
                for some in [batch] if speed is None else ([timed] for timed in batch):
                    if plain.unread and not as_json:
                        return 0
                    while speed is not None and speed * (time.monotonic() - began) < some[0][0]:
                        time.sleep(POLL)
                    plain.take(some)
        except KeyboardInterrupt:
            return 130
        for line in health_lines(plain.state):
            plain.say(line)
    if as_json:
        print(json.dumps(report(plain.state, run_dir), ensure_ascii=False))
    return 0


def watch(run_dir: Path, *, as_json: bool = False) -> int:
    """Follow a run that another process is writing, to its end. The run's own exit code."""
    follow = Follow(run_dir / EVENTS)
    with interruptible(), Plain() as plain:
        try:
            while plain.take(follow.poll()) or plain.state.ended is None:
                if plain.unread and not as_json:
                    return 0
                time.sleep(POLL)
        except KeyboardInterrupt:
            return 130
        for line in health_lines(plain.state):
            plain.say(line)
    follow.close()
    if as_json:
        print(json.dumps(report(plain.state, run_dir), ensure_ascii=False))
    ended = plain.state.ended
    return {"done": 0, "interrupted": 130}.get(ended.status if ended else "", 1)
