"""What all panes and screens share: the run's state, the view on it, colors, keys, the engine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grpolab.record.bookmarks import Bookmarks
from grpolab.record.state import LabState
from grpolab.tui.keymap import Keymap
from grpolab.tui.selection import View
from grpolab.tui.source import Engine, Source
from grpolab.tui.widgets.palette import DARK, SPINNER, Palette

if TYPE_CHECKING:
    from grpolab.analysis.health import Verdict
    from grpolab.tui.curves.model import CurveView
    from grpolab.tui.lens.model import Lens
    from grpolab.tui.search.model import Finding
    from grpolab.tui.selection import Place

NOTICE_SECONDS = 7.0
KEPT_LENSES = 4


@dataclass
class AppContext:
    """One instance per app; panes read it, keys change it."""

    source: Source
    run_dir: Path
    engine: Engine | None = None
    state: LabState = field(default_factory=LabState)
    view: View = field(default_factory=View)
    palette: Palette = DARK
    keymap: Keymap = field(default_factory=Keymap)
    current: str = "rollouts"  # the pane that keys such as zoom and help act on
    zoom: bool = False
    opened: float = field(default_factory=time.monotonic)
    touched: float = -math.inf  # when a key or a button of the mouse was last pressed
    leaving: float | None = None  # since when the engine is asked to finish its step
    exit_code: int | None = None  # of the engine
    failure_shown: bool = False  # the dialog that tells of this engine's failure was opened
    restart: Callable[[int], Engine] | None = None
    """Starts a new engine for a run that is over, which goes back to the checkpoint of a step."""
    starting: bool = False  # that engine was started and is not at the checkpoint yet
    problem: Exception | None = (
        None  # why the run cannot be shown; raised once the screen is closed
    )
    pausing: bool = False  # requested, not yet confirmed by an event
    asked: dict[tuple[str, str], float] = field(default_factory=dict)
    """Commands, with their lane, that the engine has not answered yet, and when they were sent."""
    layout: str = "auto"  # one of LAYOUTS
    reduced_motion: bool = False  # no animation
    ssh: bool = False  # as few repaints as possible
    lit: str = ""  # the pane that the tour explains
    lenses: dict[tuple[str, int], Lens] = field(default_factory=dict)
    """The last few lenses, by lane and step."""
    curves: CurveView | None = None
    """What the curves screen showed last; it opens there again."""
    health_cache: tuple[object, list[Verdict]] | None = None
    """The health verdicts, and the state they were made from; see `tui.health.model`."""
    back_stack: list[Place] = field(default_factory=list)
    """Where Esc leads back to; the last entry first."""
    finding: Finding | None = None  # the last search over all answers
    rolling: float | None = None
    """Steps a second at which a held view moves on towards the newest step."""
    _bookmarks: Bookmarks | None = None
    _notice: tuple[str, str, float] = ("", "dim", 0.0)

    @property
    def bookmarks(self) -> Bookmarks:
        """The bookmarks of this run."""
        if self._bookmarks is None or self._bookmarks.path.parent != self.run_dir:
            self._bookmarks = Bookmarks(self.run_dir)
        return self._bookmarks

    @property
    def mode(self) -> str:
        return self.source.mode

    @property
    def waited(self) -> float:
        """Seconds since the screen was opened."""
        return time.monotonic() - self.opened

    @property
    def spin(self) -> str:
        """The spinner's character at this moment."""
        if self.reduced_motion or self.ssh:
            return "…"
        return SPINNER[int(self.waited * 8) % len(SPINNER)]

    @property
    def pace(self) -> float:
        """By how much repaints without a key are slowed down."""
        return 8.0 if self.ssh else 4.0 if self.reduced_motion else 1.0

    def say(self, text: str, colour: str = "dim") -> None:
        """Show a notice in the header for NOTICE_SECONDS."""
        self._notice = (text, colour, time.monotonic() + NOTICE_SECONDS)

    @property
    def notice(self) -> tuple[str, str]:
        text, colour, until = self._notice
        return (text, colour) if time.monotonic() < until else ("", "dim")

    def answered(self, do: str, lane: object) -> None:
        """The engine answered a command, or refused it: forget that it was asked."""
        for key in [k for k in self.asked if k[0] == do and lane in (k[1], None)]:
            del self.asked[key]

    def keep(self, lens: Lens) -> None:
        """Remember a lens, and forget the oldest."""
        self.lenses.pop((lens.lane, lens.step), None)
        self.lenses[lens.lane, lens.step] = lens
        while len(self.lenses) > KEPT_LENSES:
            del self.lenses[next(iter(self.lenses))]

    @property
    def commands(self) -> bool:
        """Whether an engine accepts commands."""
        return self.engine is not None and not self.over and self.leaving is None

    @property
    def restartable(self) -> bool:
        """Whether a new engine can be started to go back to a checkpoint."""
        ready = self.restart is not None and not self.starting
        return ready and self.over and self.leaving is None

    def lane_mark(self, lane: str) -> tuple[str, str]:
        """A lane's glyph and color, the same during the whole run."""
        from grpolab.tui.widgets.palette import LANE_GLYPHS

        names = list(self.state.lanes)
        at = names.index(lane) if lane in names else 0
        return LANE_GLYPHS[at % len(LANE_GLYPHS)], self.palette.lane(at)

    @property
    def over(self) -> bool:
        """Whether the run is over: it ended, failed, or its engine exited."""
        s = self.state
        return s.ended is not None or s.failed is not None or self.exit_code is not None
