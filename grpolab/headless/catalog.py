"""The lists: algorithms with their formulas and settings, shipped scenarios with their
descriptions.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from grpolab.algorithms import ALGORITHMS, Algorithm, explain
from grpolab.analysis.metric_help import METRICS
from grpolab.errors import RequestError, nearest
from grpolab.resources import shipped_scenarios


def algorithms(
    name: str | None, *, as_json: bool, other: str | None = None, lineage: bool = False
) -> int:
    """Print all algorithms, all about one, how two differ, or who descends from whom.

    Raises RequestError for an unknown name.
    """
    for given in (name, other):
        if given is not None and given not in ALGORITHMS:
            raise RequestError(f"unknown algorithm {given!r}{nearest(given, ALGORITHMS)}")
    if other is not None and name is None:
        raise RequestError(f"--diff {other}: name an algorithm to compare it with")
    chosen = [ALGORITHMS[n] for n in (name, other) if n] or list(ALGORITHMS.values())
    if as_json:
        out: dict[str, Any] = {"algorithms": [_algorithm(a) for a in chosen]}
        if other is not None:
            out["difference"] = [asdict(d) for d in explain.difference(*chosen)]
        print(json.dumps(out, indent=2, ensure_ascii=False))
    elif other is not None:
        print(_difference(*chosen))
    elif lineage:
        print("\n".join(_ancestors(name) if name else _tree()))
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
        "terms": [{"symbol": t.symbol, "meaning": t.meaning} for t in explain.terms(a)],
        "lineage": [
            {"algorithm": child, "ancestor": ancestor, "change": change}
            for child, ancestor, change in explain.lineage(a.name, ALGORITHMS)
        ],
        "aggregation": a.mean(),
        "needs": _needs(a),
        "metrics": metric_hints(a),
        "presets": a.presets,
        "settings": {
            s["name"]: {k: v for k, v in s.items() if k != "name"} for s in _settings(a.Settings)
        },
        "source": str(_source(a)),
    }


def _needs(a: type[Algorithm]) -> list[str]:
    """What it needs besides the policy under the default settings."""
    default = a(a.Settings.model_validate({}))
    needs = {
        "critic": default.needs_critic,
        "reference": default.needs_reference,
        "greedy answer": default.needs_greedy,
        "graded steps": default.needs_steps,
    }
    return [name for name, needed in needs.items() if needed]


def metric_hints(a: type[Algorithm]) -> dict[str, str]:
    """The metrics that its steps carry under the default settings, each with its hint."""
    default = a(a.Settings.model_validate({}))
    s = default.settings
    some = dict.fromkeys((m for other in ALGORITHMS.values() for m in other.metrics), False) | {
        "value_loss": default.needs_critic,
        "explained_variance": default.needs_critic,
        "beta": default.needs_reference,
        "kl_loss": default.needs_reference and s.kl_place == "loss",
        "entropy_loss": s.entropy_bonus > 0,
        "sampler_gap": default.needs_sampler_gap,
        "groups_replaced": default.resample > 0,
        "process": default.needs_steps,
    }
    some |= dict.fromkeys(a.metrics, True)  # the others are everybody's
    return {name: hint for name, hint in METRICS.items() if some.get(name, True)}


def _difference(a: type[Algorithm], b: type[Algorithm]) -> str:
    """The two formulas line by line, then the settings: `-` stands only in a, `+` only in b."""
    lines = [f"- {a.name}: {a.title}", f"+ {b.name}: {b.title}", ""]
    for d in explain.difference(a, b):
        if d.same:
            lines += [f"  {line}" for line in "".join(t for _, t in d.parts).splitlines()]
            continue
        for sign, side in (("-", "left"), ("+", "right")):
            text = "".join(t for kind, t in d.parts if kind in ("same", side))
            lines += [f"{sign} {line}" for line in text.splitlines() if line.strip()]
    means = {"-": a.mean(), "+": b.mean()}
    ours, theirs = (_defaults(x) for x in (a, b))
    rows = [(sign, "aggregation", value) for sign, value in means.items() if a.mean() != b.mean()]
    for key in dict.fromkeys([*ours, *theirs]):
        if key != "aggregation" and ours.get(key, ...) != theirs.get(key, ...):
            rows += [("-", key, ours[key])] if key in ours else []
            rows += [("+", key, theirs[key])] if key in theirs else []
    lines += [""] + [f"{sign} {key} = {_word(value)}" for sign, key, value in rows]
    return "\n".join(lines).rstrip()


def _defaults(a: type[Algorithm]) -> dict[str, Any]:
    return {name: field.default for name, field in a.Settings.model_fields.items()}


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _ancestors(name: str) -> list[str]:
    """The line of one algorithm, nearest first."""
    steps = explain.lineage(name, ALGORITHMS)
    if not steps:
        return [f"{name} has no ancestor in this family"]
    return [
        line for child, parent, what in steps for line in _told(f"{child} ← {parent}", what, "")
    ]


def _tree() -> list[str]:
    """Everybody once, below the first of its ancestors; the others are named beside it."""
    lines: list[str] = []
    told: set[str] = set()

    def tell(name: str, depth: int) -> None:
        told.add(name)
        first, *others = ALGORITHMS[name].lineage or [("", ALGORITHMS[name].title)]
        lines.extend(_told(name, first[1], "   " * depth))
        for ancestor, what in others:
            lines.extend(_told(f"+ {ancestor}", what, "   " * depth + "  "))
        for child in ALGORITHMS.values():
            if child.name not in told and child.lineage and child.lineage[0][0] == name:
                tell(child.name, depth + 1)

    roots = [a.name for a in ALGORITHMS.values() if not a.lineage]
    for name in [*roots, *ALGORITHMS]:
        if name not in told:
            tell(name, 0)
    return lines


def _told(what: str, change: str, indent: str) -> list[str]:
    return textwrap.wrap(
        f"{what}: {change}", 100, initial_indent=indent, subsequent_indent=f"{indent}      ",
        break_on_hyphens=False,
    )  # fmt: skip


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
    rows = [(s["name"], _word(s["default"]), s) for s in _settings(a.Settings)]
    name_width = max(len(r[0]) for r in rows)
    value_width = max(len(r[1]) for r in rows)
    lines = [f"{a.name}: {a.title}", "", textwrap.indent(a.formula, "  "), ""]
    terms = explain.terms(a)
    symbol_width = max((len(t.symbol) for t in terms), default=0)
    lines += [f"  {t.symbol:{symbol_width}}  {t.meaning}" for t in terms] + [""] * bool(terms)
    lines += [f"paper        {a.paper}", f"aggregation  {a.mean()}"]
    lines += [f"needs        {', '.join(_needs(a)) or 'nothing besides the policy'}"]
    lines += [f"source       {_source(a)}", "", "settings"]
    for name, value, s in rows:
        lines.append(
            f"  {name:{name_width}}  {value:{value_width}}  {s['description']}  [{s['type']}]"
        )
    lines += ["", "metrics"]
    told = metric_hints(a)
    metric_width = max(map(len, told))
    lines += [f"  {name:{metric_width}}  {hint}" for name, hint in told.items()]
    if a.lineage:
        lines += ["", "from", *(f"  {ancestor}: {change}" for ancestor, change in a.lineage)]
    lines += ["", "presets"]
    for preset, values in a.presets.items():
        what = ", ".join(f"{k}={v}" for k, v in values.items()) or "the defaults above"
        lines.append(f"  {preset}: {what}")
    module = inspect.getmodule(a)
    doc = inspect.getdoc(module) if module else None
    return "\n".join([*lines, "", doc or ""])


def scenarios(name: str | None, *, as_json: bool) -> int:
    """Print all shipped scenarios, or the file of one. Raises RequestError."""
    from grpolab.scenario.load import find, load

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
