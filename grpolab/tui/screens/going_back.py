"""What the keys do with the training's past: the way back, forks, and the session as a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from grpolab.problems import RequestError
from grpolab.tui.screens.starting import Starting

if TYPE_CHECKING:
    from grpolab import events as ev


class GoingBack(Starting):
    """These actions, apart from the screen that they act on."""

    if TYPE_CHECKING:

        def action_time(self, kind: str = "") -> None: ...
        def mark(self, marks: set[str]) -> None: ...

    def action_rewind(self) -> None:
        """Choose among the checkpoints."""
        if self.desk.commands or self.desk.restartable:
            self.action_time("checkpoint")
        else:
            self.send({"do": "rewind"})

    def ask_rewind(self, to: int) -> None:
        from grpolab.tui.screens.rewinding import Rewinding

        if not (self.desk.commands or self.desk.restartable):
            self.send({"do": "rewind"})
            return

        def decided(yes: bool | None) -> None:
            if yes and self.desk.restartable:
                self.start_again(to)
            elif yes:
                self.send({"do": "rewind", "to": to}, f"rewinding to step {to} after this step…")

        self.app.push_screen(Rewinding(self.desk, to), decided)

    def action_fork(self) -> None:
        self.ask_fork(None)

    def ask_fork(self, checkpoint: int | None) -> None:
        """Choose the algorithm, then the name, of a copy of the lane in view."""
        again = self.desk.restartable and checkpoint is not None
        if not (self.desk.commands or again):
            self.send({"do": "fork"})
            return
        from grpolab.tui.screens.picker import ForkPicker

        state, lane = self.desk.state, self.desk.view.lane_state(self.desk.state)
        at = checkpoint if checkpoint is not None else state.step
        if lane is None or (checkpoint is not None and lane.new_since(at, state.saved.get(at))):
            name = lane.name if lane else "that"
            self.desk.say(f"at step {at} there was no lane {name} yet; look at another", "warn")
            self.moved()
            return

        def chosen(section: dict[str, Any] | None) -> None:
            if section:
                self._name_fork(section, checkpoint)

        self.app.push_screen(ForkPicker(self.desk, checkpoint), chosen)

    def _name_fork(self, section: dict[str, Any], checkpoint: int | None) -> None:
        from grpolab.tui import moments
        from grpolab.tui.screens.entry import Entry
        from grpolab.tui.screens.rewinding import warning

        desk, lane = self.desk, self.desk.view.lane
        names = set(desk.state.lanes)

        def check(text: str) -> None:
            if not re.fullmatch(r"[\w.+-]{1,24}", text):
                raise ValueError("a name of at most 24 letters, digits, - _ . +")
            if text in names:
                raise ValueError(f"there is a lane {text} already")

        def named(text: str | None) -> None:
            if text:
                command = {"do": "fork", "name": text, "algorithm": section, "lane": lane}
                if checkpoint is not None and desk.restartable:
                    self.start_again(checkpoint, command)
                    return
                if checkpoint is not None:
                    command["checkpoint"] = checkpoint
                self.send(command, f"forking {lane} into {text} after this step…")

        told = [(f"A copy of lane {lane} under {section['name'].upper()}; its name:", "text")]
        if checkpoint is not None and moments.undone(desk.state, checkpoint):
            told = [*warning(desk, checkpoint), ("", "text"), *told]
        entry = Entry(
            desk, "Fork a lane", told, value=free_name(section["name"], names), keys="↵ fork",
            check=check,
        )  # fmt: skip
        self.app.push_screen(entry, named)

    # the session

    def action_session(self) -> None:
        """Write what was done by hand as a scenario."""
        from grpolab import session

        try:
            path, count = session.save(self.desk.run_dir)
        except (RequestError, OSError) as error:
            self.desk.say(f"no scenario: {error}", "bad")
        else:
            changes = f"{count} change{'s' * (count != 1)} by hand"
            beside = path.parent == self.desk.run_dir
            place = f"{path.name} beside the run" if beside else str(path)
            self.desk.say(f"{place}: the session as a scenario, {changes}", "good")
        self.moved()

    def rewound(self, event: ev.Resumed) -> None:
        """The training went back: let go of what is no more."""
        desk = self.desk
        if desk.view.held is not None and desk.view.held.step > event.step:
            desk.view.browse_to(desk.state, None)
        desk.trail = [
            p for p in desk.trail if p.view.held is None or p.view.held.step <= event.step
        ]
        if desk.view.cursor is not None and desk.view.cursor > event.step:
            desk.view.cursor = None
        self.mark({"select"})
        desk.lenses = {key: lens for key, lens in desk.lenses.items() if key[1] <= event.step}
        if event.origin == "rewind" and desk.starting:
            self.started_again(event.step)
        elif event.origin == "rewind":
            place = f"step {event.step}" if event.step else "the start"
            desk.say(f"rewound from step {event.before} to {place}; it goes on from there", "warn")


def free_name(algorithm: str, taken: set[str]) -> str:
    """A lane's name that nobody has."""
    n, name = 1, algorithm
    while name in taken:
        n += 1
        name = f"{algorithm}-{n}"
    return name
