"""What `grpolab lens` was asked for, checked before anything heavy is loaded. No torch here."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpolab.algorithms import ALGORITHMS, Algorithm
from grpolab.errors import RequestError, ScenarioError, nearest, validated
from grpolab.lens import batch_file
from grpolab.lens.batch_file import missing
from grpolab.record.directory import EVENTS

# --- choose ---
# Which algorithms look at a batch, with which settings, and what each needs of it. No torch here.


class _Refused(Exception):
    """An algorithm does not take these settings."""

    def __init__(self, why: str, hint: str = "", *, value: bool = False) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint
        self.value = value  # it has the setting, the value is wrong


def choose(
    names: Sequence[str] | None, preset: str = "paper", settings: Mapping[str, Any] | None = None
) -> tuple[dict[str, Algorithm], dict[str, str]]:
    """The algorithms with their settings, and why others are left out. None: the whole family.

    One that was named and does not take the settings, and a setting, value or preset that nobody
    takes, raise RequestError.
    """
    given = dict(settings or {})
    for name in names or ():
        if name not in ALGORITHMS:
            raise RequestError(f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    chosen: dict[str, Algorithm] = {}
    refused: dict[str, _Refused] = {}
    for name in names or ALGORITHMS:
        try:
            chosen[name] = _made(ALGORITHMS[name], preset, given)
        except _Refused as error:
            refused[name] = error
            if names:
                raise RequestError(f"{name} {error.why}{error.hint}") from None
    if not names:
        _known_to_some(preset, given)
    if not chosen:
        for name, error in refused.items():
            if error.value:
                raise RequestError(f"{name} {error.why}")
        together = ", ".join([f"the preset {preset}"] * (preset != "paper") + list(given))
        raise RequestError(f"no algorithm has all of these: {together}")
    return chosen, {name: error.why for name, error in refused.items()}


def _made(cls: type[Algorithm], preset: str, given: Mapping[str, Any]) -> Algorithm:
    fields = cls.Settings.model_fields
    if preset not in cls.presets:
        raise _Refused(f"has no preset {preset!r}", nearest(preset, cls.presets))
    for key in given:
        if key not in fields:
            raise _Refused(f"has no setting {key!r}", nearest(key, fields))
    own = {key: _none(cls, key, value) for key, value in given.items()}
    try:
        return cls(validated(cls.Settings, cls.presets[preset] | own))
    except ScenarioError as error:
        key = ".".join(map(str, error.loc))
        why = f"does not take {key}={own.get(key)}: {error.message}" if key else error.message
        raise _Refused(why, value=True) from None


def _none(cls: type[Algorithm], key: str, value: Any) -> Any:
    """`none` is a word for some settings (a baseline) and nothing for others (a clip): whichever
    this one takes."""
    if value not in (None, "none"):
        return value
    for meant in (value, None, "none"):
        try:
            validated(cls.Settings, {key: meant})
        except ScenarioError:
            continue
        return meant
    return value


def _known_to_some(preset: str, given: Iterable[str]) -> None:
    presets = dict.fromkeys(p for a in ALGORITHMS.values() for p in a.presets)
    if preset not in presets:
        raise RequestError(f"no algorithm has a preset {preset!r}{nearest(preset, presets)}")
    known = dict.fromkeys(k for a in ALGORITHMS.values() for k in a.Settings.model_fields)
    for key in given:
        if key not in known:
            raise RequestError(f"no algorithm has a setting {key!r}{nearest(key, known)}")


NO_DISTRIBUTION = (
    "cannot have an entropy_bonus here: it needs the whole distribution of every token, and a "
    "batch has only what was sampled"
)


def lacks(algorithm: Algorithm, batch: Mapping[str, Any]) -> str | None:
    """What the algorithm needs and the batch does not have, or None."""
    if algorithm.settings.entropy_bonus > 0:
        return NO_DISTRIBUTION
    s = algorithm.settings
    needs = {
        "values": (algorithm.needs_critic, "for its critic"),
        "ref_logprobs": (algorithm.needs_reference, f"its KL counts, with beta {s.beta:g}"),
        "greedy_reward": (algorithm.needs_greedy, "as its baseline"),
        "step_rewards": (algorithm.needs_steps, "of the single steps"),
        "entropies": (algorithm.needs_entropy, f"top_entropy is {s.top_entropy:g}"),
        "sampler_logprobs": (algorithm.needs_sampler_gap, "tis_cap is set"),
    }
    for key, (needed, why) in needs.items():
        if needed and (who := missing(batch, key)):
            return f"needs {key} ({why}), and {who}"
    return None


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
        from grpolab.lens.batch_file import from_run
        from grpolab.record import directory

        run = directory.find(self.source, shipped=True)
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
    from grpolab.scenario.load import changes

    found: dict[str, Any] = {}
    for _, key, value in changes(settings=texts):
        found[key.removeprefix("algorithm.")] = value
    return found
