"""Records behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any, cast

import pytest

from grpolab.record import events as ev


def test_fields_by_place_by_name_and_by_default() -> None:
    e = ev.Paused(3)
    assert (e.step, e.origin) == (3, "command")
    assert e == ev.Paused(step=3, origin="command") != ev.Paused(4)
    assert e != ev.Continued(3) and hash(e) == hash(ev.Paused(3))
    assert repr(e) == "Paused(step=3, origin='command')"
    assert asdict(e) == {"step": 3, "origin": "command"} and [f.name for f in fields(e)] == [
        "step", "origin",
    ]  # fmt: skip
    assert replace(e, step=5) == ev.Paused(5)
    assert copy.deepcopy(e) == e == pickle.loads(pickle.dumps(e))


def test_a_list_is_each_record_s_own() -> None:
    a, b = (ev.Sampled(1, "main", 4, []) for _ in range(2))
    assert a.ended == [] and a.ended is not b.ended


def test_nothing_is_assigned_later() -> None:
    e = cast("Any", ev.Paused(3))
    with pytest.raises(FrozenInstanceError):
        e.step = 4
    with pytest.raises(FrozenInstanceError):
        del e.step
    assert e.step == 3


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((), {}), ((3, "cue", 1), {}), ((3,), {"step": 3}), ((3,), {"stop": 1}),
        ((), {"origin": "cue"}), ((), {"origin": "cue", "stop": 1}),
    ],
)  # fmt: skip
def test_a_field_too_few_or_too_many(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Paused"):
        ev.Paused(*values, **named)
