"""What the keys do to the training: each becomes a command to the engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from grpolab.errors import RequestError
from grpolab.tui.context import AppContext
from grpolab.tui.source import Engine, Playing

if TYPE_CHECKING:
    from grpolab.record import events as ev
    from grpolab.tui.app import LabApp


class Training:
    """These actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        context: AppContext
        app: LabApp

        def moved(self) -> None: ...
        def action_play(self) -> None: ...

    def send(self, command: dict[str, Any], told: str = "") -> bool:
        """A command to the engine, or a word on why there is none to take it."""
        context = self.context
        if context.engine is None:
            words = {
                "replay": "a replay computes nothing",
                "watch": "watching only: somebody else runs this",
            }
            context.say(words.get(context.mode, "no engine"), "warn")
        elif context.over or context.leaving is not None:
            context.say(
                "the engine has ended" if context.over else "the engine is finishing its last step",
                "warn",
            )
        elif context.engine.send(command) is False:
            context.say("the engine does not listen any more", "bad")
        else:
            if told:
                context.say(told)
            self.moved()
            return True
        self.moved()
        return False

    def for_lane(self, command: dict[str, Any]) -> dict[str, Any]:
        """The command, with its lane named where there are several."""
        several = len(self.context.state.lanes) > 1
        return command | {"lane": self.context.view.lane} if several else command

    def action_algorithm(self) -> None:
        if self.context.engine is None or self.context.over:
            self.send({"do": "switch"})
            return
        from grpolab.tui.lab.dialogs.picker import Picker

        def chosen(section: dict[str, Any] | None) -> None:
            if section:
                told = f"switching to {section['name'].upper()} after this step…"
                self.send(self.for_lane({"do": "switch", "algorithm": section}), told)

        self.app.push_screen(Picker(self.context), chosen)

    def action_setting(self) -> None:
        """All settings; in a replay and in a watched run to look at."""
        from grpolab.scenario.spec import lab_wide
        from grpolab.tui.settings.screen import SettingDialog

        def send(key: str, value: Any) -> bool:
            command = {"do": "set", "key": key, "value": value}
            return self.send(command if lab_wide(key) else self.for_lane(command))

        if self.context.view.lane_state(self.context.state) is None:
            self.context.say("there is no lane yet", "warn")
            self.moved()
        else:
            self.app.push_screen(SettingDialog(self.context, send))

    def action_pause(self) -> None:
        if isinstance(self.context.source, Playing):
            self.action_play()
        elif self.context.state.paused:
            self.send({"do": "continue"})
        elif self.send({"do": "pause"}):
            self.context.pausing = True
            self.moved()

    def action_single(self) -> None:
        self.send({"do": "step"}, "one step, then pause")

    def action_evaluate(self) -> None:
        self.send({"do": "evaluate"}, "evaluating after this step…")

    def action_checkpoint(self) -> None:
        self.send({"do": "checkpoint"}, "writing a checkpoint after this step…")


# --- starting ---
# An engine started again for a run that is over, so that its training can go back to a
# checkpoint.


class Restart(Training):
    """These actions, apart from the screen that they act on."""

    told_failure: bool

    if TYPE_CHECKING:

        def mark(self, marks: set[str]) -> None: ...

    def start_again(self, to: int, *commands: dict[str, Any]) -> None:
        """Go back to a checkpoint in a new engine. It waits there, paused: who goes back wants to
        change something first. `commands` are carried out before."""
        context = self.context
        if context.restart is None or not context.restartable:
            self.send({"do": "rewind"})  # says why nobody does it
            return
        former = context.engine, context.exit_code
        if context.engine is not None and context.engine.exit_code is None:
            context.say("the engine is still ending; once more in a moment", "warn")
        else:
            engine = context.restart(to)
            context.engine, context.exit_code, context.starting = engine, None, True
            for command in ({"do": "pause"}, *commands):
                engine.send(command)
            context.say("the engine starts again, which takes some seconds…")
            self.app.run_worker(
                lambda: self._await(engine, former), thread=True, exit_on_error=False
            )
        self.moved()

    def _await(self, engine: Engine, former: tuple[Engine | None, int | None]) -> None:
        try:
            engine.ready()
        except Exception as error:  # it was refused, or could not start
            self.app.call_from_thread(self._refused, f"{error}".split("\n")[0], former)

    def _refused(self, why: str, former: tuple[Engine | None, int | None]) -> None:
        self.context.starting = False
        self.context.engine, self.context.exit_code = former
        self.context.say(f"the engine does not start again: {why}", "bad")
        self.mark({"end"})
        self.moved()

    def started_again(self, step: int) -> None:
        """It has come to where it was sent."""
        self.context.starting = self.told_failure = False
        place = f"step {step}" if step else "the start"
        key = self.context.keymap.shown("pause")
        told = f"back at {place}: change what you like; {key} lets the training go on"
        self.context.say(told, "warn")


