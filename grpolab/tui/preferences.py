"""Preferences for the screen, remembered from one session to the next.

`grpolab/screen.json` under `$XDG_STATE_HOME` (`~/.local/state`). The environment wins over it:
`GRPOLAB_THEME` dark, light or contrast; `GRPOLAB_LAYOUT` auto, all, two or page;
`GRPOLAB_REDUCED_MOTION=1`; `GRPOLAB_SSH` 1 or 0, by default 1 in an SSH session; `GRPOLAB_TOUR=0`
never offers the tour.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from grpolab.resources import recall, state_file
from grpolab.tui.widgets.layout import LAYOUTS
from grpolab.tui.widgets.palette import DARK, PALETTES, Palette

if TYPE_CHECKING:
    from grpolab.tui.context import AppContext

MOTIONS = {
    "full": "full motion",
    "reduced": "reduced motion: nothing moves by itself, fewer repaints",
    "ssh": "SSH: as few repaints as possible; keys are answered at once as usual",
}


def remember(**changes: Any) -> None:
    """Add to what is remembered. Ignored where the folder cannot be written."""
    path, known = state_file(), recall() | changes
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        fresh.replace(path)


def palette_of(name: object) -> Palette | None:
    """By its name, with or without `grpolab-` before it."""
    return PALETTES.get(f"grpolab-{str(name).removeprefix('grpolab-')}")


def apply(context: AppContext, known: dict[str, Any]) -> None:
    """Set theme, layout and motion from what is remembered and from the environment."""
    env = os.environ.get
    context.palette = palette_of(env("GRPOLAB_THEME")) or palette_of(known.get("theme")) or DARK
    layout = env("GRPOLAB_LAYOUT") or known.get("layout")
    context.layout = str(layout) if layout in LAYOUTS else "auto"
    set_motion(context, motion(known))


def motion(known: dict[str, Any]) -> str:
    """One of MOTIONS, to begin with."""
    env, remembered = os.environ.get, known.get("motion")
    if env("GRPOLAB_SSH") == "1":
        return "ssh"
    if env("GRPOLAB_REDUCED_MOTION", "") not in ("", "0"):
        return "reduced"
    if env("GRPOLAB_SSH") != "0" and env("SSH_CONNECTION") and remembered != "reduced":
        return "ssh"
    return remembered if remembered in ("full", "reduced") else "full"


def set_motion(context: AppContext, how: str) -> None:
    context.reduced_motion, context.ssh = how == "reduced", how == "ssh"


def next_motion(context: AppContext) -> str:
    """Set the next of MOTIONS; its name."""
    now = "ssh" if context.ssh else "reduced" if context.reduced_motion else "full"
    names = list(MOTIONS)
    how = names[(names.index(now) + 1) % len(names)]
    set_motion(context, how)
    return how


def next_theme(palette: Palette) -> str:
    names = list(PALETTES)
    return names[(names.index(palette.name) + 1) % len(names)]


def offers_tour(known: dict[str, Any]) -> bool:
    """Whether the tour was never offered to this user."""
    return os.environ.get("GRPOLAB_TOUR") != "0" and not known.get("tour")
