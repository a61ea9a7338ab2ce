"""The lists: algorithms with their formulas and settings, shipped scenarios with their
descriptions.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from grpolab.algorithms import ALGORITHMS, Algorithm
from grpolab.problems import RequestError, nearest
from grpolab.resources import shipped_scenarios


def algorithms(name: str | None, *, as_json: bool) -> int:
    """Print all algorithms, or all about one. Raises RequestError for an unknown name."""
    if name is not None and name not in ALGORITHMS:
        raise RequestError(f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    chosen = [ALGORITHMS[name]] if name else list(ALGORITHMS.values())
    if as_json:
        print(
            json.dumps(
                {"algorithms": [_algorithm(a) for a in chosen]}, indent=2, ensure_ascii=False
            )
        )
    elif name:
        print(_card(chosen[0]))
    else:
        width = max(map(len, ALGORITHMS))
        for a in chosen:
            needs = ", ".join(_needs(a)) or "nothing besides the policy"
            print(f"{a.name:{width}}  {a.title}\n{'':{width}}  {a.paper}; needs {needs}")
    return 0


def _algorithm(a: type[Algorithm]) -> dict[str, Any]:
    return {
        "name": a.name,
        "title": a.title,
        "paper": a.paper,
        "formula": a.formula,
        "aggregation": a.aggregation,
        "needs": _needs(a),
        "presets": a.presets,
        "settings": {
            s["name"]: {k: v for k, v in s.items() if k != "name"} for s in _settings(a.Settings)
        },
        "source": str(_source(a)),
    }


def _needs(a: type[Algorithm]) -> list[str]:
    """What runs besides the policy under the default settings."""
    needs = ["critic"] if a.needs_critic else []
    return [*needs, "reference"] if a(a.Settings()).needs_reference else needs


def _settings(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Name, default, type and description of every setting."""
    properties = model.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "default": field.default,
            "type": _type(properties[name]),
            "description": field.description or "",
        }
        for name, field in model.model_fields.items()
    ]


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(s) for s in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(v) for v in schema["enum"])
    kind = schema.get("type", "any")
    for key, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
        if key in schema:
            kind += f" {sign} {schema[key]:g}"
    return "none" if kind == "null" else str(kind)


def _source(a: type[Algorithm]) -> Path:
    return Path(inspect.getfile(a))


def _card(a: type[Algorithm]) -> str:
    rows = [
        (s["name"], "none" if s["default"] is None else s["default"], s)
        for s in _settings(a.Settings)
    ]
    name_width = max(len(r[0]) for r in rows)
    value_width = max(len(str(r[1])) for r in rows)
    lines = [f"{a.name}: {a.title}", "", textwrap.indent(a.formula, "  "), ""]
    lines += [f"paper        {a.paper}", f"aggregation  {a.aggregation}"]
    lines += [f"needs        {', '.join(_needs(a)) or 'nothing besides the policy'}"]
    lines += [f"source       {_source(a)}", "", "settings"]
    for name, value, s in rows:
        lines.append(
            f"  {name:{name_width}}  {value!s:{value_width}}  {s['description']}  [{s['type']}]"
        )
    lines += ["", "presets"]
    for preset, values in a.presets.items():
        what = ", ".join(f"{k}={v}" for k, v in values.items()) or "the defaults above"
        lines.append(f"  {preset}: {what}")
    module = inspect.getmodule(a)
    doc = inspect.getdoc(module) if module else None
    return "\n".join([*lines, "", doc or ""])


def scenarios(name: str | None, *, as_json: bool) -> int:
    """Print all shipped scenarios, or the file of one. Raises RequestError."""
    from grpolab.scenario_file import find, load

    if name is not None and not as_json:
        print(find(name).read_text(encoding="utf-8"), end="")
        return 0
    chosen = {name: find(name)} if name else shipped_scenarios()
    loaded = {n: load(str(path)) for n, path in chosen.items()}
    if as_json:
        out = [
            {
                "name": n,
                "description": s.description,
                "path": str(chosen[n]),
                "scenario": s.complete(),
            }
            for n, s in loaded.items()
        ]
        print(json.dumps({"scenarios": out}, indent=2, ensure_ascii=False))
        return 0
    for n, s in loaded.items():
        print(n)
        print(
            textwrap.fill(
                s.description.strip(), 96, initial_indent="    ", subsequent_indent="    "
            )
        )
    return 0
