"""Compute a recorded run again and compare, step by step, down to the first quantity that differs.

A run's digest covers every step's tokens, rewards and advantages and, at its end, the adapters.
Where two digests differ, the recorded rollouts of that step say which of these it was.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpolab.errors import RequestError, ScenarioError
from grpolab.headless.progress import Plain
from grpolab.headless.run import drive
from grpolab.launch import Engine, interruptible, log_tail
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.tail import Timed, read
from grpolab.scenario.export import scenario_of

Key = tuple[int, str]
"""A step of a lane."""


@dataclass
class Record:
    """What a run recorded of each step, and the digest it ended with."""

    steps: dict[Key, ev.StepDone] = field(default_factory=dict)
    graded: dict[Key, ev.Graded] = field(default_factory=dict)
    tokens: dict[Key, ev.Tokens] = field(default_factory=dict)
    digest: str = ""  # over the adapters too; empty if the run did not end by itself

    @classmethod
    def of(cls, events: list[Timed]) -> Record:
        """The record of a run's events, without what a resume made void."""
        record = cls()
        for _, e in directory.in_force(events):
            if isinstance(e, ev.StepDone):
                record.steps[e.step, e.lane] = e
            elif isinstance(e, ev.Graded):
                record.graded[e.step, e.lane] = e
            elif isinstance(e, ev.Tokens):
                record.tokens[e.step, e.lane] = e
            elif isinstance(e, ev.Ended):
                record.digest = e.digest if e.status == "done" else ""
        return record

    @property
    def last(self) -> int:
        """The last step that every lane made."""
        ends: dict[str, int] = {}
        for step, lane in self.steps:
            ends[lane] = max(step, ends.get(lane, 0))
        return min(ends.values(), default=0)


@dataclass(frozen=True)
class Difference:
    """Where two runs part."""

    step: int
    lane: str
    quantity: (
        str  # "tokens", "rewards", "advantages", "adapters", or "steps" where one run is shorter
    )


def compare(one: Record, two: Record) -> Difference | None:
    """The first difference between two records, in the order in which it was computed; None if
    there is none.
    """
    for key in sorted(one.steps):
        if key not in two.steps:
            return Difference(*key, "steps")
        if one.steps[key].digest != two.steps[key].digest:
            return Difference(*key, _quantity(one, two, key))
    if one.digest and two.digest and one.digest != two.digest:
        return Difference(one.last, "", "adapters")
    return None


def _quantity(one: Record, two: Record, key: Key) -> str:
    """Which part of a step differs. What neither text nor rewards show can only be the
    advantages.
    """

    def differ(table: Callable[[Record], dict[Key, Any]], *names: str) -> bool:
        a, b = table(one).get(key), table(two).get(key)
        return (
            a is not None and b is not None and any(getattr(a, n) != getattr(b, n) for n in names)
        )

    if differ(lambda r: r.graded, "text", "length") or differ(lambda r: r.tokens, "pieces"):
        return "tokens"
    if differ(lambda r: r.graded, "reward"):
        return "rewards"
    return "advantages"


def rerun(run_dir: Path, *, out: Path | None = None, as_json: bool = False) -> int:
    """Compute `run_dir` again, on the recorded device with the recorded threads: 0 equal, 1
    different or failed.

    Raises RequestError.
    """
    from grpolab.scenario.spec import build

    events = read(run_dir / directory.EVENTS)
    opening = directory.opening(run_dir)
    assert opening is not None
    try:
        scenario = build(scenario_of(events))
    except ScenarioError as error:
        raise RequestError(
            f"{run_dir}: its recorded scenario no longer holds: {error.message}"
        ) from None
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        if out is None:
            out = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grpolab-rerun-")))
                / "run"
            )
        second = directory.create(scenario, out)
        engine = Engine.start(second, threads=opening.threads, device=opening.device)
        stack.callback(engine.close)
        with Plain() as plain:
            # a run that was cut short is computed as far as it came; its length stays what it was,
            # because learning rates may depend on it
            one = Record.of(events)
            code = drive(engine, plain, until=None if one.digest else one.last)
            if code == 1 and plain.state.failed is None:
                plain.say(log_tail(second))
            if code:
                plain.say("the second run did not come to its end: nothing to compare")
                return code
        again = read(second / directory.EVENTS)
    return _tell(run_dir, one, Record.of(again), as_json)


def _tell(run_dir: Path, one: Record, two: Record, as_json: bool) -> int:
    found = compare(one, two)
    whole = bool(one.digest)
    digest = one.digest or one.steps[max(one.steps)].digest
    if as_json:
        told: dict[str, Any] = {
            "run": str(run_dir),
            "equal": found is None,
            "steps": one.last,
            "digest": digest,
        }
        last = two.steps.get(max(one.steps))
        told["digest_again"] = two.digest if whole else (last.digest if last else "")
        if found is not None:
            told["first_difference"] = {
                "step": found.step,
                "lane": found.lane,
                "quantity": found.quantity,
            }
        print(json.dumps(told))
    elif found is None:
        what = "the final adapters and all" if whole else "all recorded"
        print(f"equal: {what} {one.last} steps, digest {digest[:16]}")
    else:
        lane = f", lane {found.lane}" if found.lane else ""
        print(f"different: first at step {found.step}{lane}, in its {found.quantity}")
    return 0 if found is None else 1
