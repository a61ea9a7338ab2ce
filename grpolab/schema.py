"""The JSON Schema of scenario files: an editor that knows it completes keys and marks what is
wrong.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from grpolab.algorithms import ALGORITHMS
from grpolab.rewards import REWARDS
from grpolab.scenario import Scenario
from grpolab.tasks import TASKS


def schema() -> dict[str, Any]:
    """The schema, short forms included, with every algorithm's settings, every task's and
    reward's options.
    """
    out = Scenario.model_json_schema()
    definitions: dict[str, Any] = out["$defs"]
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    out["title"] = "grpolab scenario"
    out["required"] = []
    out["properties"]["algorithm"] = {
        "$ref": "#/$defs/AlgorithmSection",
        "description": "short for a single lane",
    }
    out["not"] = {"required": ["algorithm", "lanes"]}
    algorithms: list[dict[str, Any]] = []
    for name, algorithm in ALGORITHMS.items():
        preset = {"enum": list(algorithm.presets), "default": "paper"}
        algorithms.append(
            _named(name, algorithm.title, algorithm.Settings, definitions, preset=preset)
        )
    definitions["AlgorithmSection"] = {"anyOf": [{"enum": list(ALGORITHMS)}, *algorithms]}
    for section, table in (("TaskSection", TASKS), ("RewardSection", REWARDS)):
        kinds = [_named(n, k.description, k.Options, definitions) for n, k in table.items()]
        definitions[section] = {"anyOf": [{"enum": list(table)}, *kinds]}
    return out


def _named(
    name: str, title: str, model: type[BaseModel], definitions: dict[str, Any], **also: Any
) -> dict[str, Any]:
    """The schema of a section that has this name and this model's fields."""
    inner = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= inner.get("$defs", {})
    return {
        "type": "object",
        "title": title,
        "properties": {"name": {"const": name}, **also, **inner.get("properties", {})},
        "required": ["name"],
        "additionalProperties": False,
    }
