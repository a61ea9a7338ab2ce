"""What if: the lens's rollout under changed settings, scored again at every change. Nothing is
learned from it; the change can be applied to a live lane.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from textual.worker import Worker, WorkerError

from grpolab import events as ev
from grpolab.rollout_view import RolloutView
from grpolab.tui import cards, settings, whatif
from grpolab.tui.arrange import Box
from grpolab.tui.desk import Desk
from grpolab.tui.keys import Action
from grpolab.tui.lens import Lens
from grpolab.tui.panes.whatif_knobs import Knob, Knobs, knobs
from grpolab.tui.panes.whatif_parts import Answers, Outcome, Pushes
from grpolab.tui.screens.sheet import Sheet, bindings
from grpolab.tui.screens.whatif_keys import WhatIfKeys
from grpolab.tui.whatif import Basis, Plan, Scorer


class WhatIfScreen(WhatIfKeys, Sheet):
    BINDINGS = bindings("what-if")
    key = "what-if"
    heading = "What if"
    mouse = "click a setting, an answer, a token, a key below"
    explains = (
        "The rollout that the lens holds, scored once more with whatever you change: another "
        "algorithm or preset, any of its settings, the number of answers that count in each group, "
        "the weights of the parts of the reward. ✎ marks what is changed.\n"
        "The outcome stands beside what the lane really did. Loss: the number that training makes "
        "smaller. Σ|grad|: how strongly all tokens together are pushed. Cosine: whether the "
        "changed algorithm pushes in the same direction, +1 the same, 0 nothing in common, −1 "
        "against it.\n"
        "Answers: reward and advantage (how much better than expected an answer did) before and "
        "after. Tokens: two rows of marks, ▲ pushed up, ▼ down: first as it is, then as it would "
        "be.\n"
        "Nothing is trained here. Apply sends the change to the lane of a live run, from its next "
        "step on; leaving changes nothing."
    )

    def __init__(self, desk: Desk, lens: Lens, rollout: RolloutView | None, place: tuple[int, int]):
        super().__init__(desk)
        self.lens, self.rollout = lens, rollout
        self.group, self.answer = place
        self.token = 0
        self.basis = basis(desk, lens, rollout)
        self.plan = self.basis.plan
        self.before = self.after = whatif.known(self.basis, lens.raw)
        self.ready = False  # the process has the rollout
        self.problem, self.asked, self.took = "", time.monotonic(), 0.0
        self.at = "algorithm"  # the chosen knob
        self.part = "knobs"
        self.page = "outcome"  # beside or under the knobs on a small screen
        self.wanted = self.busy = False
        self._scoring: Worker[None] | None = None
        made = desk.state.lanes[lens.lane].lenses.get(lens.step) if self._known() else None
        self.scorer = Scorer(desk.run_dir, lens.step, lens.lane, made.path if made else "")
        self.parts = (
            Knobs(self, id="knobs"), Outcome(self, id="outcome"),
            Answers(self, id="answers"), Pushes(self, id="pushes"),
        )  # fmt: skip

    def _known(self) -> bool:
        return self.lens.lane in self.desk.state.lanes

    def opened(self) -> None:
        self.score()

    async def left(self) -> None:
        if self._scoring is not None:  # it may be starting the process just now
            self._scoring.cancel()
            with suppress(WorkerError):
                await self._scoring.wait()
        await self.scorer.close()

    def score(self) -> None:
        """The plan changed: ask for its numbers."""
        self.wanted = True
        if not self.busy:
            self.busy = True
            self._scoring = self.run_worker(self._score(), group="what-if", exit_on_error=False)

    async def _score(self) -> None:
        """Ask until the newest plan is answered; those in between are skipped."""
        while self.wanted:
            self.wanted = False
            plan, self.asked = self.plan, time.monotonic()
            try:
                if not self.ready:
                    self.before = await self.scorer.ask(self.basis.request(self.basis.plan))
                    self.ready = True
                same = plan == self.basis.plan
                found = None if same else await self.scorer.ask(self.basis.request(plan))
                self.after, self.problem = found or self.before, ""
            except ValueError as error:
                self.after, self.problem = None, str(error)
            self.took, self.asked = time.monotonic() - self.asked, 0.0
            self.again()
        self.busy = False

    def change(self, plan: Plan) -> None:
        """Another plan: show it at once, and its numbers as soon as they are there."""
        self.plan = plan
        if not self.ready:
            self.after = self.before if plan == self.basis.plan else None
        if self.at not in [k.key for k in self.knobs]:
            self.at = "algorithm"
        self.score()
        self.again()

    @property
    def small(self) -> bool:
        """Whether one box at a time stands beside the knobs."""
        return self.size.width < 104 or self.size.height < 29

    @property
    def actions(self) -> tuple[Action, ...]:
        found = super().actions
        return found if self.small else tuple(a for a in found if a.name != "whatif_page")

    @property
    def knobs(self) -> list[Knob]:
        return knobs(self.basis.plan, self.plan)

    @property
    def knob(self) -> Knob:
        found = self.knobs
        return next((k for k in found if k.key == self.at), found[0])

    def now(self) -> Plan:
        """The lane as it runs now, which may be later than the rollout."""
        lane = self.desk.state.lanes.get(self.lens.lane)
        if lane is None:
            return self.basis.plan
        size = lane.rollout.group_size if lane.rollout else self.basis.plan.answers
        whole = _all_settings(lane.algorithm, lane.preset, lane.settings)
        known = settings.weights(self.desk.state, lane)
        weights = {k: known.get(k, w) for k, w in self.basis.plan.weights.items()}
        return replace(self.basis.plan, algorithm=lane.algorithm, preset=lane.preset or "paper",
                       settings=whole, answers=size, weights=weights)  # fmt: skip

    def send(self, command: dict[str, Any]) -> bool:
        """To the engine; False, with a word on why, where none takes it."""
        return self.lab.send(command)

    def news(self, events: list[ev.Event]) -> None:
        if self.asked:
            self.touch(self.parts[1])  # the seconds that one waits

    def boxes(self, width: int, height: int) -> dict[str, Box]:
        if width < 104 or height < 26:
            above = min(len(self.knobs) + 2, max(7, height // 2 - 1))
            return {
                "knobs": Box(0, 0, width, above),
                self.page: Box(0, above, width, height - above),
            }
        left = 46 if width < 150 else 60
        right, tall = width - left, min(20, max(14, round(height * 0.4)))
        rest = height - tall
        answers = min(rest - 8, self.basis.plan.answers + 3) if rest >= 16 else rest // 2
        return {
            "knobs": Box(0, 0, left, height),
            "outcome": Box(left, 0, right, tall),
            "answers": Box(left, tall, right, answers),
            "pushes": Box(left, tall + answers, right, rest - answers),
        }


def basis(desk: Desk, lens: Lens, rollout: RolloutView | None) -> Basis:
    """What was in force in the lens's step."""
    lane = desk.state.lanes.get(lens.lane)
    look = lens.looks.get(lens.anchor)
    name, preset, values = lens.anchor, "paper", dict(look.settings) if look else {}
    leash = 1.0
    if lane is not None:
        known = lane.in_force(lens.step)
        if known[0] == lens.current and known[0] in cards.load():
            name, preset, values = known[0], known[1], dict(known[2])
        done = next((s for s in reversed(lane.steps) if s.step == lens.step), None)
        beta, mine = done.metrics.get("beta") if done else None, values.get("beta")
        if isinstance(beta, float) and isinstance(mine, float) and mine > 0 and beta > 0:
            leash = beta / mine
    values = _all_settings(name, preset, values)
    size = max((len(group) for group in lens.pieces), default=1)
    graded = rollout.graded if rollout is not None else None
    weights: dict[str, float] = {}
    if graded is not None:
        known = settings.weights(desk.state, lane, lens.step)
        weights = {k: w for k, w in known.items() if any(k in parts for parts in graded.parts)}
    plan = Plan(name, preset or "paper", values, size, weights)
    if graded is None:
        return Basis(plan, leash)
    return Basis(plan, leash, list(graded.reward), list(graded.parts))


def _all_settings(name: str, preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of what an older run did not record, without what is no setting now."""
    card = cards.load().get(name)
    if card is None:
        return dict(settings)
    usual = card.values(preset if preset in card.presets else "paper")
    return usual | {k: v for k, v in settings.items() if k in usual}
