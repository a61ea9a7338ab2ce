"""The application: the lab's screen, three themes, and the ways to open it: live, watch, replay."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.theme import Theme
from textual.widget import AwaitMount

from grpolab import launch
from grpolab.analysis import standing
from grpolab.resources import keys_file
from grpolab.tui import escape_key, first_frame_driver, hangup, preferences
from grpolab.tui.context import AppContext
from grpolab.tui.first_frame import FirstFrame
from grpolab.tui.keymap import load_keymap
from grpolab.tui.keys import ACTIONS
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Engine, Following, Playing
from grpolab.tui.type_ahead import TypeAhead
from grpolab.tui.widgets.palette import DARK, LIGHT, PALETTES, Palette

if TYPE_CHECKING:
    from grpolab.tui.compare.seeds import SeedRuns


class LabApp(App[int]):
    """grpolab in the terminal."""

    TITLE = "grpolab"
    CSS_PATH = "lab.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(a.keys, a.call, id=a.name, show=False, priority=True)
        for a in ACTIONS
        if a.name == "suspend"
    ]
    COMMAND_PALETTE_BINDING = "ctrl+p"

    def __init__(
        self, context: AppContext, *, keep: bool = True, frame: FirstFrame | None = None
    ) -> None:
        """`keep`: preferences are read and remembered. `frame`: the first frame, on the terminal
        already or to be recorded for the next start."""
        shown = frame is not None and frame.shown
        super().__init__(driver_class=first_frame_driver.driver(frame) if frame and shown else None)
        self.context, self.keep = context, keep
        self.type_ahead = TypeAhead(self, super().on_event)
        escape_key.install()
        self.frame_to_record = None if shown else frame
        known = preferences.recall() if keep else {}
        self.offers_tour = keep and preferences.offers_tour(known)
        for palette in PALETTES.values():
            self.register_theme(_theme(palette))
        preferences.apply(context, known)
        if context.reduced_motion or context.ssh:
            self.animation_level = "none"
        self.theme = context.palette.name
        context.keymap, problem = load_keymap(keys_file())
        if context.keymap.changed:
            self.set_keymap(context.keymap.changed)
        if problem:
            context.say(problem, "bad")

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._repaint_all)
        if not self.is_headless and hangup.on_a_terminal():
            self.set_interval(hangup.GLANCE, hangup.end_if_gone)

    @property
    def lab(self) -> LabScreen:
        """The lab's screen, also when a dialog is over it."""
        return next(s for s in self.screen_stack if isinstance(s, LabScreen))

    def get_default_screen(self) -> LabScreen:
        return LabScreen(self.context)

    def _repaint_all(self, theme: Theme) -> None:
        self.context.palette = PALETTES.get(theme.name) or (DARK if theme.dark else LIGHT)
        for screen in self.screen_stack:
            for canvas in screen.query("Canvas"):
                canvas.stale = True  # pyright: ignore[reportAttributeAccessIssue]
        self.lab.repaint(at_once=True)
        if theme.name in PALETTES:
            self.remember(theme=theme.name.removeprefix("grpolab-"))

    def remember(self, **changes: object) -> None:
        """Remember preferences for the next session."""
        if self.keep:
            preferences.remember(**changes)

    def action_command_palette(self) -> None:
        """The commands by name, instead of Textual's own."""
        from grpolab.tui.commands.screen import CommandLine

        if not isinstance(self.screen, CommandLine):
            asked_in = next(s for s in reversed(self.screen_stack) if not s.is_modal)
            self.push_screen(CommandLine(self.context, asked_in), _carry_out)

    def picture(self) -> None:
        """Save an SVG of the screen in the run's directory, or in the working directory where that
        cannot be written."""
        problem = ""
        for folder in (self.context.run_dir, Path.cwd()):
            try:
                path = self.save_screenshot(path=str(folder))
            except OSError as error:
                problem = problem or str(error)
            else:
                self.context.say(f"picture saved: {path}", "good")
                return
        self.context.say(f"no picture: {problem}", "bad")

    def call_next(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """As Textual does it, but a screen is mounted beside the other messages: one that is slow
        holds up neither ctrl+c nor the clock. `type_ahead` has the keys wait for it."""
        if isinstance(callback, AwaitMount):
            self.type_ahead.expect(callback())
        else:
            super().call_next(callback, *args, **kwargs)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.MouseDown | events.MouseScrollDown
                      | events.MouseScrollUp | events.Paste):  # fmt: skip
            self.context.touched = time.monotonic()
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            await self.type_ahead.take(event)
            return
        await super().on_event(event)
        if isinstance(event, events.MouseUp):
            self.type_ahead.expect()  # a click may have asked for a screen

    def action_suspend(self) -> None:
        """Back to the shell, until `fg`; the training continues."""
        self.action_suspend_process()

    async def action_quit(self) -> None:
        await self.run_action("quit", self.lab)


