"""Which algorithms look at a batch, with which settings, and what each needs of it. No torch
here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from grpolab.algorithms import ALGORITHMS, Algorithm
from grpolab.lens.batch_file import missing
from grpolab.problems import RequestError, ScenarioError, nearest, validated


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
