"""Which panes are seen, and where: everything on a large screen, pages of one or two on a small
one.
"""

from __future__ import annotations

from typing import NamedTuple

TITLES = {
    "rollouts": "Rollouts",
    "tokens": "Tokens",
    "learning": "Learning",
    "kl": "KL",
    "memory": "Memory",
    "algorithm": "Algorithm",
}
PANES = tuple(TITLES)


LAYOUTS = {
    "auto": "as many panes as fit",
    "all": "all panes at once",
    "two": "two columns",
    "page": "one pane at a time",
}
"""The layouts of the panes, by name, each with what it does."""

PAIRS = (("rollouts", "tokens"), ("learning", "kl"), ("memory", "algorithm"))


class Rect(NamedTuple):
    x: int
    y: int
    width: int
    height: int


def arrange(
    width: int, height: int, current: str, zoom: bool, layout: str = "auto"
) -> dict[str, Rect]:
    """The visible panes' boxes in a body of this size; the others are folded away until they are
    gone to. `layout` is one of LAYOUTS.
    """
    if zoom or layout == "page":
        return {current: Rect(0, 0, width, height)}
    if layout == "all":
        return _three(width, height) if width >= 120 else _two(width, height)
    if layout == "two":
        return _two(width, height) if height >= 26 else _halves(width, height, current)
    if width >= 150 and height >= 36:
        return _three(width, height)
    if width >= 104 and height >= 26:
        return _two(width, height)
    return _page(width, height, current)


def folded(width: int, height: int, current: str, zoom: bool, layout: str = "auto") -> bool:
    """Whether some panes are out of sight, so that tabs must say so."""
    return len(arrange(width, height, current, zoom, layout)) < len(PANES)


def _halves(width: int, height: int, current: str) -> dict[str, Rect]:
    """The current pane and the one that goes with it, side by side."""
    left, right = next((pair for pair in PAIRS if current in pair), (current, ""))
    half = width // 2
    out = {left: Rect(0, 0, half if right else width, height)}
    return out | ({right: Rect(half, 0, width - half, height)} if right else {})


def _stack(
    x: int, width: int, height: int, names: tuple[str, ...], weights: tuple[float, ...]
) -> dict[str, Rect]:
    """Boxes from top to bottom by weight, the last taking what is left."""
    out: dict[str, Rect] = {}
    y, total = 0, sum(weights)
    for i, (name, weight) in enumerate(zip(names, weights, strict=True)):
        tall = height - y if i == len(names) - 1 else round(height * weight / total)
        out[name] = Rect(x, y, width, tall)
        y += tall
    return out


def _three(width: int, height: int) -> dict[str, Rect]:
    left = round(width * 0.42)
    middle = round(width * 0.29)
    return (
        _stack(0, left, height, ("rollouts", "tokens"), (0.56, 0.44))
        | _stack(left, middle, height, ("learning", "memory"), (0.54, 0.46))
        | _stack(left + middle, width - left - middle, height, ("algorithm", "kl"), (0.70, 0.30))
    )


def _two(width: int, height: int) -> dict[str, Rect]:
    left = round(width * 0.58)
    kl, memory = max(6, height // 6), 7  # as low as they can be and still say it all
    rest = height - kl - memory
    curves = round(rest * 0.5)
    heights = (float(curves), float(kl), float(memory), float(rest - curves))
    return _stack(0, left, height, ("rollouts", "tokens"), (0.62, 0.38)) | _stack(
        left, width - left, height, ("learning", "kl", "memory", "algorithm"), heights
    )


def _page(width: int, height: int, current: str) -> dict[str, Rect]:
    for pair in PAIRS:
        if current in pair:
            if width >= 130:
                half = width // 2
                return {
                    pair[0]: Rect(0, 0, half, height),
                    pair[1]: Rect(half, 0, width - half, height),
                }
            if height >= 34:
                return _stack(
                    0, width, height, pair, (0.5, 0.5) if "memory" not in pair else (0.35, 0.65)
                )
    if current in ("learning", "kl") and height >= 14:
        return _stack(0, width, height, ("learning", "kl"), (0.6, 0.4))
    return {current: Rect(0, 0, width, height)}
