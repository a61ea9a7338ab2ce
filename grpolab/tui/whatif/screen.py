"""The what-if screen: the lens's rollout scored again under changed settings. Nothing is trained; a
live lane can be given the change.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from textual.worker import Worker, WorkerError

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import word
from grpolab.tui.context import AppContext
from grpolab.tui.keys import Action
from grpolab.tui.lens.model import Lens
from grpolab.tui.settings import model as settings_model
from grpolab.tui.whatif.model import (
    Basis,
    Plan,
    Scored,
    Scorer,
    commands,
    known_already,
    next_value,
)
from grpolab.tui.whatif.view import Answers, Knob, Knobs, Outcome, Pushes, knobs
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Overlay, bindings

PAGES = ("outcome", "answers", "pushes")
"""The boxes that take turns on a small screen."""


class WhatIfScreen(Overlay):
    BINDINGS = bindings("what-if")
    key = "what-if"
    heading = "What if"
    mouse = "click a setting, an answer, a token, a key below"
    explains = (
        "The lens's rollout, scored again with what you change: another algorithm or preset, any "
        "setting, the number of answers used per group, the reward weights. ✎ marks changes.\n"
        "The outcome is shown next to what the lane computed. Loss: what training minimizes. "
        "Σ|grad|: sum of |∂loss/∂log π| over all tokens. Cosine: with the current gradient, +1 "
        "same direction, 0 unrelated, −1 opposite.\n"
        "Answers: reward and advantage (how much better than expected an answer did), current and "
        "what if. Tokens: two rows of marks, ▲ reinforced, ▼ penalized; the upper row is the "
        "current algorithm, the lower one the changed.\n"
        "Nothing is trained here. Apply sends the change to the lane of a live run, from its next "
        "step on; leaving the screen changes nothing."
    )

    def __init__(
        self, context: AppContext, lens: Lens, rollout: RolloutView | None, place: tuple[int, int]
    ):
        super().__init__(context)
        self.lens, self.rollout = lens, rollout
        self.group, self.answer = place
        self.token = 0
        self.basis = basis(context, lens, rollout)
        self.plan = self.basis.plan
        self.before = self.after = self._settled(known_already(self.basis, lens.raw))
        self.ready = False  # whether the process has loaded the rollout
        self.problem = ""
        self.asked = time.monotonic()  # when the pending question was asked; 0: none pending
        self.seconds = 0.0  # that the last answer took
        self.at = "algorithm"  # key of the selected knob
        self.part = "knobs"
        self.page = "outcome"  # shown with the knobs on a small screen
        self.wanted = self.busy = False
        self._scoring: Worker[None] | None = None
        made = context.state.lanes[lens.lane].lenses.get(lens.step) if self._known() else None
        self.scorer = Scorer(context.run_dir, lens.step, lens.lane, made.path if made else "")
        self.parts = (
            Knobs(self, id="knobs"), Outcome(self, id="outcome"),
            Answers(self, id="answers"), Pushes(self, id="pushes"),
        )  # fmt: skip

    def _known(self) -> bool:
        return self.lens.lane in self.context.state.lanes

    def opened(self) -> None:
        self.score()

    async def left(self) -> None:
        if self._scoring is not None:  # it may be starting the process
            self._scoring.cancel()
            with suppress(WorkerError):
                await self._scoring.wait()
        await self.scorer.close()

    def score(self) -> None:
        """Ask for the numbers of the plan."""
        self.wanted = True
        if not self.busy:
            self.busy = True
            self._scoring = self.run_worker(self._score(), group="what-if", exit_on_error=False)

    async def _score(self) -> None:
        """Ask until the newest plan is answered; plans in between are skipped."""
        while self.wanted:
            self.wanted = False
            plan, self.asked = self.plan, time.monotonic()
            try:
                if not self.ready:
                    now = await self.scorer.ask(self.basis.request(self.basis.plan))
                    self.before = self._settled(now)
                    self.ready = True
                same = plan == self.basis.plan
                found = None if same else await self.scorer.ask(self.basis.request(plan))
                self.after, self.problem = self._settled(found) or self.before, ""
            except ValueError as error:
                self.after, self.problem = None, str(error)
            self.seconds, self.asked = time.monotonic() - self.asked, 0.0
            self.again()
        self.busy = False

    def _settled(self, found: Scored | None) -> Scored | None:
        """With rounding error set to 0, on the scale of the lens's gradients."""
        return found and found.without_noise(self.lens.scale)

    def change(self, plan: Plan) -> None:
        """Show another plan at once, and its numbers when they arrive."""
        self.plan = plan
        if not self.ready:
            self.after = self.before if plan == self.basis.plan else None
        if self.at not in [k.key for k in self.knobs]:
            self.at = "algorithm"
        self.score()
        self.again()

    @property
    def small(self) -> bool:
        """Whether there is room for only one box besides the knobs."""
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
        """The lane's current configuration, which may be newer than the rollout's."""
        lane = self.context.state.lanes.get(self.lens.lane)
        if lane is None:
            return self.basis.plan
        size = lane.rollout.group_size if lane.rollout else self.basis.plan.answers
        whole = _all_settings(lane.algorithm, lane.preset, lane.settings)
        known = settings_model.weights(self.context.state, lane)
        weights = {k: known.get(k, w) for k, w in self.basis.plan.weights.items()}
        return replace(self.basis.plan, algorithm=lane.algorithm, preset=lane.preset or "paper",
                       settings=whole, answers=size, weights=weights)  # fmt: skip

    def send(self, command: dict[str, Any]) -> bool:
        """Send to the engine; False, with a notice, if there is none."""
        return self.lab.send(command)

    def news(self, events: list[ev.Event]) -> None:
        if self.asked:
            self.touch(self.parts[1])  # the elapsed seconds

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if width < 104 or height < 26:
            above = min(len(self.knobs) + 2, max(7, height // 2 - 1))
            return {
                "knobs": Rect(0, 0, width, above),
                self.page: Rect(0, above, width, height - above),
            }
        left = 46 if width < 150 else 60
        right, tall = width - left, min(20, max(14, round(height * 0.4)))
        rest = height - tall
        answers = min(rest - 8, self.basis.plan.answers + 3) if rest >= 16 else rest // 2
        return {
            "knobs": Rect(0, 0, left, height),
            "outcome": Rect(left, 0, right, tall),
            "answers": Rect(left, tall, right, answers),
            "pushes": Rect(left, tall + answers, right, rest - answers),
        }

    # changing the plan

    def action_row_next(self) -> None:
        self._row(1)

    def action_row_previous(self) -> None:
        self._row(-1)

    def _row(self, by: int) -> None:
        names = [k.key for k in self.knobs]
        self.at = names[(names.index(self.knob.key) + by) % len(names)]
        self.again()

    def action_whatif_turn(self) -> None:
        self._turn(1)

    def action_whatif_turn_back(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        knob = self.knob
        value = next_value(knob.kind, knob.value, by, knob.usual)
        if value is None:
            return
        try:
            self.take(knob, self.read(knob, word(value)))
        except ValueError as error:
            self.context.say(f"{knob.label}: {error}", "warn")
            self.again()

    def read(self, knob: Knob, text: str) -> Any:
        """The value of a text typed for a knob. Raises ValueError with one line."""
        if knob.section == "setting":
            others = {k: v for k, v in self.plan.settings.items() if k != knob.key}
            return algorithm_cards.parse_setting(self.plan.algorithm, knob.key, text, others)
        if knob.section == "answers":
            most = self.basis.plan.answers
            if not text.isdecimal() or not 1 <= int(text) <= most:
                raise ValueError(f"1 to {most}: the rollout has {most} answers per prompt")
            return int(text)
        if knob.section == "weight":
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            if not abs(value) < 1e6:
                raise ValueError("expected a number")
            return value
        known = list(algorithm_cards.cards()) if knob.section == "algorithm" else self._presets()
        if text not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return text

    def _presets(self) -> list[str]:
        return list(algorithm_cards.cards()[self.plan.algorithm].presets)

    def take(self, knob: Knob, value: Any) -> None:
        plan, card = self.plan, algorithm_cards.cards().get(self.plan.algorithm)
        if knob.section == "algorithm":
            plan = self._own(value) or plan.under(algorithm_cards.cards()[value], "paper")
        elif knob.section == "preset" and card is not None:
            plan = plan.under(card, value)
        elif knob.section == "answers":
            plan = replace(plan, answers=value)
        elif knob.section == "weight":
            plan = replace(plan, weights=plan.weights | {knob.key.removeprefix("weight "): value})
        else:
            plan = plan.setting(knob.key, value)
        self.change(plan)

    def _own(self, name: str) -> Plan | None:
        """The lane's own algorithm with its current settings; None for another algorithm."""
        base = self.basis.plan
        if name != base.algorithm:
            return None
        return replace(base, answers=self.plan.answers, weights=self.plan.weights)

    def action_whatif_type(self) -> None:
        knob = self.knob
        if knob.section == "algorithm":
            from grpolab.tui.lab.dialogs.picker import Picker

            def picked(section: dict[str, Any] | None) -> None:
                if section:
                    card = algorithm_cards.cards()[section["name"]]
                    self.change(self.plan.under(card, section.get("preset", "paper")))

            self.app.push_screen(Picker(self.context, "What if it were"), picked)
            return
        from grpolab.tui.widgets.dialog import Asking

        def typed(found: tuple[Any] | None) -> None:
            if found is not None:
                self.take(knob, found[0])

        about = f"{knob.about}\ntakes {knob.kind}; current: {knob.shown_before}"
        dialog = Asking(self.context, knob.label, about, word(knob.value),
                        lambda text: self.read(knob, text))  # fmt: skip
        self.app.push_screen(dialog, typed)

    def action_whatif_undo(self) -> None:
        """Undo the change of the selected knob."""
        knob, base = self.knob, self.basis.plan
        if knob.section == "algorithm":
            self.change(replace(base, answers=self.plan.answers, weights=self.plan.weights))
        elif knob.section == "answers":
            self.change(replace(self.plan, answers=base.answers))
        elif knob.section == "weight":
            name = knob.key.removeprefix("weight ")
            self.change(replace(self.plan, weights=self.plan.weights | {name: base.weights[name]}))
        elif knob.changed:
            self.take(knob, knob.before)

    def action_whatif_undo_all(self) -> None:
        self.change(self.basis.plan)

    # what is shown

    def action_whatif_page(self) -> None:
        self.page = PAGES[(PAGES.index(self.page) + 1) % len(PAGES)]
        self.relayout()

    def action_lens_answer_next(self) -> None:
        self._go(self.group, self.answer + 1)

    def action_lens_answer_previous(self) -> None:
        self._go(self.group, self.answer - 1)

    def action_prompt_next(self) -> None:
        self._go(self.group + 1, self.answer)

    def action_prompt_previous(self) -> None:
        self._go(self.group - 1, self.answer)

    def _go(self, group: int, answer: int) -> None:
        pieces = self.lens.pieces
        self.group = group % len(pieces)
        self.answer = answer % len(pieces[self.group])
        self.token = 0
        self.again()

    # applying it

    def action_whatif_apply(self) -> None:
        """Send the change to the lane, from its next step on."""
        from grpolab.scenario.spec import lab_wide

        wanted = commands(self.now(), self.plan)
        several = len(self.context.state.lanes) > 1
        for command in wanted:
            whole = not several or lab_wide(command.get("key", ""))
            if not self.send(command if whole else command | {"lane": self.lens.lane}):
                self.again()
                return
        if wanted:
            self.context.say(f"applied from the next step on: {words(wanted)}", "accent")
        else:
            self.context.say("nothing to apply: the lane already has these settings")
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "knob":
            if value == self.at:
                self.action_whatif_type()
            else:
                self.at = str(value)
        elif what == "less" or what == "more":
            self.at = str(value)
            self._turn(1 if what == "more" else -1)
        elif what == "answer":
            self._go(self.group, int(value))
        elif what == "token":
            self.token = int(value)
        self.again()


def words(wanted: list[dict[str, Any]]) -> str:
    """The commands in words."""
    out = []
    for command in wanted:
        if command["do"] == "switch":
            out.append(f"switch to {command['algorithm']['name'].upper()}")
        else:
            out.append(f"{command['key']} {word(command['value'])}")
    return ", ".join(out)


def basis(context: AppContext, lens: Lens, rollout: RolloutView | None) -> Basis:
    """The configuration of the lens's step, and its rewards."""
    lane = context.state.lanes.get(lens.lane)
    look = lens.looks.get(lens.anchor)
    name, preset, values = lens.anchor, "paper", dict(look.settings) if look else {}
    kl_scale = 1.0
    if lane is not None:
        known = lane.in_force(lens.step)
        if known[0] == lens.current and known[0] in algorithm_cards.load():
            name, preset, values = known[0], known[1], dict(known[2])
        done = next((s for s in reversed(lane.steps) if s.step == lens.step), None)
        beta, mine = done.metrics.get("beta") if done else None, values.get("beta")
        if isinstance(beta, float) and isinstance(mine, float) and mine > 0 and beta > 0:
            kl_scale = beta / mine
    values = _all_settings(name, preset, values)
    size = max((len(group) for group in lens.pieces), default=1)
    graded = rollout.graded if rollout is not None else None
    weights: dict[str, float] = {}
    if graded is not None:
        known = settings_model.weights(context.state, lane, lens.step)
        weights = {k: w for k, w in known.items() if any(k in parts for parts in graded.parts)}
    plan = Plan(name, preset or "paper", values, size, weights)
    if graded is None:
        return Basis(plan, kl_scale)
    return Basis(plan, kl_scale, list(graded.reward), list(graded.parts))


def _all_settings(name: str, preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All settings: defaults for those an older run did not record, without obsolete ones."""
    card = algorithm_cards.load().get(name)
    if card is None:
        return dict(settings)
    usual = card.values(preset if preset in card.presets else "paper")
    return usual | {k: v for k, v in settings.items() if k in usual}
