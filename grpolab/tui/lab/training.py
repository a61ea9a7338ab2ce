"""Steer the training: each request becomes a command to the engine. Also the ways to an earlier
checkpoint: rewind, fork, and a new engine for a run that is over."""

from __future__ import annotations

import re
from typing import Any

from grpolab.errors import RequestError
from grpolab.record import events as ev
from grpolab.tui.lab.interface import LabInterface
from grpolab.tui.lab.overlays import Overlays
from grpolab.tui.lab.time_travel import TimeTravel
from grpolab.tui.source import Engine, Playing

NO_ENGINE = {
    "replay": "a replay computes nothing",
    "watch": "watching only: another process runs this training",
}
"""Why there is no engine, by mode."""

LANE_NAME = r"[\w.+-]{1,24}"


class Training:
    """Sends commands to the engine, and starts a new one where it must go back."""

    def __init__(self, lab: LabInterface, time_travel: TimeTravel, overlays: Overlays) -> None:
        self.lab, self.context = lab, lab.context
        self.time_travel, self.overlays = time_travel, overlays

    def send(self, command: dict[str, Any], told: str = "") -> bool:
        """Send a command to the engine; False, with a notice, where no engine takes it."""
        context = self.context
        sent = False
        if context.engine is None:
            context.say(NO_ENGINE.get(context.mode, "no engine"), "warn")
        elif context.over:
            context.say("the engine has ended", "warn")
        elif context.leaving is not None:
            context.say("the engine is finishing its last step", "warn")
        elif context.engine.send(command) is False:
            context.say("the engine no longer accepts commands", "bad")
        else:
            sent = True
            if told:
                context.say(told)
        self.lab.moved()
        return sent

    def _for_lane(self, command: dict[str, Any]) -> dict[str, Any]:
        """The command for the lane in view, named where there are several."""
        several = len(self.context.state.lanes) > 1
        return command | {"lane": self.context.view.lane} if several else command

    def switch_algorithm(self) -> None:
        """Choose an algorithm, and switch to it."""
        if self.context.engine is None or self.context.over:
            self.send({"do": "switch"})  # says why it is not possible
            self.lab.refused()
            return
        from grpolab.tui.lab.dialogs.picker import Picker

        def chosen(section: dict[str, Any] | None) -> None:
            if section:
                self.switch_to(section["name"], section.get("preset", ""))

        self.lab.app.push_screen(Picker(self.context), chosen)

    def switch_to(self, name: str, preset: str = "") -> None:
        """Switch the lane in view to an algorithm."""
        section = {"name": name} | ({"preset": preset} if preset not in ("", "paper") else {})
        command = self._for_lane({"do": "switch", "algorithm": section})
        told = f"switching to {name.upper()} after this step…"
        if self.context.state.waits_at_end:
            command["then"] = "continue"
            told = f"switching to {name.upper()}, {self._more()}…"
        self.send(command, told)

    def settings(self, typed: str = "") -> None:
        """All settings, narrowed down to those that match `typed`; in a replay and in a watched run
        they can only be read."""
        from grpolab.tui.settings.screen import SettingDialog

        def send(key: str, value: Any) -> bool:
            return self.set(key, value, "")

        if self.overlays.lane_known():
            self.lab.app.push_screen(SettingDialog(self.context, send, typed))

    def set(self, key: str, value: Any, told: str | None = None) -> bool:
        """Change a setting of the lane in view, or of the run, from the next step on."""
        from grpolab.scenario.spec import lab_wide
        from grpolab.tui.algorithm_cards import word

        command = {"do": "set", "key": key, "value": value}
        if told is None:
            told = f"{key} = {word(value)} from the next step on…"
        return self.send(command if lab_wide(key) else self._for_lane(command), told)

    def pause(self) -> None:
        """Pause or resume the training, or a replay's clock."""
        if isinstance(self.context.source, Playing):
            self.time_travel.play()
        elif self.context.state.waits_at_end:
            self.send({"do": "continue"}, f"training {self._more()}…")
        elif self.context.state.paused or self.context.pausing:
            self.context.pausing = False
            self.send({"do": "continue"})
        elif self.send({"do": "pause"}):
            self.context.pausing = True
            self.lab.moved()

    def _more(self) -> str:
        """How many steps further the run would be trained."""
        more = self.context.state.more
        return f"{more:,} more step{'s' * (more > 1)}"

    def one_step(self) -> None:
        self.send({"do": "step"}, "one step, then pause")

    def evaluate(self) -> None:
        state = self.context.state
        evaluated = [lane.evals[-1].step if lane.evals else -1 for lane in state.lanes.values()]
        if state.paused and evaluated and min(evaluated) >= state.step and self.context.commands:
            self.context.say(f"step {state.step} is evaluated already")
            self.lab.moved()
            return
        self.send({"do": "evaluate"}, "evaluating after this step…")

    def checkpoint(self) -> None:
        self.send({"do": "checkpoint"}, "writing a checkpoint after this step…")

    # back to a checkpoint

    @property
    def _can_go_back(self) -> bool:
        return self.context.commands or self.context.restartable

    def rewind(self) -> None:
        """Choose among the checkpoints."""
        if self._can_go_back:
            self.overlays.timeline("checkpoint")
        else:
            self.send({"do": "rewind"})  # says why it is not possible

    def ask_rewind(self, to: int) -> None:
        """Ask whether to go back to the checkpoint of step `to`, and do it."""
        from grpolab.tui.lab.dialogs.failure import Rewinding

        if not self._can_go_back:
            self.send({"do": "rewind"})
            return

        def decided(yes: bool | None) -> None:
            if yes and self.context.restartable:
                self.restart(to)
            elif yes:
                self.send({"do": "rewind", "to": to}, f"rewinding to step {to} after this step…")

        self.lab.app.push_screen(Rewinding(self.context, to), decided)

    def rewound(self, event: ev.Resumed) -> None:
        """The training went back: forget views of steps that are undone."""
        context = self.context
        if context.view.held is not None and context.view.held.step > event.step:
            context.view.browse_to(context.state, None)
        context.back_stack = [
            p for p in context.back_stack if p.view.held is None or p.view.held.step <= event.step
        ]
        if context.view.cursor is not None and context.view.cursor > event.step:
            context.view.cursor = None
        self.lab.mark({"select"})
        context.lenses = {key: lens for key, lens in context.lenses.items() if key[1] <= event.step}
        if event.origin != "rewind":
            return
        place = f"step {event.step}" if event.step else "the start"
        if context.starting:
            context.starting = context.failure_shown = False
            key = context.keymap.shown("pause")
            context.say(f"paused at {place}; press {key} to resume", "warn")
        elif event.step < context.state.steps:
            context.say(f"rewound from step {event.before} to {place}; training continues", "warn")
        else:
            context.say(f"rewound from step {event.before} to {place}, the run's end", "warn")

    # a new engine for a run that is over

    def restart(self, to: int, *commands: dict[str, Any]) -> None:
        """Start an engine that goes back to the checkpoint of step `to` and waits there, paused, so
        that something can be changed first. It carries out `commands` before."""
        context = self.context
        if context.restart is None or not context.restartable:
            self.send({"do": "rewind"})  # says why it is not possible
            return
        former = context.engine, context.exit_code
        if context.engine is not None and context.engine.exit_code is None:
            context.say("the engine is still ending; try again in a moment", "warn")
        else:
            engine = context.restart(to)
            context.engine, context.exit_code, context.starting = engine, None, True
            for command in ({"do": "pause"}, *commands):
                engine.send(command)
            context.say("starting a new engine, which takes some seconds…")
            self.lab.app.run_worker(
                lambda: self._await(engine, former), thread=True, exit_on_error=False
            )
        self.lab.moved()

    def _await(self, engine: Engine, former: tuple[Engine | None, int | None]) -> None:
        try:
            engine.ready()
        except Exception as error:  # it was refused, or could not start
            why = f"{error}".split("\n")[0]
            self.lab.app.call_from_thread(self._not_restarted, why, former)

    def _not_restarted(self, why: str, former: tuple[Engine | None, int | None]) -> None:
        self.context.starting = False
        self.context.engine, self.context.exit_code = former
        self.context.say(f"the new engine could not start: {why}", "bad")
        self.lab.mark({"end"})
        self.lab.moved()

    # forks

    def ask_fork(self, checkpoint: int | None) -> None:
        """Ask for the algorithm, then the name, of a copy of the lane in view: as it is now, or as
        it was at the checkpoint of a step."""
        context = self.context
        restarts = context.restartable and checkpoint is not None
        if not (context.commands or restarts):
            self.send({"do": "fork"})  # says why it is not possible
            self.lab.refused()
            return
        from grpolab.tui.lab.dialogs.picker import ForkPicker

        state, lane = context.state, context.view.lane_state(context.state)
        at = checkpoint if checkpoint is not None else state.step
        if lane is None or (checkpoint is not None and lane.new_since(at, state.saved.get(at))):
            name = lane.name if lane else ""
            context.say(f"lane {name} did not exist at step {at}; choose another lane", "warn")
            self.lab.moved()
            return

        def chosen(section: dict[str, Any] | None) -> None:
            if section:
                self._name_fork(section, checkpoint)

        self.lab.app.push_screen(ForkPicker(context, checkpoint), chosen)

    def _name_fork(self, section: dict[str, Any], checkpoint: int | None) -> None:
        from grpolab.tui.lab.dialogs.failure import rewind_warning
        from grpolab.tui.timeline import model as timeline
        from grpolab.tui.widgets.dialog import Entry

        context, lane = self.context, self.context.view.lane
        names = set(context.state.lanes)

        def check(text: str) -> None:
            if not re.fullmatch(LANE_NAME, text):
                raise ValueError("a name of at most 24 letters, digits, - _ . +")
            if text in names:
                raise ValueError(f"there is a lane {text} already")

        def named(text: str | None) -> None:
            if text:
                command = {"do": "fork", "name": text, "algorithm": section, "lane": lane}
                if checkpoint is not None and context.restartable:
                    self.restart(checkpoint, command)
                    return
                if checkpoint is not None:
                    command["checkpoint"] = checkpoint
                self.send(command, f"forking {lane} into {text} after this step…")

        told = [(f"A copy of lane {lane} under {section['name'].upper()}; its name:", "text")]
        if checkpoint is not None and timeline.undone(context.state, checkpoint):
            told = [*rewind_warning(context, checkpoint), ("", "text"), *told]
        entry = Entry(
            context, "Fork a lane", told, value=free_name(section["name"], names), keys="↵ fork",
            check=check,
        )  # fmt: skip
        self.lab.app.push_screen(entry, named)

    # the session as a file

    def export_scenario(self) -> None:
        """Write the run, with what was changed by hand as cues, as a scenario."""
        from grpolab.scenario import export

        context = self.context
        try:
            path, count = export.save(context.run_dir)
        except (RequestError, OSError) as error:
            context.say(f"no scenario: {error}", "bad")
        else:
            changes = f"{count} manual change{'s' * (count != 1)}"
            beside = path.parent == context.run_dir
            place = f"{path.name} in the run directory" if beside else str(path)
            context.say(f"exported as a scenario: {place}, {changes}", "good")
        self.lab.moved()


def free_name(algorithm: str, taken: set[str]) -> str:
    """A name for a lane under an algorithm that no other lane has: `ppo`, `ppo-2`, …"""
    n, name = 1, algorithm
    while name in taken:
        n += 1
        name = f"{algorithm}-{n}"
    return name
