"""What the screen says about each algorithm, read once from the algorithms' classes in a thread;
and how a typed setting is parsed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from grpolab.algorithms import Algorithm


@dataclass(frozen=True)
class Setting:
    name: str
    default: Any
    description: str
    kind: str  # allowed values: "number ≥ 0 or none"
    shared: bool  # whether every algorithm has it


@dataclass(frozen=True)
class Card:
    name: str
    file: str  # in grpolab/algorithms
    title: str
    kind: str
    paper: str
    formula: str
    aggregation: str
    settings: tuple[Setting, ...]
    presets: dict[str, dict[str, Any]]
    needs: dict[str, tuple[str, ...]]  # by preset: what it needs besides the policy

    def values(self, preset: str = "paper") -> dict[str, Any]:
        """All settings under a preset."""
        return {s.name: s.default for s in self.settings} | self.presets.get(preset, {})


_cards: dict[str, Card] = {}


def cards() -> dict[str, Card]:
    """All algorithms by name, in the order of their table; empty until `load` has returned."""
    return _cards


def load() -> dict[str, Card]:
    """Import the algorithms: 0.2 s, for which the first frame must not wait."""
    if not _cards:
        from grpolab.algorithms import ALGORITHMS

        _cards.update({name: _card(name, a) for name, a in ALGORITHMS.items()})
    return _cards


FIRST = ("grpo", "ppo", "reinforce")
"""What a list of algorithms begins with."""

KINDS = ("no critic", "group baseline", "critic", "trust region", "sequence-level")
"""The groups of the others, in this order."""


def in_groups() -> dict[str, str]:
    """All algorithms in the order of a list to choose from, with the heading of their group; the
    first few have none."""
    groups = {name: "" for name in FIRST if name in _cards}
    for kind in KINDS:
        groups |= {n: kind for n, card in _cards.items() if card.kind == kind and n not in groups}
    return groups


def change(before: str, after: str) -> list[str]:
    """What changes in the formula from one algorithm to another, as its own statements; where the
    formulas are the same, what the algorithm is."""
    from grpolab.algorithms.explain import changed_statements

    if before not in _cards:
        return [_cards[after].title]
    found = changed_statements(_cards[before].formula, _cards[after].formula)
    return found or [_cards[after].title]


def _card(name: str, a: type[Algorithm]) -> Card:
    from grpolab.algorithms.base import Settings

    settings = tuple(
        replace(setting, shared=setting.name in Settings.model_fields)
        for setting in described(a.Settings)
    )
    needs = {}
    for preset, values in a.presets.items():
        made = a(a.Settings.model_validate(values))
        needed = {
            "a critic": made.needs_critic,
            "the reference": made.needs_reference,
            "the greedy answer's reward": made.needs_greedy,
            "graded steps": made.needs_steps,
        }
        needs[preset] = tuple(what for what, yes in needed.items() if yes)
    return Card(
        name, a.__module__.rpartition(".")[2] + ".py", a.title, a.kind, a.paper, a.formula,
        a.mean(), settings, dict(a.presets), needs,
    )  # fmt: skip


def described(model: type[BaseModel], prefix: str = "") -> list[Setting]:
    """The fields of a model as settings."""
    schema = model.model_json_schema()["properties"]
    return [
        Setting(prefix + key, field.default, field.description or "", _kind(schema[key]), False)
        for key, field in model.model_fields.items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    """A setting's allowed values in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(s) for s in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(str(v) for v in schema.get("enum", [schema.get("const")]))
    words = {"null": "none", "boolean": "yes | no", "integer": "whole number", "array": "list"}
    name = str(schema.get("type", "any"))
    kind = words.get(name, name)
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([kind, *bounds])


def word(value: object) -> str:
    """A setting's value as a person types it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return f"[{', '.join(word(v) for v in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def parse_setting(algorithm: str, key: str, text: str, values: dict[str, Any] | None = None) -> Any:
    """The value that a person typed for a setting, valid beside the other `values`. Raises
    ValueError with one readable line."""
    from grpolab.algorithms import ALGORITHMS

    known = {k: v for k, v in (values or {}).items() if k != key}
    return _parsed(ALGORITHMS[algorithm].Settings, key, text, known)


def parse_run_setting(
    key: str, text: str, task: str = "", values: dict[str, Any] | None = None
) -> Any:
    """The same for a setting of the run: `train.…`, `rollout.…`, …; for one of `task.…` valid
    beside the other `values` of that task."""
    from grpolab.rewards import REWARDS
    from grpolab.scenario.spec import SECTIONS
    from grpolab.tasks import TASKS

    section, _, name = key.partition(".")
    if section == "rewards":
        reward, _, name = name.rpartition(".")
        return _parsed(REWARDS[reward].Options, name, text, {})
    if section != "task":
        return _parsed(SECTIONS[section], name, text, {})
    known = {k.partition(".")[2]: v for k, v in (values or {}).items() if k != key}
    value = _parsed(TASKS[task].Options, name, text, known)
    return list(value) if isinstance(value, tuple) else value


def _parsed(model: Any, key: str, text: str, known: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    problem = ""
    for attempt in _meant(text):
        try:
            made = model.model_validate(known | {key: attempt})
        except ValidationError as error:
            mine = [e for e in error.errors() if key in e["loc"]] or error.errors()
            problem = problem or str(mine[0]["msg"])
        else:
            return getattr(made, key)
    raise ValueError(problem[:1].lower() + problem[1:])


def _meant(text: str) -> list[Any]:
    """What a person may have meant, the likeliest first: strict settings take no 1 for 1.0, and
    `none` is a word for some and nothing for others."""
    words = {"none": None, "true": True, "yes": True, "false": False, "no": False}
    if text.lower() in words:
        return [words[text.lower()], text.lower()]
    if text.startswith("["):
        try:
            return [json.loads(text)]
        except ValueError:
            return [text]
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        return [value, float(value)]
    return [text]
