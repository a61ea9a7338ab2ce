"""An engine started again for a run that is over, so that its training can go back to a
checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpolab.tui.screens.training import Training
from grpolab.tui.source import Engine


class Starting(Training):
    """These actions, apart from the screen that they act on."""

    told_failure: bool

    if TYPE_CHECKING:

        def mark(self, marks: set[str]) -> None: ...

    def start_again(self, to: int, *commands: dict[str, Any]) -> None:
        """Go back to a checkpoint in a new engine. It waits there, paused: who goes back wants to
        change something first. `commands` are carried out before."""
        desk = self.desk
        if desk.restart is None or not desk.restartable:
            self.send({"do": "rewind"})  # says why nobody does it
            return
        former = desk.engine, desk.exit_code
        if desk.engine is not None and desk.engine.exit_code is None:
            desk.say("the engine is still ending; once more in a moment", "warn")
        else:
            engine = desk.restart(to)
            desk.engine, desk.exit_code, desk.starting = engine, None, True
            for command in ({"do": "pause"}, *commands):
                engine.send(command)
            desk.say("the engine starts again, which takes some seconds…")
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
        self.desk.starting = False
        self.desk.engine, self.desk.exit_code = former
        self.desk.say(f"the engine does not start again: {why}", "bad")
        self.mark({"end"})
        self.moved()

    def started_again(self, step: int) -> None:
        """It has come to where it was sent."""
        self.desk.starting = self.told_failure = False
        place = f"step {step}" if step else "the start"
        key = self.desk.keymap.shown("pause")
        told = f"back at {place}: change what you like; {key} lets the training go on"
        self.desk.say(told, "warn")
