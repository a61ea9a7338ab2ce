"""Slow motion: one rollout followed at reading speed, from its first token to what the step made
of it. The training does not wait for it unless it is paused.
"""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.tui.context import AppContext
from grpolab.tui.slow_motion.model import STAGES, Beat, Story, first_of, tell
from grpolab.tui.slow_motion.view import SlowStage, SlowWords
from grpolab.tui.source import Playing
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings
from grpolab.tui.widgets.text import visible

# --- slow_keys ---
# What the keys of slow motion do. Each method is one action of the table in `keys`.

SLOWEST, FASTEST = 0.25, 8.0


class SlowKeys:
    """These actions, apart from the screen that they act on."""

    context: AppContext
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
        self.context.view.browse_to(self.context.state, None)
        self.choose()

    def action_prompt_next(self) -> None:
        self._prompt(1)

    def action_prompt_previous(self) -> None:
        self._prompt(-1)

    def _prompt(self, by: int) -> None:
        if self.story is not None and self.story.r.prompts:
            to = (self.story.prompt + by) % len(self.story.r.prompts)
            self.context.view.prompt, self.answer = to, None
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


FRAME = 1 / 20


class SlowScreen(SlowKeys, Overlay):
    BINDINGS = bindings("slow")
    key = "slow"
    heading = "Slow motion"
    mouse = "click an answer to follow it, a key below"
    explains = (
        "Training is faster than the eye. Here one group of one rollout is told at reading speed, "
        "in six stages: the answers are written token by token; their grade falls; advantages "
        "spread over the tokens; the objective chooses its branch for some of them, with their "
        "numbers in the formula; the gradient pushes; and the update moves the probabilities of "
        "those very tokens, shown before and after.\n"
        "It plays by itself; every beat waits as long as it takes to read. Space pauses it, ← and "
        "→ go by one beat, tab by one stage.\n"
        "On a live run the training goes on meanwhile, unless you pause it: the line under the "
        "words says which. Before and after need the tokens to be measured once more when their "
        "step is done: on a live run the engine is asked to do that for the next step that it "
        "finishes (one forward pass), and that step is then followed. A recorded run has it where "
        "it was asked for, or where the setting record.after was on."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.lane = context.view.lane
        self.story: Story | None = None
        self.at = 0
        self.playing = True
        self.speed = 1.0
        self.problem = ""
        self.since: float | None = None  # when the engine was asked, while it owes an answer
        self.answer: int | None = None  # of the group, the one followed closely
        self._spent = 0.0  # seconds of the present beat
        self._last = time.monotonic()
        self.part = "stage"
        self.parts = (SlowStage(self, id="stage"), SlowWords(self, id="words"))

    # what is told

    def opened(self) -> None:
        self._last = time.monotonic()
        self.set_interval(FRAME, self.frame)
        self.choose()

    def choose(self) -> None:
        """Tell what the lab looks at; of the newest step of a live run, have it measured first."""
        r = self._chosen()
        if self.context.commands and self._newest(r) and (r is None or r.after is None):
            self._ask()
        elif r is not None:
            self.begin(r)
        self.again()

    def unasked(self) -> None:
        """Do not wait for the engine: tell what there is."""
        self.since = None
        if (r := self._chosen()) is not None:
            self.begin(r)
        self.again()

    def _chosen(self) -> RolloutView | None:
        """What the lab looks at, as far as it is finished."""
        return self.context.view.scored(self.context.state)

    def _newest(self, r: RolloutView | None) -> bool:
        """Whether the engine can still measure it: a step held while others were made is past."""
        held, lane = self.context.view.held, self.context.state.lanes.get(self.lane)
        last = lane.last.step if lane is not None and lane.last is not None else 0
        return held is None or (r is not None and self.context.state.paused and r.step == last)

    def _ask(self) -> None:
        """Have the engine measure the next finished step's tokens; that step is then told."""
        self.story, self.problem, asked = None, "", self.context.asked
        key = ("after", self.lane)
        if key not in asked and self.lab.send({"do": "after", "lane": self.lane}):
            asked[key] = time.monotonic()
        self.since = asked.get(key)

    @property
    def waiting(self) -> bool:
        return self.since is not None

    def begin(self, r: RolloutView, prompt: int | None = None) -> None:
        """Tell this rollout from its first beat."""
        lane = self.context.state.lanes.get(self.lane)
        if lane is None or r.tokens is None:
            return
        # a copy: what the lab keeps may be let go and read again meanwhile
        r = RolloutView(**{f.name: getattr(r, f.name) for f in fields(RolloutView)})
        source = self.context.source
        if r.after is None and isinstance(source, Playing):
            r.after = source.after(self.lane, r.step)
        chosen = self._worth(r) if prompt is None else prompt
        chosen = min(chosen, max(0, len(r.prompts) - 1))
        answer = None if self.answer is None else r.rows(chosen)[self.answer % r.group_size]
        still = self.context.reduced_motion or self.context.ssh
        self.story = tell(lane, r, chosen, answer, still=still)
        self.go(0)

    def _worth(self, r: RolloutView) -> int:
        """The prompt chosen in the lab; where that is the first one and its answers are all alike,
        the one whose rewards differ most: there is more to see."""
        chosen = self.context.view.prompt
        if chosen or r.graded is None:
            return chosen
        rewards = [[r.graded.reward[i] for i in r.rows(k)] for k in range(len(r.prompts))]
        spread = [max(x) - min(x) if x else 0.0 for x in rewards]
        return chosen if not spread or spread[0] > 0 else spread.index(max(spread))

    def news(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.After) and event.lane == self.lane and self.waiting:
                self.since = None
                lane = self.context.state.lanes.get(self.lane)
                found = lane.rollouts.get(event.step) if lane is not None else None
                if found is not None:
                    self.begin(found)
            elif isinstance(event, ev.Refused) and event.command.get("do") == "after":
                self._without(event.reason)
        if self.waiting and ("after", self.lane) not in self.context.asked:
            self.unasked()  # the answer was in what was not read one by one
        if self.waiting and not self.context.commands:
            self.context.answered("after", self.lane)
            self._without("the engine ended before it could measure")
        if self.story is None and not self.waiting and (r := self._chosen()) is not None:
            self.begin(r)
        self.touch(self.parts[1])

    def _without(self, reason: str) -> None:
        """Tell what there is, and say what is missing."""
        self.since, self.problem = None, reason
        if self.story is None and (r := self._chosen()) is not None:
            self.begin(r)

    # time

    @property
    def beat(self) -> Beat | None:
        beats = self.story.beats if self.story is not None else []
        return beats[min(self.at, len(beats) - 1)] if beats else None

    def frame(self) -> None:
        """A moment passes."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        beat = self.beat
        if self.story is None or beat is None or not self.playing or self.app.screen is not self:
            return
        self._spent += min(passed, 0.5) * self.speed
        at = self.at
        while self._spent >= self.story.beats[at].seconds and at + 1 < len(self.story.beats):
            self._spent -= self.story.beats[at].seconds
            at += 1
        if at != self.at:
            self.at = at
            self.again()
        elif at + 1 == len(self.story.beats) and self._spent >= beat.seconds:
            self.playing = False
            self.again()

    def go(self, at: int) -> None:
        if self.story is not None:
            self.at, self._spent = max(0, min(at, len(self.story.beats) - 1)), 0.0
        self.again()

    # words about it

    def waits(self) -> str:
        """What is said while there is nothing to tell."""
        if self.waiting:
            key = self.context.keymap.shown("slow_next")
            return (
                "The engine finishes its step first, then measures its tokens once more. Slow "
                f"motion follows that step, so that it can show before and after. {key} does not "
                "wait and tells the last finished step without."
            )
        return self.problem or "Slow motion begins when the first step is finished."

    def status(self) -> list[tuple[str, str]]:
        """Playing or paused, how fast, and what the training does meanwhile."""
        context, keys = self.context, self.context.keymap
        if self.waiting:
            since = time.monotonic() - (self.since or 0.0)
            return [(f"{context.spin} waiting {since:.0f} s", "accent")]
        last = self.story is not None and self.at + 1 >= len(self.story.beats)
        how = "▶ playing" if self.playing else "■ the end" if last else "‖ paused"
        out = [(f"{how} ×{self.speed:g}", "accent")]
        pause = keys.shown("pause")
        if context.over:
            out.append(("  the run has ended", "dim"))
        elif context.mode == "replay":
            out.append(("  a recorded run: nothing is computed", "dim"))
        elif context.state.paused:
            out.append(("  training is paused", "warn"))
            out.append((f": {pause} continues it" if context.mode == "live" else "", "dim"))
        else:
            out.append((f"  the training goes on, {context.state.step} steps done", "good"))
            out.append((f"; {pause} pauses it" if context.mode == "live" else "", "dim"))
        if self.problem:
            out.append((f"  ✗ not measured: {visible(self.problem)}", "bad"))
        return out

    # screen and keys

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        below = 7
        return {
            "stage": Rect(0, 0, width, height - below),
            "words": Rect(0, height - below, width, below),
        }

    def scrolled(self) -> Box[Any] | None:
        return self.parts[0]

    def follow(self, answer: int) -> None:
        """Look closely at another answer's tokens; the stage stays."""
        story, beat = self.story, self.beat
        if story is None or beat is None:
            return
        self.answer = self.context.view.answer = answer
        at = self.at
        self.begin(story.r, story.prompt)
        beats = story.beats if self.story is None else self.story.beats
        same = at < len(beats) and beats[at].stage == beat.stage
        self.go(at if same and beat.stage != "objective" else first_of(beats, beat.stage))

    def action_pause(self) -> None:
        self.lab.action_pause()
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "answer" and self.story is not None:
            self.follow(int(value) - self.story.rows[0])