def _carry_out(do: Callable[[], object] | None) -> None:
    if do is not None:
        do()


def _theme(p: Palette) -> Theme:
    return Theme(
        name=p.name,
        primary=p.accent,
        secondary=p.plus,
        warning=p.warn,
        error=p.bad,
        success=p.good,
        accent=p.accent,
        foreground=p.text,
        background=p.ground,
        surface=p.bar,
        panel=p.raised,
        dark=p.dark,
    )


def open_live(
    run_dir: Path | None,
    engine: Engine,
    notice: str = "",
    frame: FirstFrame | None = None,
    seeds: SeedRuns | None = None,
) -> int:
    """The lab on a run that `engine` is computing. Returns an exit code once it was left.

    Without a `run_dir` the first frame does not wait for the engine to check its request: `ready`
    is called after it, and what that raises is raised here once the screen is closed. `notice` is
    the header's first notice. `frame`: the first frame, which may be on the terminal already.
    `seeds`: runs of further seeds, to be computed behind this one.
    """
    context = AppContext(Following(run_dir, "live", engine.ready), run_dir or Path("…"), engine)
    context.restart = partial(_started_again, context)
    context.seeds = seeds
    if notice:
        context.say(notice, "warn")
    try:
        return _open(context, frame)
    finally:
        if isinstance(context.engine, launch.Engine) and context.engine is not engine:
            context.engine.close()
        if seeds is not None:
            seeds.close()


def _started_again(context: AppContext, to: int) -> Engine:
    """A new engine for the same run that goes back to the checkpoint of step `to`."""
    return launch.Engine.boot(launch.Request(resume=str(context.run_dir), back_to=to, stay=True))


def open_watch(run_dir: Path, frame: FirstFrame | None = None) -> int:
    """The lab on a run that another process computes; no commands."""
    return _open(AppContext(Following(run_dir, "watch"), run_dir), frame)


def open_replay(run_dir: Path, speed: float = 1.0, frame: FirstFrame | None = None) -> int:
    """The lab on a recorded run, played by its clock; nothing is computed."""
    return _open(AppContext(Playing(run_dir, speed), run_dir), frame)


def _open(context: AppContext, frame: FirstFrame | None) -> int:
    app = LabApp(context, frame=frame)
    app.run()
    context.source.close()
    if context.problem is not None:
        raise context.problem
    if context.mode == "live":
        print(farewell(context), file=sys.stderr)
    if (found := final_standing(context)) is not None:
        print(standing.text(found))
    crashed = app.return_code not in (0, None)
    failed = context.state.failed is not None or context.exit_code not in (None, 0, 130)
    return 1 if crashed or (failed and context.mode == "live") else 0


def final_standing(context: AppContext) -> standing.Standing | None:
    """Who leads, where there are lanes to compare; printed once the screen was left."""
    from grpolab.tui.compare.model import CompareView

    if len(context.state.lanes) < 2:
        return None
    return (context.compare or CompareView()).standing(context)


def farewell(context: AppContext) -> str:
    """What is printed after a live session: where the run is, how to resume and replay it."""
    s = context.state
    lines = [f"run: {context.run_dir}, {s.step} of {s.steps} steps"]
    if s.failed is not None:
        lines.append(f"failed while {s.failed.where}: {s.failed.error}".split("\n")[0])
    done = s.ended is not None and s.ended.status == "done"
    if context.seeds is not None:
        left = context.seeds.told()
        lines += left
        if left or not done:
            lines.append(f"resume: {context.seeds.again}")
        lines.append(f"replay: grpolab replay {context.run_dir.parent}")
        return "\n".join(lines)
    resume = f"resume: grpolab run --resume {context.run_dir}"
    lines.append(f"{resume} --steps {s.more}   ({s.more} steps further)" if done else resume)
    lines.append(f"replay: grpolab replay {context.run_dir}")
    return "\n".join(lines)
