"""A session by hand as a scenario: every switch, setting and fork that is in force, as cues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grpolab.errors import RequestError, ScenarioError
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.tail import Timed, read

FILE = "session.yaml"


def scenario_of(events: list[Timed]) -> dict[str, Any]:
    """The recorded scenario, with what was done by hand as cues.

    Raises RequestError for a run without a recorded step.
    """
    opening = next((e for _, e in events if isinstance(e, ev.RunStarted)), None)
    done = any(isinstance(e, ev.StepDone) for _, e in directory.in_force(events))
    if opening is None or not done:
        raise RequestError("the run has no finished step that could be compared")
    planned = [cue for cue in opening.scenario.get("cues", []) if cue["do"] != "pause"]
    cues = sorted(planned + directory.recorded_cues(events), key=lambda cue: cue["at"])
    model = dict(opening.scenario.get("model", {}))
    if (dtype := directory.recorded_dtype(events)) is not None:
        model["compute"] = dtype
    return opening.scenario | {"seed": opening.seed, "cues": cues, "model": model}


def save(run_dir: Path) -> tuple[Path, int]:
    """Write the session into the run directory, or here where that cannot be written; the file and
    the number of cues that stand for what was done by hand.

    What was undone by a rewind is left out, and pauses are: `grpolab run FILE --headless` computes
    the same steps, on the CPU with the same digest. Raises RequestError.
    """
    from grpolab.scenario import yaml_lines
    from grpolab.scenario.spec import build

    events = read(run_dir / directory.EVENTS)
    try:
        scenario = build(scenario_of(events))
    except ScenarioError as error:
        raise RequestError(f"the session cannot be a scenario: {error.message}") from None
    by_hand = len(directory.recorded_cues(events))
    name = f"{scenario.name}-session"
    told = f"# The session recorded in {run_dir.resolve().name}: {by_hand} changes by hand.\n"
    told += f"# grpolab run {FILE} --headless computes it again.\n"
    text = told + yaml_lines.dump(scenario.model_copy(update={"name": name}).complete())
    problem = ""
    for folder in (run_dir, Path()):
        path = _fresh(folder)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
        else:
            return path, by_hand
    raise RequestError(f"the session cannot be written: {problem}")


def _fresh(folder: Path) -> Path:
    """A name that no file has yet: an older session may have been edited."""
    n, path = 1, folder / FILE
    while path.exists():
        n += 1
        path = folder / f"session-{n}.yaml"
    return path
