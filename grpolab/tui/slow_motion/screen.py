"""Slow motion: one group of one rollout at reading speed, from sampling to the change by the
update. Training continues meanwhile unless it is paused.
"""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.tui.context import AppContext
from grpolab.tui.slow_motion.beats import first_of, tell
from grpolab.tui.slow_motion.model import STAGES, Beat, Story
from grpolab.tui.slow_motion.view import SlowCaption, SlowStage
from grpolab.tui.source import Playing
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings
from grpolab.tui.widgets.text import visible

SLOWEST, FASTEST = 0.25, 8.0
FRAME = 1 / 20
"""Seconds between two frames."""


class SlowScreen(Overlay):
    BINDINGS = bindings("slow")
    key = "slow"
    heading = "Slow motion"
    mouse = "click an answer to follow it, a key below"
    explains = (
        "One group of one rollout at reading speed, in six stages: the answers are sampled token "
        "by token; they are graded; advantages are assigned to the tokens; the objective takes a "
        "branch for some of them, shown with their numbers in the formula; the gradient reinforces "
        "or penalizes; and the update changes the probabilities of these tokens, shown before and "
        "after.\n"
        "It plays by itself; every beat lasts as long as reading it takes. Space pauses, ← and → "
        "move by one beat, tab by one stage.\n"
        "A live run continues training meanwhile unless you pause it: the last line says which. "
        "Probabilities after the step need one more forward pass: on a live run the engine makes "
        "it for the next step it finishes, and slow motion then shows that step. A recorded run "
        "has them where they were requested or the setting record.after was on."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.lane = context.view.lane
        self.story: Story | None = None
        self.at = 0
        self.playing = True
        self.speed = 1.0
        self.problem = ""
        self.since: float | None = None  # when the engine was asked; None: not waiting
        self.answer: int | None = None  # index in the group of the answer followed closely
        self._spent = 0.0  # seconds into the current beat
        self._last = time.monotonic()
        self.part = "stage"
        self.parts = (SlowStage(self, id="stage"), SlowCaption(self, id="words"))

    # choosing the story

    def opened(self) -> None:
        self._last = time.monotonic()
        self.set_interval(FRAME, self.frame)
        self.choose()

    def choose(self) -> None:
        """Tell the step in view; if it is the newest of a live run, have it measured first."""
        r = self._chosen()
        if self.context.commands and self._newest(r) and (r is None or r.after is None):
            self._ask()
        elif r is not None:
            self.begin(r)
        self.again()

    def unasked(self) -> None:
        """Stop waiting for the engine: tell the last finished step."""
        self.since = None
        if (r := self._chosen()) is not None:
            self.begin(r)
        self.again()

    def _chosen(self) -> RolloutView | None:
        """The step in view, if it is finished."""
        return self.context.view.scored(self.context.state)

    def _newest(self, r: RolloutView | None) -> bool:
        """Whether the engine can still measure it: a held step is past once others were made."""
        held, lane = self.context.view.held, self.context.state.lanes.get(self.lane)
        last = lane.last.step if lane is not None and lane.last is not None else 0
        return held is None or (r is not None and self.context.state.paused and r.step == last)

    def _ask(self) -> None:
        """Have the engine measure the tokens of the next step it finishes, which is then told."""
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
        # a copy: the lab may unload its own and read it again meanwhile
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
        """The prompt selected in the lab; if that is the first and its rewards are all equal, the
        prompt whose rewards differ most."""
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
            self.unasked()  # the answer was among skipped events
        if self.waiting and not self.context.commands:
            self.context.answered("after", self.lane)
            self._without("the engine ended before it could measure")
        if self.story is None and not self.waiting and (r := self._chosen()) is not None:
            self.begin(r)
        self.touch(self.parts[1])

    def _without(self, reason: str) -> None:
        """Tell the last finished step, and say why it was not measured."""
        self.since, self.problem = None, reason
        if self.story is None and (r := self._chosen()) is not None:
            self.begin(r)

    # time

    @property
    def beat(self) -> Beat | None:
        beats = self.story.beats if self.story is not None else []
        return beats[min(self.at, len(beats) - 1)] if beats else None

    def frame(self) -> None:
        """Advance the time."""
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

    # status

    def waits(self) -> str:
        """The caption while there is no story."""
        if self.waiting:
            key = self.context.keymap.shown("slow_next")
            return (
                "The engine finishes its step, then makes one more forward pass over its tokens, "
                f"so that slow motion can show probabilities before and after. {key} does not wait "
                "and shows the last finished step without them."
            )
        return self.problem or "Slow motion begins when the first step is finished."

    def status(self) -> list[tuple[str, str]]:
        """Playing or paused, speed, and what the training does meanwhile."""
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
            out.append(("  a recorded run", "dim"))
        elif context.state.paused:
            out.append(("  training is paused", "warn"))
            out.append((f": {pause} resumes" if context.mode == "live" else "", "dim"))
        else:
            out.append((f"  training continues, {context.state.step} steps done", "good"))
            out.append((f"; {pause} pauses" if context.mode == "live" else "", "dim"))
        if self.problem:
            out.append((f"  ✗ not measured: {visible(self.problem)}", "bad"))
        return out

    # layout

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        below = 7
        return {
            "stage": Rect(0, 0, width, height - below),
            "words": Rect(0, height - below, width, below),
        }

    def scrolled(self) -> Box[Any] | None:
        return self.parts[0]

    def follow(self, answer: int) -> None:
        """Follow an answer closely, by its index in the group; the stage stays."""
        story, beat = self.story, self.beat
        if story is None or beat is None:
            return
        self.answer = self.context.view.answer = answer
        at = self.at
        self.begin(story.r, story.prompt)
        beats = story.beats if self.story is None else self.story.beats
        same = at < len(beats) and beats[at].stage == beat.stage
        self.go(at if same and beat.stage != "objective" else first_of(beats, beat.stage))

    # keys and clicks

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
        """By one beat, skipping those that only animate."""
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
        """Follow another answer closely; the stage stays."""
        if self.story is not None:
            size = max(1, self.story.r.group_size)
            now = -1 if self.answer is None and by > 0 else self.answer or 0
            self.follow((now + by) % size)

        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "answer" and self.story is not None:
            self.follow(int(value) - self.story.rows[0])
