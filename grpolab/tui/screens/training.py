"""What the keys do to the training: each becomes a command to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpolab.tui.desk import Desk
from grpolab.tui.source import Playing

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp


class Training:
    """These actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        desk: Desk
        app: LabApp

        def moved(self) -> None: ...
        def action_play(self) -> None: ...

    def send(self, command: dict[str, Any], told: str = "") -> bool:
        """A command to the engine, or a word on why there is none to take it."""
        desk = self.desk
        if desk.engine is None:
            words = {
                "replay": "a replay computes nothing",
                "watch": "watching only: somebody else runs this",
            }
            desk.say(words.get(desk.mode, "no engine"), "warn")
        elif desk.over or desk.leaving is not None:
            desk.say(
                "the engine has ended" if desk.over else "the engine is finishing its last step",
                "warn",
            )
        elif desk.engine.send(command) is False:
            desk.say("the engine does not listen any more", "bad")
        else:
            if told:
                desk.say(told)
            self.moved()
            return True
        self.moved()
        return False

    def for_lane(self, command: dict[str, Any]) -> dict[str, Any]:
        """The command, with its lane named where there are several."""
        several = len(self.desk.state.lanes) > 1
        return command | {"lane": self.desk.view.lane} if several else command

    def action_algorithm(self) -> None:
        if self.desk.engine is None or self.desk.over:
            self.send({"do": "switch"})
            return
        from grpolab.tui.screens.picker import Picker

        def chosen(section: dict[str, Any] | None) -> None:
            if section:
                told = f"switching to {section['name'].upper()} after this step…"
                self.send(self.for_lane({"do": "switch", "algorithm": section}), told)

        self.app.push_screen(Picker(self.desk), chosen)

    def action_setting(self) -> None:
        """All settings; in a replay and in a watched run to look at."""
        from grpolab.scenario import lab_wide
        from grpolab.tui.screens.setting import SettingDialog

        def send(key: str, value: Any) -> bool:
            command = {"do": "set", "key": key, "value": value}
            return self.send(command if lab_wide(key) else self.for_lane(command))

        if self.desk.view.lane_state(self.desk.state) is None:
            self.desk.say("there is no lane yet", "warn")
            self.moved()
        else:
            self.app.push_screen(SettingDialog(self.desk, send))

    def action_pause(self) -> None:
        if isinstance(self.desk.source, Playing):
            self.action_play()
        elif self.desk.state.paused:
            self.send({"do": "continue"})
        elif self.send({"do": "pause"}):
            self.desk.pausing = True
            self.moved()

    def action_single(self) -> None:
        self.send({"do": "step"}, "one step, then pause")

    def action_evaluate(self) -> None:
        self.send({"do": "evaluate"}, "evaluating after this step…")

    def action_checkpoint(self) -> None:
        self.send({"do": "checkpoint"}, "writing a checkpoint after this step…")
