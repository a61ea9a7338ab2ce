"""Events as lines of JSON and back, and per-token channels as text and back.

A line is `{"t": seconds, "kind": …, fields}`; `t` counts from the start of the run, over resumes
too. Readers skip unknown kinds and unknown fields, so a newer engine can be watched by an older
viewer. No torch here.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from grpolab.record import events as ev


def _fields(record: Any) -> dict[str, Any]:
    """An event's, or a record's in one; in their order. Raises TypeError for anything else."""
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they travel as strings and come back as floats."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _plain(_fields(value)) if is_dataclass(value) else value


_json = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_fields
).encode


def encode(event: ev.Event, t: float) -> str:
    """One line of JSON, without the newline."""
    record = {"t": round(t, 4), "kind": event.kind} | _fields(event)
    try:
        return _json(record)
    except ValueError:  # a number that is none: rare, and all others are spared the walk
        return _json(_plain(record))


_NUMBERS = frozenset(
    {
        "metrics", "explained_variance", "reward", "parts", "accuracy", "greedy_accuracy",
        "by_difficulty", "length", "seconds", "settings", "before", "after", "steps",
        "greedy_reward", "loss", "exact", "gradient",
    }
)  # fmt: skip
"""Fields in which "nan", "inf" and "-inf" are numbers; elsewhere, as in a model's answer, they are
words."""


_FIELDS = {
    cls: tuple(
        (f.name, f.default is MISSING and f.default_factory is MISSING, f.name in _NUMBERS)
        for f in fields(cls)
    )
    for cls in ev.KINDS.values()
}
"""Of each event: name, whether it must be there, whether it holds numbers."""

_MEASURED = {cls for cls, known in _FIELDS.items() if any(number for _, _, number in known)}


def _restore(value: Any) -> Any:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, dict):
        return {k: _restore(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restore(v) for v in value]
    return value


def quick() -> Callable[[str | bytes], Any]:
    """A reader of JSON that takes a third of json's time, and a moment to be loaded: for long runs.
    What it refuses, such as half of a surrogate pair, json may still read."""
    import orjson

    def loads(line: str | bytes) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            return json.loads(line)

    return loads


def decode(
    line: str | bytes, loads: Callable[[str | bytes], Any] = json.loads
) -> tuple[float, ev.Event] | None:
    """The time and the event of one line.

    Returns None for a line that is torn, is not an event, is of an unknown kind or lacks a field:
    a reader goes on.
    """
    try:
        record = loads(line)
        cls = ev.KINDS[record["kind"]]
        t = float(record["t"])
    except (ValueError, KeyError, TypeError):
        return None
    odd = cls in _MEASURED and (not isinstance(line, bytes) or b"nan" in line or b"inf" in line)
    known: dict[str, Any] = {}
    for name, needed, number in _FIELDS[cls]:
        if name in record:
            known[name] = _restore(record[name]) if odd and number else record[name]
        elif needed:
            return None
    if cls is ev.KlBenched:
        known["estimates"] = [ev.KlEstimate(**_restore(e)) for e in known["estimates"]]
    if cls is ev.Chatted:
        known["answers"] = [ev.ChatAnswer(**a) for a in known["answers"]]
    return t, cls(**known)


def pack(values: bytes) -> str:
    """Little-endian float16 bytes as base64 text."""
    return base64.b64encode(values).decode("ascii")


def unpack(text: str, lengths: list[int]) -> list[list[float]]:
    """A channel as one list of floats for each row; rows of `lengths` tokens stand one after
    another."""
    raw = base64.b64decode(text)
    flat = struct.unpack(f"<{len(raw) // 2}e", raw)
    rows: list[list[float]] = []
    at = 0
    for n in lengths:
        rows.append(list(flat[at : at + n]))
        at += n
    return rows
