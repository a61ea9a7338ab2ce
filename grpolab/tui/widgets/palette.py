"""Colors and glyphs. Hues are Okabe and Ito's, told apart by every common form of color
blindness.

Nothing on the screen is said by color alone: each hue comes with a glyph, a sign or a word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

from rich.style import Style

from grpolab.charts.model import GLYPHS

SKY, BLUE, GREEN, YELLOW = "#56B4E9", "#0072B2", "#009E73", "#F0E442"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"

LANE_GLYPHS = GLYPHS
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True)
class Palette:
    """The colors of one theme, as hex strings."""

    name: str
    dark: bool
    ground: str  # behind everything
    raised: str  # the selected row
    bar: str  # header and footer
    line: str  # boxes
    text: str
    dim: str
    faint: str
    accent: str
    good: str
    bad: str
    warn: str
    plus: str  # pushed up
    minus: str  # pushed down
    heat: str  # size without a sign
    lanes: tuple[str, ...]
    owners: dict[str, str]
    _styles: dict[tuple[str, str, bool, bool], Style] = field(
        default_factory=dict, compare=False, repr=False
    )

    def style(
        self, colour: str = "text", ground: str = "", *, bold: bool = False, underline: bool = False
    ) -> Style:
        """A style by the name of a color here, or by a hex string."""
        wanted = (colour, ground, bold, underline)
        found = self._styles.get(wanted)
        if found is None:
            found = _style(self._hex(colour), self._hex(ground), bold, underline)
            self._styles[wanted] = found
        return found

    def _hex(self, colour: str) -> str:
        return colour if not colour or colour.startswith("#") else getattr(self, colour)

    def lane(self, index: int) -> str:
        return self.lanes[index % len(self.lanes)]

    def tint(self, hue: str, strength: float) -> Style:
        """Text on a ground that takes on `hue` as strength goes from 0 to 1."""
        strength = min(1.0, max(0.0, strength)) if math.isfinite(strength) else 1.0
        ground = blend(self.ground, self._hex(hue), round(strength * 12) / 12 * 0.85)
        dark_ink = _luminance(ground) > 0.36
        return _style("#10141a" if dark_ink else "#f4f6f8", ground, False, False)


DARK = Palette(
    name="grpolab-dark",
    dark=True,
    ground="#0f1419",
    raised="#1d2733",
    bar="#161d26",
    line="#2c3846",
    text="#d5dbe3",
    dim="#8b97a6",
    faint="#566373",
    accent=SKY,
    good="#2fc49a",
    bad="#f0803c",
    warn="#f0c24b",
    plus=SKY,
    minus="#f0803c",
    heat=PURPLE,
    lanes=(SKY, ORANGE, "#2fc49a", PURPLE, YELLOW, "#f0803c", "#4f9bd9", "#b8c2cc"),
    owners={
        "backbone": "#5b7083",
        "backbone_copy": "#7d93a6",
        "adapters": SKY,
        "critic": ORANGE,
        "optimizer": "#2fc49a",
        "gradients": YELLOW,
        "kv_cache": PURPLE,
        "activations": "#3d7fb8",
        "reference": "#8fd0f5",
        "loss_tiles": "#d9705f",
        "workspace": "#a58cd6",
        "fragmentation": "#4a5361",
        "outside": "#666e7a",
        "other": "#8b97a6",
    },
)

LIGHT = Palette(
    name="grpolab-light",
    dark=False,
    ground="#fbfaf7",
    raised="#e6ecf2",
    bar="#eeece6",
    line="#c9c6bd",
    text="#22272e",
    dim="#5d6672",
    faint="#959ca6",
    accent=BLUE,
    good="#00805d",
    bad="#b84f00",
    warn="#8f6400",
    plus="#3d93cf",
    minus="#d9701f",
    heat="#b5608e",
    lanes=(BLUE, "#b87d00", "#00805d", "#a8507f", "#7d7500", "#b84f00", "#3d93cf", "#4a525c"),
    owners={
        "backbone": "#93a3b3",
        "backbone_copy": "#b3c0cc",
        "adapters": "#3d93cf",
        "critic": ORANGE,
        "optimizer": "#00a37a",
        "gradients": "#cfc22e",
        "kv_cache": PURPLE,
        "activations": BLUE,
        "reference": "#8cc4ea",
        "loss_tiles": "#d9705f",
        "workspace": "#a58cd6",
        "fragmentation": "#d5d1c7",
        "outside": "#c4c0b6",
        "other": "#b5b1a6",
    },
)

CONTRAST = Palette(
    name="grpolab-contrast",
    dark=True,
    ground="#000000",
    raised="#2b2b2b",
    bar="#141414",
    line="#8c8c8c",
    text="#ffffff",
    dim="#d9d9d9",
    faint="#b3b3b3",
    accent="#6fd0ff",
    good="#4fe3b8",
    bad="#ff9a57",
    warn="#ffd84d",
    plus="#6fd0ff",
    minus="#ff9a57",
    heat="#f2a3d3",
    lanes=("#6fd0ff", "#ffb52e", "#4fe3b8", "#f2a3d3", "#fff06b", "#ff9a57", "#9fc9ff", "#ffffff"),
    owners={
        "backbone": "#9fb6c9",
        "backbone_copy": "#c3d3df",
        "adapters": "#6fd0ff",
        "critic": "#ffb52e",
        "optimizer": "#4fe3b8",
        "gradients": "#fff06b",
        "kv_cache": "#f2a3d3",
        "activations": "#7fb2ff",
        "reference": "#b5e6ff",
        "loss_tiles": "#ff9d8d",
        "workspace": "#cdb8ff",
        "fragmentation": "#9a9a9a",
        "outside": "#c0c0c0",
        "other": "#d9d9d9",
    },
)
"""Every text at seven times the luminance of its ground or more."""

PALETTES = {p.name: p for p in (DARK, LIGHT, CONTRAST)}


@lru_cache(maxsize=4096)
def _style(colour: str, ground: str, bold: bool, underline: bool) -> Style:
    return Style(
        color=colour or None, bgcolor=ground or None, bold=bold or None, underline=underline or None
    )


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@lru_cache(maxsize=1024)
def blend(a: str, b: str, share: float) -> str:
    """`share` of b in a."""
    mixed = (round(x + (y - x) * share) for x, y in zip(_channels(a), _channels(b), strict=True))
    return "#" + "".join(f"{v:02x}" for v in mixed)


def contrast(a: str, b: str) -> float:
    """How much brighter the one is than the other, 1 to 21, as WCAG 2 defines it."""

    def light(colour: str) -> float:
        shares = (v / 255 for v in _channels(colour))
        r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((light(a), light(b)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    r, g, b = (v / 255 for v in _channels(colour))
    return 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2


def sign_mark(value: float, limit: float) -> str:
    """The sign of a value and its size against `limit`, in one cell and without color."""
    if math.isnan(value):
        return "?"
    share = (
        abs(value) / limit
        if limit > 0 and math.isfinite(limit)
        else math.copysign(1.0, value) * (value != 0)
    )
    if abs(share) < 0.04:
        return "·"
    if value > 0:
        return "▲" if abs(share) > 0.5 else "▴"
    return "▼" if abs(share) > 0.5 else "▾"


def level_mark(share: float) -> str:
    """A bar of 0 to 1 in one cell."""
    if math.isnan(share):
        return "?"
    return " ▁▂▃▄▅▆▇█"[min(8, max(0, round(min(1.0, max(0.0, share)) * 8)))]
