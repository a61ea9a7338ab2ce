"""Which panes are seen, and where: everything on a large screen, pages of one or two on a small
one.
"""

from __future__ import annotations

from typing import NamedTuple

TITLES = {
    "rollouts": "Rollouts",
    "tokens": "Token",
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
    width: int, height: int, current: str, zoom: bool, layout: str = "auto", fold: bool = False
) -> dict[str, Rect]:
    """The visible panes' boxes in a body of this size; the others are folded away until they are
    gone to. `layout` is one of LAYOUTS. `fold`: memory is one line, unless it is the current pane.
    """
    fold = fold and current != "memory"
    if zoom or layout == "page":
        return {current: Rect(0, 0, width, height)}
    if layout == "all":
        return _wide(width, height, fold) if width >= 150 else _two(width, height, fold)
    if layout == "two":
        return _two(width, height, fold) if height >= 26 else _halves(width, height, current)
    if width >= 150 and height >= 36:
        return _wide(width, height, fold)
    if width >= 104 and height >= 26:
        return _two(width, height, fold)
    return _page(width, height, current)


def folded(
    width: int, height: int, current: str, zoom: bool, layout: str = "auto", fold: bool = False
) -> bool:
    """Whether some panes are out of sight, so that tabs must say so."""
    return len(arrange(width, height, current, zoom, layout, fold)) < len(PANES)


def _halves(width: int, height: int, current: str) -> dict[str, Rect]:
    """The current pane and the one that goes with it, side by side."""
    left, right = next((pair for pair in PAIRS if current in pair), (current, ""))
    half = width // 2
    out = {left: Rect(0, 0, half if right else width, height)}
    return out | ({right: Rect(half, 0, width - half, height)} if right else {})


def _stack(x: int, y: int, width: int, rows: dict[str, int]) -> dict[str, Rect]:
    """Boxes of so many rows, at least one each, from top to bottom."""
    out: dict[str, Rect] = {}
    for name, tall in rows.items():
        out[name] = Rect(x, y, width, max(1, tall))
        y += max(1, tall)
    return out


def _group(width: int, height: int, token: int) -> dict[str, Rect]:
    """The group with the selected token below it."""
    return _stack(0, 0, width, {"rollouts": height - token, "tokens": token})


def _wide(width: int, height: int, fold: bool) -> dict[str, Rect]:
    """The group on the left; on the right learning, and below it the rest side by side."""
    left = round(width * 0.55)
    right = width - left
    learning, line = round(height * 0.5), int(fold)
    rest = height - learning - line
    half = round(right * 0.44)
    below = (
        {"kl": rest} if fold else {"kl": rest - round(rest * 0.55), "memory": round(rest * 0.55)}
    )
    return (
        _group(left, height, max(9, height // 4))
        | {"learning": Rect(left, 0, right, learning)}
        | _stack(left, learning, half, below)
        | {"algorithm": Rect(left + half, learning, right - half, rest)}
        | ({"memory": Rect(left, height - 1, right, 1)} if fold else {})
    )


def _two(width: int, height: int, fold: bool) -> dict[str, Rect]:
    """The group on the left; on the right learning, the rest below it, as low as it can be and
    still say it all."""
    left = round(width * 0.58)
    kl, memory = (6 if height >= 30 else 5), (1 if fold else 6)
    rest = height - kl - memory
    learning = max(1, round(rest * 0.6), min(17, rest - 6))
    rows = {"learning": learning, "kl": kl, "algorithm": rest - learning, "memory": memory}
    return _group(left, height, 9 if height >= 30 else 8) | _stack(left, 0, width - left, rows)


def _page(width: int, height: int, current: str) -> dict[str, Rect]:
    """The panes of one pair at a time, both of them where they have room."""
    if current in ("rollouts", "tokens") and height >= 16:
        token = max(7, height // 4) if current == "rollouts" else height // 2
        return _group(width, height, token)
    if current in ("rollouts", "tokens"):
        return {current: Rect(0, 0, width, height)}
    if width >= 130:
        return _halves(width, height, current)
    if current in ("learning", "kl") and height >= 14:
        kl = max(6, round(height * 0.35))
        return _stack(0, 0, width, {"learning": height - kl, "kl": kl})
    if height >= 34:
        memory = round(height * 0.35)
        return _stack(0, 0, width, {"memory": memory, "algorithm": height - memory})
    return {current: Rect(0, 0, width, height)}
