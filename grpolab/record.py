"""Frozen records whose methods are written once.

`dataclass(frozen=True)` writes and compiles seven methods for every class: for the vocabulary of a
run that is a twentieth of the wait for the screen's first frame. Here only the fields are
collected; they are a dataclass's, so that `fields`, `asdict` and `replace` know them.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

C = TypeVar("C", bound="type[Record]")


class Record:
    """Base of what `record` decorates."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _names: ClassVar[tuple[str, ...]] = ()
    _optional: ClassVar[tuple[tuple[str, Any, Any], ...]] = ()  # name, default, factory

    def __init__(self, *values: Any, **named: Any) -> None:
        own = vars(self)
        own.update(zip(self._names, values, strict=False))
        if len(values) > len(self._names) or (values and not own.keys().isdisjoint(named)):
            raise TypeError(f"{type(self).__name__}: a field too many, or given twice")
        own.update(named)
        for name, default, factory in self._optional:
            if name not in own:
                own[name] = default if factory is MISSING else factory()
        if len(own) != len(self._names) or not all(name in own for name in self._names):
            odd = ", ".join(sorted(own.keys() ^ set(self._names)))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {odd}")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._names))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__qualname__}({told})"


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: C) -> C:
    """Take a class's annotations as the fields of its records, in their order."""
    made = dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
    known = fields(made)
    made._names = tuple(f.name for f in known)
    made._optional = tuple(
        (f.name, f.default, f.default_factory)
        for f in known
        if f.default is not MISSING or f.default_factory is not MISSING
    )
    return made
