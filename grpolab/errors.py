"""Errors in a request or a scenario, as one line with the nearest valid name. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Loc = tuple[str | int, ...]
"""The path of keys to a place in a scenario."""

Model = TypeVar("Model", bound="BaseModel")


class RequestError(Exception):
    """The request was wrong: the message is one line for a person, the exit code is 2."""


class ScenarioError(ValueError):
    """An error in a scenario: `loc` is the path of keys to it, `message` one line for a person."""

    def __init__(self, loc: Loc, message: str) -> None:
        super().__init__(message)
        self.loc = loc
        self.message = message


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The most similar valid name, if one is similar enough. One with the same letters in another
    order is preferred."""
    import difflib

    folded = {v.lower(): v for v in valid}
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.55)
    letters = sorted(name.lower())
    same = [c for c in close if sorted(c) == letters]
    return folded[(same or close)[0]] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the most similar valid name, or the list of them all."""
    names = list(valid)
    close = closest(name, names)
    return f"; did you mean {close!r}?" if close else f"; valid: {', '.join(names)}"


def validated(model: type[Model], data: object, also: tuple[str, ...] = ()) -> Model:
    """`data` as a `model`. `also` are keys that are valid besides the model's own.

    Raises ScenarioError for the most informative problem.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _translated(model, error, also) from None


def _translated(
    model: type[BaseModel], error: ValidationError, also: tuple[str, ...]
) -> ScenarioError:
    """The most informative of pydantic's errors as a ScenarioError: a misspelled key before a key
    that is missing because of it."""
    problem = min(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    kind, given, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    loc, _ = _walk(model, problem["loc"])
    if kind == "extra_forbidden":
        _, valid = _walk(model, problem["loc"][:-1])
        key = str(loc[-1])
        return ScenarioError(
            loc, f"unknown key {key!r}{nearest(key, [*(also if len(loc) == 1 else ()), *valid])}"
        )
    if kind == "missing":
        return ScenarioError(loc, f"key {str(loc[-1])!r} is missing")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = str(context["discriminator"]).strip("'")
        if kind == "union_tag_not_found":
            return ScenarioError((*loc, key), f"key {key!r} is missing")
        valid = [v.strip(" '") for v in str(context["expected_tags"]).split(",")]
        tag = str(context["tag"])
        return ScenarioError((*loc, key), f"unknown value {tag!r}{nearest(tag, valid)}")
    return ScenarioError(loc, _expected(problem["msg"], kind, context) + _got(given, kind, context))


def _expected(message: str, kind: str, context: dict[str, Any]) -> str:
    """Pydantic's "Input should be …" as "expected …"."""
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "expected a mapping of keys to values"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "too_short":
        return f"expected at least {context['min_length']}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return message.replace("Input should be", "expected a value")
    message = message.replace("Input should be", "expected").replace("a valid ", "a ")
    return message.replace("expected a integer", "expected an integer")


def _got(given: object, kind: str, context: dict[str, Any]) -> str:
    if kind in ("value_error", "too_short"):
        return ""
    if not isinstance(given, str | int | float | None):
        return f", got a {_noun(given)}"
    got = f", got {given!r}" if given is not None else ", got nothing"
    if kind == "literal_error":
        valid = [v.strip(" '") for v in str(context["expected"]).replace(" or ", ",").split(",")]
        close = closest(str(given), valid)
        got += f"; did you mean {close!r}?" if close else ""
    return got


def _noun(given: object) -> str:
    return {"list": "list", "dict": "mapping"}.get(type(given).__name__, type(given).__name__)


def _walk(model: type[BaseModel], loc: Loc) -> tuple[Loc, list[str]]:
    """Pydantic's `loc` without the labels that it adds for unions, and the keys that are valid
    there."""
    from pydantic import BaseModel

    here: Any = model
    path: list[str | int] = []
    for part in loc:
        here, members = _unwrapped(here)
        if members and isinstance(part, str):  # a union's label: which member was tried
            here = next((m for m in members if part in _labels(m)), None)
            continue
        path.append(part)
        if isinstance(part, int):
            args = get_args(here)
            here = args[min(part, len(args) - 1)] if args else None
        elif isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[part].annotation
        else:
            here = None
    here, _ = _unwrapped(here)
    known = isinstance(here, type) and issubclass(here, BaseModel)
    return tuple(path), list(here.model_fields) if known else []


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """The type under Annotated and Optional; and a union's members, where it has several."""
    import types

    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        if len(members) == 1:
            return _unwrapped(members[0])
        return annotation, members
    return annotation, []


def _labels(member: Any) -> set[str]:
    """The labels that pydantic may use in a loc for a member of a union."""
    fields = getattr(member, "model_fields", {})
    tags = {str(t) for f in fields.values() for t in get_args(f.annotation)}
    return tags | {getattr(member, "__name__", ""), str(member)}
