"""What the parts that carry out the lab's actions may ask of its screen."""

from __future__ import annotations

from typing import Any, Protocol

from textual.app import App

from grpolab.tui.context import AppContext


class LabInterface(Protocol):
    """The lab's screen, as `navigation`, `time_travel`, `training` and `overlays` know it."""

    context: AppContext

    @property
    def app(self) -> App[Any]: ...

    def moved(self) -> None:
        """The selection, the pane or the clock changed: repaint what shows it now."""
        ...

    def refused(self) -> None:
        """A screen that was asked for does not open: forget what was typed for it, and show the
        notice that says why."""
        ...

    def relayout(self) -> None:
        """Decide again which panes are visible and where."""
        ...

    def mark(self, marks: set[str]) -> None:
        """Mark what watches one of these (kinds of events, `select`, `lane`) as stale."""
        ...

    def tick(self) -> None:
        """Read new events, and repaint."""
        ...
