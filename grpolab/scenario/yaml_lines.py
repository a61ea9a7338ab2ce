"""YAML with a line for every key: what a scenario file says, and where it says it.

Scalars follow YAML 1.2's core schema, so `1e-3` is a number, and `off` and `12:30` are words.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from grpolab.errors import Loc

Lines = dict[Loc, int]
"""The line, from 1, of every key and list item, by its path of keys."""


class YamlError(ValueError):
    """The text is no such YAML: one line for a person, with the line it is in and the path to
    it.
    """

    def __init__(self, line: int, message: str, loc: Loc = ()) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.loc = loc


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012, as PyYAML declares it


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or 1.2 would take for something else than text."""


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
        )


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def parse(text: str) -> tuple[Any, Lines]:
    """The data in `text` and the line of every part of it. Raises YamlError."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise YamlError(1, f"not valid YAML: {first}") from None
    lines: Lines = {}
    return (None if node is None else _convert(node, (), lines, ())), lines


def scalar(text: str) -> Any:
    """One value as it would be read after `key: `. Raises YamlError."""
    return parse(text)[0]


def _convert(node: yaml.Node, loc: Loc, lines: Lines, above: tuple[int, ...]) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(loc, line)
    if id(node) in above:
        raise YamlError(line, "an alias stands inside its own anchor", loc)
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(key_node.start_mark.line + 1, "a key must be a word", loc)
            key, place = str(key_node.value), (*loc, str(key_node.value))
            at = key_node.start_mark.line + 1
            if key in out:
                raise YamlError(
                    at, f"key {key!r} stands twice, first in line {lines[place]}", place
                )
            lines[place] = at
            out[key] = _convert(value_node, place, lines, above)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_convert(item, (*loc, i), lines, above) for i, item in enumerate(node.value)]
    return _scalar(node, loc)


def _scalar(node: yaml.Node, loc: Loc) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    try:
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(re.sub(r"\.(inf|nan)$", r"\1", text, flags=re.IGNORECASE))
    except ValueError:
        pass
    raise YamlError(node.start_mark.line + 1, f"{text!r} cannot be read as {node.tag}", loc)
