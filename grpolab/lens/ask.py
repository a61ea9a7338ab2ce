"""What `grpolab lens` was asked for, checked before anything heavy is loaded. No torch here."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpolab.lens import batch_file
from grpolab.lens.choose import choose
from grpolab.problems import RequestError
from grpolab.rundir import EVENTS


@dataclass(frozen=True)
class Ask:
    source: str  # a batch file, `-`, or a run
    names: list[str] | None  # None: the whole family
    preset: str
    settings: dict[str, Any]
    step: int | None
    lane: str | None
    explain: tuple[int, int, int] | None
    disagree: tuple[str, str] | None
    as_json: bool

    @classmethod
    def of(cls, args: Namespace) -> Ask:
        """The request of a parsed command line. Raises RequestError for all that is wrong without
        looking into the batch."""
        disagree = _pair(args.disagree) if args.disagree is not None else None
        names = _names(args.algorithm)
        if names is not None and disagree is not None:
            names += [name for name in disagree if name not in names]
        settings = _settings(args.settings)
        chosen, left_out = choose(names, args.preset, settings)
        for name in disagree or ():
            if name not in chosen:
                choose([name], args.preset, settings)  # says why
                raise RequestError(f"{name} {left_out.get(name, 'was not computed')}")
        if is_file(args.source) and not (args.step is None and args.lane is None):
            option = "--step" if args.step is not None else "--lane"
            raise RequestError(
                f"{option}: {args.source} is a batch, only runs have steps and lanes"
            )
        explain = _place(args.explain) if args.explain is not None else None
        return cls(
            args.source, names, args.preset, settings, args.step, args.lane, explain, disagree,
            args.json,
        )  # fmt: skip

    def batch(self) -> tuple[str, dict[str, Any]]:
        """The batch and what to call it in an error. Raises RequestError."""
        if is_file(self.source):
            shown = "stdin" if self.source == "-" else self.source
            return shown, batch_file.read(self.source)
        from grpolab import rundir
        from grpolab.lens.recorded import from_run

        run = rundir.find(self.source, shipped=True)
        return str(run), from_run(run, self.step, self.lane)


def is_file(source: str) -> bool:
    """Whether `source` is a batch file or stdin, and not a run."""
    path = Path(source)
    if source == "-" or path.suffix == ".json":
        return not path.is_dir()
    return path.is_file() and path.name != EVENTS


def _names(text: str) -> list[str] | None:
    names = [name.strip() for name in text.split(",")]
    return None if names == ["all"] else list(dict.fromkeys(names))


def _pair(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise RequestError(f"--disagree {text}: expected two algorithms, for example grpo,dapo")
    return names[0], names[1]


def _place(text: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 10 for p in parts):
        raise RequestError(
            f"--explain {text}: expected group, sample and token, counted from 0, for example 0,2,5"
        )
    return int(parts[0]), int(parts[1]), int(parts[2])


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    if not texts:
        return {}
    from grpolab.scenario_file import changes

    found: dict[str, Any] = {}
    for _, key, value in changes(settings=texts):
        found[key.removeprefix("algorithm.")] = value
    return found
