"""`grpolab grade`: a scenario's rewards, applied to completions from a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TextIO

from grpolab import rewards
from grpolab.errors import RequestError
from grpolab.scenario.load import load
from grpolab.scenario.spec import make_reward, make_task
from grpolab.tasks import Prompt, Task


def grade(ref: str, file: str) -> int:
    """Grade every line of a JSONL file (`-`: stdin), one JSON line each on stdout.

    Raises RequestError naming file, line and key.
    """
    scenario = load(ref)
    task = make_task(scenario.task)
    weighted = [make_reward(section) for section in scenario.rewards]
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                prompt, completion = _read(line, task)
            except ValueError as error:
                raise RequestError(f"{file}:{number}: {error}") from None
            try:
                graded = rewards.grade(task, weighted, prompt, completion)
            except (KeyError, TypeError):  # graders raise on no completion, but trust their prompts
                raise RequestError(
                    f"{file}:{number}: prompt.data: not what {task.name} needs to grade"
                ) from None
            out = {
                "reward": graded.reward,
                "parts": graded.parts,
                "answer": graded.answer,
                "correct": graded.correct,
                "detail": graded.detail,
                "steps": [asdict(step) for step in graded.steps],
            }
            print(json.dumps(out))  # ASCII: a completion may hold what no encoding can print
    return 0


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    try:
        with open(file, encoding="utf-8") as lines:
            yield lines
    except OSError as error:
        raise RequestError(f"{file}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{file}: not a text file in UTF-8") from None


def _read(line: str, task: Task) -> tuple[Prompt, str]:
    """A prompt and a completion. Raises ValueError."""
    try:
        record: Any = json.loads(line)
    except ValueError:
        raise ValueError("not valid JSON") from None
    if not isinstance(record, dict) or not isinstance(record.get("completion"), str):
        raise ValueError("completion: expected a mapping with a text under this key")
    if isinstance(record.get("prompt"), dict):
        prompt = Prompt.from_dict(record["prompt"])
        if prompt.task != task.name:
            raise ValueError(
                f"prompt.task: the scenario's task is {task.name}, not {prompt.task!r}"
            )
        return prompt, record["completion"]
    if isinstance(record.get("question"), str):
        try:
            return task.from_text(record["question"]), record["completion"]
        except ValueError as error:
            raise ValueError(f"question: {error}") from None
    raise ValueError(
        "prompt: expected the task's prompt record under this key, or a text under `question`"
    )