# --- going_back ---
# What the keys do with the training's past: the way back, forks, and the session as a file.


class Rewind(Restart):
    """These actions, apart from the screen that they act on."""

    if TYPE_CHECKING:

        def action_time(self, kind: str = "") -> None: ...
        def mark(self, marks: set[str]) -> None: ...

    def action_rewind(self) -> None:
        """Choose among the checkpoints."""
        if self.context.commands or self.context.restartable:
            self.action_time("checkpoint")
        else:
            self.send({"do": "rewind"})

    def ask_rewind(self, to: int) -> None:
        from grpolab.tui.lab.dialogs.failure import Rewinding

        if not (self.context.commands or self.context.restartable):
            self.send({"do": "rewind"})
            return

        def decided(yes: bool | None) -> None:
            if yes and self.context.restartable:
                self.start_again(to)
            elif yes:
                self.send({"do": "rewind", "to": to}, f"rewinding to step {to} after this step…")

        self.app.push_screen(Rewinding(self.context, to), decided)

    def action_fork(self) -> None:
        self.ask_fork(None)

    def ask_fork(self, checkpoint: int | None) -> None:
        """Choose the algorithm, then the name, of a copy of the lane in view."""
        again = self.context.restartable and checkpoint is not None
        if not (self.context.commands or again):
            self.send({"do": "fork"})
            return
        from grpolab.tui.lab.dialogs.picker import ForkPicker

        state, lane = self.context.state, self.context.view.lane_state(self.context.state)
        at = checkpoint if checkpoint is not None else state.step
        if lane is None or (checkpoint is not None and lane.new_since(at, state.saved.get(at))):
            name = lane.name if lane else "that"
            self.context.say(f"at step {at} there was no lane {name} yet; look at another", "warn")
            self.moved()
            return

        def chosen(section: dict[str, Any] | None) -> None:
            if section:
                self._name_fork(section, checkpoint)

        self.app.push_screen(ForkPicker(self.context, checkpoint), chosen)

    def _name_fork(self, section: dict[str, Any], checkpoint: int | None) -> None:
        from grpolab.tui.lab.dialogs.failure import warning
        from grpolab.tui.timeline import model as timeline
        from grpolab.tui.widgets.dialog import Entry

        context, lane = self.context, self.context.view.lane
        names = set(context.state.lanes)

        def check(text: str) -> None:
            if not re.fullmatch(r"[\w.+-]{1,24}", text):
                raise ValueError("a name of at most 24 letters, digits, - _ . +")
            if text in names:
                raise ValueError(f"there is a lane {text} already")

        def named(text: str | None) -> None:
            if text:
                command = {"do": "fork", "name": text, "algorithm": section, "lane": lane}
                if checkpoint is not None and context.restartable:
                    self.start_again(checkpoint, command)
                    return
                if checkpoint is not None:
                    command["checkpoint"] = checkpoint
                self.send(command, f"forking {lane} into {text} after this step…")

        told = [(f"A copy of lane {lane} under {section['name'].upper()}; its name:", "text")]
        if checkpoint is not None and timeline.undone(context.state, checkpoint):
            told = [*warning(context, checkpoint), ("", "text"), *told]
        entry = Entry(
            context, "Fork a lane", told, value=free_name(section["name"], names), keys="↵ fork",
            check=check,
        )  # fmt: skip
        self.app.push_screen(entry, named)

    # the session

    def action_session(self) -> None:
        """Write what was done by hand as a scenario."""
        from grpolab.scenario import export

        try:
            path, count = export.save(self.context.run_dir)
        except (RequestError, OSError) as error:
            self.context.say(f"no scenario: {error}", "bad")
        else:
            changes = f"{count} change{'s' * (count != 1)} by hand"
            beside = path.parent == self.context.run_dir
            place = f"{path.name} beside the run" if beside else str(path)
            self.context.say(f"{place}: the session as a scenario, {changes}", "good")
        self.moved()

    def rewound(self, event: ev.Resumed) -> None:
        """The training went back: let go of what is no more."""
        context = self.context
        if context.view.held is not None and context.view.held.step > event.step:
            context.view.browse_to(context.state, None)
        context.back_stack = [
            p for p in context.back_stack if p.view.held is None or p.view.held.step <= event.step
        ]
        if context.view.cursor is not None and context.view.cursor > event.step:
            context.view.cursor = None
        self.mark({"select"})
        context.lenses = {key: lens for key, lens in context.lenses.items() if key[1] <= event.step}
        if event.origin == "rewind" and context.starting:
            self.started_again(event.step)
        elif event.origin == "rewind":
            place = f"step {event.step}" if event.step else "the start"
            context.say(
                f"rewound from step {event.before} to {place}; it goes on from there", "warn"
            )


def free_name(algorithm: str, taken: set[str]) -> str:
    """A lane's name that nobody has."""
    n, name = 1, algorithm
    while name in taken:
        n += 1
        name = f"{algorithm}-{n}"
    return name
