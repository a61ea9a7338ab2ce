"""What the screen says about each algorithm, read once from the algorithm files, off the screen's
thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    name: str
    default: Any
    description: str


@dataclass(frozen=True)
class Card:
    name: str
    title: str
    paper: str
    formula: str
    aggregation: str
    needs_critic: bool
    settings: tuple[Setting, ...]
    presets: dict[str, dict[str, Any]]


_cards: dict[str, Card] = {}


def cards() -> dict[str, Card]:
    """All algorithms by name, in the order of their table; empty until `load` is through."""
    return _cards


def load() -> dict[str, Card]:
    """Import the algorithms. Takes a fifth of a second, which the first frame must not wait for."""
    if not _cards:
        from grpolab.algorithms import ALGORITHMS

        found = {
            name: Card(
                name, a.title, a.paper, a.formula, a.aggregation, a.needs_critic,
                tuple(
                    Setting(key, field.default, field.description or "")
                    for key, field in a.Settings.model_fields.items()
                ),
                dict(a.presets),
            )
            for name, a in ALGORITHMS.items()
        }  # fmt: skip
        _cards.update(found)
    return _cards


def parse_setting(algorithm: str, key: str, text: str) -> Any:
    """The value that a person typed for a setting, validated. Raises ValueError with one readable
    line.
    """
    import json

    from pydantic import ValidationError

    from grpolab.algorithms import ALGORITHMS

    try:
        value = json.loads(text)
    except ValueError:
        value = {"none": None, "true": True, "yes": True, "false": False, "no": False}.get(
            text.lower(), text
        )
    model = ALGORITHMS[algorithm].Settings
    # strict settings do not take 1 where 1.0 is meant; a person may
    tries = (
        [value, float(value)]
        if isinstance(value, int) and not isinstance(value, bool)
        else [value, text]
    )
    problem = ""
    for attempt in tries:
        try:
            made = model.model_validate({key: attempt})
        except ValidationError as error:
            problem = problem or error.errors()[0]["msg"]
        else:
            return getattr(made, key)
    raise ValueError(problem[:1].lower() + problem[1:])
