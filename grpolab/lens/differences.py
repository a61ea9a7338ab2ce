"""Where two algorithms disagree about a rollout. Plain floats on the lens's JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from grpolab.problems import RequestError, nearest


def disagreements(
    result: Mapping[str, Any], a: str, b: str, count: int = 10
) -> list[dict[str, Any]]:
    """The `count` tokens on which the gradients of `a` and `b` differ most, each gradient divided
    by its own norm first: `{"group", "sample", "token", "text", "a", "b"}`, the largest first.

    `text` is None where the batch has no tokens. Raises RequestError for an algorithm that was not
    computed.
    """
    ours, theirs = _directions(result, a), _directions(result, b)
    order = sorted(range(len(ours)), key=lambda i: (-abs(ours[i][1] - theirs[i][1]), i))
    out = []
    for i in order[:count]:
        (g, s, t), x = ours[i]
        tokens = result["groups"][g]["samples"][s]["tokens"]
        text = None if tokens is None else tokens[t]
        place = {"group": g, "sample": s, "token": t, "text": text}
        out.append(place | {"a": x, "b": theirs[i][1]})
    return out


def _directions(result: Mapping[str, Any], name: str) -> list[tuple[tuple[int, int, int], float]]:
    """Every token's place and its gradient, divided by the norm of all."""
    if name not in result["algorithms"]:
        left_out = result.get("left_out", {})
        if name in left_out:
            raise RequestError(f"{name} {left_out[name]}")
        raise RequestError(f"{name!r} was not computed{nearest(name, result['algorithms'])}")
    flat = [
        ((g, s, t), x)
        for g, group in enumerate(result["algorithms"][name]["groups"])
        for s, sample in enumerate(group["samples"])
        for t, x in enumerate(sample["gradient"])
    ]
    norm = math.hypot(*(x for _, x in flat)) or 1.0
    return [(place, x / norm) for place, x in flat]
