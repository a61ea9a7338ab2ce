"""Which lanes are one configuration under several seeds: those whose names differ by a number at
the end and that run the same algorithm."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from grpolab.lane_state import LaneState
from grpolab.tracks import Curve

_SEED = re.compile(r"[-_ ./]?(?:seed|s)?[-_ =]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Group:
    """Lanes that belong together; of one lane, that lane."""

    name: str
    lanes: tuple[str, ...]

    @property
    def several(self) -> bool:
        return len(self.lanes) > 1


@dataclass(frozen=True)
class Band:
    """Mean, lowest and highest over the seeds, where all of them were measured."""

    x: array[float]
    mean: array[float]
    low: array[float]
    high: array[float]


def groups(lanes: Sequence[LaneState]) -> list[Group]:
    """The lanes by configuration, in their order."""
    found: dict[tuple[str, str], list[str]] = {}
    for lane in lanes:
        stem = _SEED.sub("", lane.name)
        started = lane.history[0][1]
        key = (stem, started) if stem and stem != lane.name else (lane.name, "")
        found.setdefault(key, []).append(lane.name)
    return [
        Group(stem if len(names) > 1 else names[0], tuple(names))
        for (stem, _), names in found.items()
    ]


def band(curves: Sequence[Curve]) -> Band:
    """The curves as one. The i-th points of all belong together, as seeds of one configuration
    measure at the same steps; what only some have yet is left out."""
    n = min((len(c.x) for c in curves), default=0)
    out = Band(array("d"), array("d"), array("d"), array("d"))
    count = len(curves)
    for i in range(n):
        ys = [c.smooth[i] for c in curves]
        out.x.append(sum(c.x[i] for c in curves) / count)
        out.mean.append(sum(ys) / count)
        out.low.append(min(ys))
        out.high.append(max(ys))
    return out
