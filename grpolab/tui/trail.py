"""The way back: where the user stood before going further down, so that Esc leads there again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grpolab.tui.view import View

if TYPE_CHECKING:
    from textual.screen import Screen

    from grpolab.tui.desk import Desk

LONGEST = 12

Opens = Callable[["Desk"], "Screen[None]"]
"""Makes a screen over the lab again, as it was."""


@dataclass(frozen=True)
class Place:
    """The lab's view and what stood over it."""

    name: str  # "the group", as in "back to …"
    view: View
    current: str
    zoom: bool
    screens: tuple[Opens, ...] = ()  # from the lowest to the topmost
    zoomed: bool = False  # whether going further zoomed a pane

    def restore(self, desk: Desk) -> None:
        """The lab as it was; the screens over it are for the lab's screen to open."""
        lane, held = self.view.lane, self.view.held
        desk.view = replace(self.view)
        if lane not in desk.state.lanes and held is None:
            desk.view.lane = next(iter(desk.state.lanes), "")
        desk.current, desk.zoom = self.current, self.zoom


def leave(desk: Desk, name: str, screens: tuple[Opens, ...] = (), zoomed: bool = False) -> None:
    """Remember where the user stands now, called `name`."""
    place = Place(name, replace(desk.view), desk.current, desk.zoom, screens, zoomed)
    desk.trail = [*desk.trail[1 - LONGEST :], place]
