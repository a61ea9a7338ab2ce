"""What the keys of slow motion do. Each method is one action of the table in `keys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.tui.desk import Desk
from grpolab.tui.story import STAGES, Beat, Story, first_of

if TYPE_CHECKING:
    from grpolab.rollout_view import RolloutView

SLOWEST, FASTEST = 0.25, 8.0


class SlowKeys:
    """These actions, apart from the screen that they act on."""

    desk: Desk
    story: Story | None
    at: int
    playing: bool
    speed: float
    answer: int | None

    if TYPE_CHECKING:

        @property
        def beat(self) -> Beat | None: ...
        @property
        def waiting(self) -> bool: ...
        def again(self) -> None: ...
        def go(self, at: int) -> None: ...
        def begin(self, r: RolloutView, prompt: int | None = None) -> None: ...
        def choose(self) -> None: ...
        def unasked(self) -> None: ...
        def follow(self, answer: int) -> None: ...

    def action_slow_play(self) -> None:
        at_end = self.story is not None and self.at + 1 >= len(self.story.beats)
        if not self.playing and at_end:
            self.go(0)
        self.playing = not self.playing
        self.again()

    def action_slow_next(self) -> None:
        if self.waiting:
            self.unasked()
        else:
            self._step(1)

    def action_slow_back(self) -> None:
        self._step(-1)

    def _step(self, by: int) -> None:
        """By one beat; what only moves is left out on the way."""
        if self.story is None:
            return
        self.playing, at = False, self.at + by
        beats = self.story.beats
        while 0 <= at < len(beats) and beats[at].sweep:
            at += by
        self.go(at)

    def action_slow_stage(self) -> None:
        self._stage(1)

    def action_slow_stage_back(self) -> None:
        self._stage(-1)

    def _stage(self, by: int) -> None:
        if self.story is not None and self.beat is not None:
            there = [s for s in STAGES if any(b.stage == s for b in self.story.beats)]
            at = (there.index(self.beat.stage) + by) % len(there)
            self.go(first_of(self.story.beats, there[at]))

    def action_slow_speed_back(self) -> None:
        self.speed = max(SLOWEST, self.speed / 2)
        self.again()

    def action_slow_faster(self) -> None:
        self.speed = min(FASTEST, self.speed * 2)
        self.again()

    def action_slow_start(self) -> None:
        self.go(0)

    def action_slow_again(self) -> None:
        """The newest step, from the start."""
        self.playing = True
        self.desk.view.browse_to(self.desk.state, None)
        self.choose()

    def action_prompt_next(self) -> None:
        self._prompt(1)

    def action_prompt_previous(self) -> None:
        self._prompt(-1)

    def _prompt(self, by: int) -> None:
        if self.story is not None and self.story.r.prompts:
            to = (self.story.prompt + by) % len(self.story.r.prompts)
            self.desk.view.prompt, self.answer = to, None
            self.begin(self.story.r, to)

    def action_answer_next(self) -> None:
        self._follow(1)

    def action_answer_previous(self) -> None:
        self._follow(-1)

    def _follow(self, by: int) -> None:
        """Another answer's tokens are looked at closely; the stage stays."""
        if self.story is not None:
            size = max(1, self.story.r.group_size)
            now = -1 if self.answer is None and by > 0 else self.answer or 0
            self.follow((now + by) % size)
