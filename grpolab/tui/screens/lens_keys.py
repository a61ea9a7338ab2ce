"""What the lens's keys and clicks do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.geometry import Size

    from grpolab.rollout_view import RolloutView
    from grpolab.tui.app import LabApp
    from grpolab.tui.arrange import Box
    from grpolab.tui.desk import Desk
    from grpolab.tui.lens import Apart, Lens


class LensKeys:
    """The actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        app: LabApp
        desk: Desk
        rollout: RolloutView | None
        lens: Lens | None
        at: str
        second: str
        group: int
        answer: int
        token: int
        part: str
        chosen: int
        detail: bool

        @property
        def size(self) -> Size: ...
        @property
        def apart(self) -> list[Apart]: ...
        def boxes(self, width: int, height: int) -> dict[str, Box]: ...
        def look(self, *, again: bool = False, parameters: bool = False) -> None: ...
        def again(self) -> None: ...
        def moved(self) -> None: ...
        def relayout(self) -> None: ...
        def dismiss(self, result: None = None) -> Any: ...

    def go(self, group: int, answer: int, token: int) -> None:
        """To a token, or the nearest place that there is."""
        if self.lens is None:
            return
        self.group = max(0, min(group, len(self.lens.pieces) - 1))
        answers = self.lens.pieces[self.group]
        self.answer = max(0, min(answer, len(answers) - 1))
        self.token = max(0, min(token, len(answers[self.answer]) - 1))
        self.moved()

    def _choose(self, name: str) -> None:
        self.at, self.chosen = name, 0
        self.go(self.group, self.answer, self.token)

    def _step(self, by: int) -> None:
        if self.lens is None:
            return
        if self.part == "apart" and self.apart:
            self.chosen = (self.chosen + by) % len(self.apart)
            self.again()
        else:
            names = self.lens.names
            self._choose(names[(names.index(self.at) + by) % len(names)])

    def action_row_next(self) -> None:
        self._step(1)

    def action_row_previous(self) -> None:
        self._step(-1)

    def action_token_next(self) -> None:
        self.go(self.group, self.answer, self.token + 1)

    def action_token_previous(self) -> None:
        self.go(self.group, self.answer, self.token - 1)

    def action_token_jump(self) -> None:
        self.go(self.group, self.answer, self.token + 10)

    def action_token_back(self) -> None:
        self.go(self.group, self.answer, self.token - 10)

    def action_prompt_next(self) -> None:
        self._turn(1)

    def action_prompt_previous(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        if self.lens is not None:
            self.go((self.group + by) % len(self.lens.pieces), self.answer, 0)

    def action_lens_answer_next(self) -> None:
        self._answer(1)

    def action_lens_answer_previous(self) -> None:
        self._answer(-1)

    def _answer(self, by: int) -> None:
        """The next answer; past the last of a group the first of the next prompt."""
        if self.lens is None:
            return
        places = [(g, a) for g, group in enumerate(self.lens.pieces) for a in range(len(group))]
        at = (places.index((self.group, self.answer)) + by) % len(places)
        self.go(*places[at], 0)

    def action_lens_mark(self) -> None:
        if self.lens is None or self.at not in self.lens.looks:
            return
        self.second = "" if self.second == self.at else self.at
        self.chosen = 0
        self.again()

    def action_lens_focus(self) -> None:
        self.part = "table" if self.part == "apart" else "apart"
        self.relayout()

    def action_lens_enter(self) -> None:
        if self.part == "apart":
            self._jump(self.chosen)
        elif "tokens" not in self.boxes(self.size.width, self.size.height - 3):
            self.detail = self.lens is not None
            self.relayout()
        else:
            self.action_lens_focus()

    def action_lens_jump(self, number: int) -> None:
        self._jump(number - 1)

    def _jump(self, i: int) -> None:
        if i < len(self.apart):
            self.chosen, x = i, self.apart[i]
            self.go(x.group, x.answer, x.token)

    def action_lens_parameters(self) -> None:
        self.look(parameters=True)

    def action_lens_again(self) -> None:
        self.look(again=True)

    def action_lens_what_if(self) -> None:
        if self.lens is None:
            self.desk.say("the lens has nothing to change yet", "warn")
            self.again()
            return
        from grpolab.tui.screens.whatif import WhatIfScreen

        place = (self.group, self.answer)
        self.app.push_screen(WhatIfScreen(self.desk, self.lens, self.rollout, place))

    def action_close(self) -> None:
        """Back by one: from the details to the table, from there to the lab."""
        if self.detail or self.part == "apart":
            self.detail, self.part = False, "table"
            self.relayout()
        else:
            self.dismiss(None)

    def clicked(self, what: str, value: Any) -> None:
        if what == "algorithm":
            if value == self.at:
                self.part = "table"
                self.action_lens_enter() if self.size.width < 104 else None
            self._choose(str(value))
        elif what == "token":
            self.go(self.group, self.answer, int(value))
        elif what == "apart":
            self.part = "apart"
            self._jump(int(value))
        elif what == "pane":
            self.part = "apart" if value == "apart" else "table"
            self.relayout()
