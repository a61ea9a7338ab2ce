"""The lens screen: one rollout under every algorithm. A live engine computes it; without one, a
process of its own computes it from the run file.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.tui.context import AppContext
from grpolab.tui.formulas import token_facts
from grpolab.tui.lens import model as lens_process
from grpolab.tui.lens.model import Apart, Lens, Look, load, parse
from grpolab.tui.lens.view import LensApart, LensExplained, LensTable, LensTokens
from grpolab.tui.source import Playing
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings
from grpolab.tui.widgets.text import visible

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Branch, Term


class LensScreen(Overlay):
    BINDINGS = bindings("lens")
    key = "lens"
    heading = "Lens"
    mouse = "click an algorithm, a token, a token of the list, a key below"
    explains = (
        "One rollout under every algorithm, with its paper's settings: the loss each would have "
        "and the gradient ∂loss/∂log π each would give to every token.\n"
        "clip: share of clipped tokens. Σ|grad|: sum of |∂loss/∂log π| over all tokens. cos: "
        "cosine with the gradient of the lane's algorithm ●: +1 same direction, 0 unrelated, −1 "
        "opposite. On parameters: the same for the gradients of the adapter, which the engine "
        "computes on request.\n"
        "Tokens: ▲ reinforced, ▼ penalized. ◆ marks the algorithm that the others are compared "
        "with; the list has the tokens on which the two disagree most.\n"
        "A loss of 0 says nothing about the gradient: at ratio 1, centered advantages cancel in "
        "the loss but not in its gradient.\n"
        "What if: change settings, the number of answers or the reward weights, and see this "
        "rollout scored again at once.\n"
        "In a live run the engine answers between two steps, about the step just finished. For a "
        "held view, in a replay and after the end, a process of its own computes it from the run "
        "file, where log-probabilities have 11 bits."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.lane = context.view.lane
        self.lens: Lens | None = None
        self.rollout: RolloutView | None = None  # of the lens's step
        self.problem = ""
        self.working = 0.0  # time.monotonic() when reading or computing began; 0: idle
        self.at = self.second = ""  # selected algorithm, and the one marked ◆
        self.group, self.answer, self.token = (
            context.view.prompt,
            context.view.answer,
            context.view.token,
        )
        self.part, self.chosen = "table", 0
        self.detail = False  # on a small screen: tokens instead of the table
        self.parts = (
            LensTable(self, id="table"), LensTokens(self, id="tokens"),
            LensExplained(self, id="explained"), LensApart(self, id="apart"),
        )  # fmt: skip

    def opened(self) -> None:
        self.look()

    # loading

    def look(self, *, again: bool = False, parameters: bool = False) -> None:
        """Show the lens of the step in view: asked of the engine, recorded, or computed now."""
        self.problem = ""
        lane = self.context.state.lanes.get(self.lane)
        if lane is None:
            return
        scored = self.context.view.scored(self.context.state)
        if parameters and not self.context.commands:
            self.lab.send({"do": "lens"})  # says why no engine answers
        live = self.context.commands and (self.context.view.held is None or parameters)
        newest = max(lane.lenses, default=0)
        if live and ("lens", self.lane) not in self.context.asked:
            fresh = scored is not None and newest == scored.step
            if again or parameters or not fresh:
                also = {"parameters": True} if parameters else {}
                if self.lab.send({"do": "lens", "lane": self.lane} | also):
                    self.context.asked["lens", self.lane] = time.monotonic()
        if live:
            if newest:
                self._get(newest)  # shown until the engine answers
        elif scored is None:
            self.problem = "no finished step has recorded tokens"
        else:
            self._get(scored.step)
        self.again()

    def _get(self, step: int) -> None:
        """Show the lens of a step: cached, from its file, or computed."""
        lane = self.context.state.lanes[self.lane]
        made, known = lane.lenses.get(step), self.context.lenses.get((self.lane, step))
        if made is None and isinstance(self.context.source, Playing):
            made = self.context.source.lens(self.lane, step)
        if known is not None and not (made and made.parameters and known.parameters is None):
            self.show(known)
        else:
            self.working = time.monotonic()
            path, current = made.path if made else "", lane.in_force(step)[0]
            work = partial(self._work, step, path, current)
            self.run_worker(work, exclusive=True, group="lens", exit_on_error=False)

    async def _work(self, step: int, path: str, current: str) -> None:
        """Read the engine's file; without one, compute the lens."""
        lens: Lens | None = None
        try:
            if path:
                try:
                    place = (self.context.run_dir, path, step, self.lane, current)
                    lens = await asyncio.to_thread(load, *place)
                except FileNotFoundError:  # the run was copied without its lens files
                    lens = None
            if lens is None:
                out = await lens_process.compute(self.context.run_dir, step, self.lane)
                lens = await asyncio.to_thread(parse, out, step, self.lane, current)
        except (OSError, ValueError) as error:
            self.problem = str(error)
        self.working = 0.0
        if lens is not None:
            self.show(lens)
        self.again()

    def show(self, lens: Lens) -> None:
        first, self.lens, self.problem = self.lens is None, lens, ""
        self.context.keep(lens)
        lane = self.context.state.lanes.get(lens.lane)
        self.rollout = lane.rollouts.get(lens.step) if lane else None
        held = self.context.view.held
        if self.rollout is None and held is not None and held.step == lens.step:
            self.rollout = held
        if self.at not in lens.names:
            self.at = lens.anchor
        if self.second not in lens.looks:
            self.second = ""
        self.go(self.group, self.answer, self.token)
        if first:
            self.relayout()

    def news(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.LensMade) and event.lane == self.lane and self.context.engine:
                self.context.lenses.pop((self.lane, event.step), None)
                self._get(event.step)
            elif isinstance(event, ev.Refused) and event.command.get("do") == "lens":
                self.problem = event.reason
                self.again()
        if ("lens", self.lane) in self.context.asked and not self.context.commands:
            del self.context.asked["lens", self.lane]  # the engine is gone
            self.look()
        if self.status() is not None:
            self.touch(self.parts[0])

    def status(self) -> tuple[str, str] | None:
        """Progress or an error, as one line with its color."""
        spin = self.context.spin
        if self.working:
            since = time.monotonic() - self.working
            return f"{spin} computing the gradients of all algorithms: {since:.0f} s", "accent"
        since = self.context.asked.get(("lens", self.lane))
        if since is not None:
            waited = f"{time.monotonic() - since:.0f} s"
            told = f"{spin} requested: the engine answers after this step, {waited}"
            return told, "accent"
        if self.problem:
            return f"✗ {visible(self.problem)}", "bad"
        return None

    # what the boxes show

    @property
    def other(self) -> str:
        """The algorithm that the selected one is compared with: the marked one, or the lane's."""
        return self.second or (self.lens.anchor if self.lens else "")

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two algorithms compared; None unless they differ and both are applicable."""
        looks = self.lens.looks if self.lens else {}
        both = self.at in looks and self.other in looks and self.at != self.other
        return (self.at, self.other) if both else None

    @property
    def apart(self) -> list[Apart]:
        return self.lens.apart(*self.pair) if self.lens and self.pair else []

    @property
    def graded(self) -> tuple[bool, float] | None:
        """Whether the selected answer is right, and its reward."""
        graded, row = self.rollout.graded if self.rollout else None, self._row()
        if graded is None or not 0 <= row < len(graded.reward):
            return None
        return graded.correct[row], graded.reward[row]

    def _row(self) -> int:
        size = self.rollout.group_size if self.rollout else 0
        return self.group * size + self.answer if self.answer < size else -1

    def explained(self, look: Look) -> tuple[str, list[Term], Branch] | None:
        """The formula, its terms and the branch for the selected token."""
        algorithm, row = token_facts.algorithm(look.name, look.settings), self._row()
        if algorithm is None or self.rollout is None or row < 0:
            return None
        advantages = look.advantages[self.group][self.answer]
        returns = look.returns[self.group][self.answer]
        token = token_facts.facts_of(algorithm, self.rollout, row, self.token, advantages, returns)
        if token is None:
            return None
        terms = token_facts.terms(algorithm, token, self.rollout)
        return algorithm.formula, terms, algorithm.branch(token)

    # layout

    def scrolled(self) -> Box[Any] | None:
        explained = self.parts[2]
        return explained if explained.display else super().scrolled()

    def moved(self) -> None:
        """Another token is selected: scroll its explanation to the top."""
        for part in self.parts:
            part.top = 0
        self.again()

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if self.lens is None:
            return {"table": Rect(0, 0, width, height)}
        if width < 104 or height < 24:
            if not self.detail:
                return {"table": Rect(0, 0, width, height)}
            above = max(6, min(10, height // 2 - 1))
            below = "apart" if self.part == "apart" else "explained"
            return {
                "tokens": Rect(0, 0, width, above),
                below: Rect(0, above, width, height - above),
            }
        left = 62 if width < 130 else round(width * 0.52)
        if height >= 48:
            return self._tall(left, width - left, height)
        right, apart = width - left, min(15, max(8, round(height * 0.27)))
        above = min(round(height * 0.35), 24)
        return {
            "table": Rect(0, 0, left, height),
            "tokens": Rect(left, 0, right, above),
            "explained": Rect(left, above, right, height - above - apart),
            "apart": Rect(left, height - apart, right, apart),
        }

    def _tall(self, left: int, right: int, height: int) -> dict[str, Rect]:
        """On a tall screen the list of tokens goes below the table."""
        table = min(len(self.lens.names) + 8 if self.lens else height, height - 15)
        above = round(height * 0.4)
        return {
            "table": Rect(0, 0, left, table),
            "apart": Rect(0, table, left, height - table),
            "tokens": Rect(left, 0, right, above),
            "explained": Rect(left, above, right, height - above),
        }

    # keys and clicks

    def go(self, group: int, answer: int, token: int) -> None:
        """Select a token, or the nearest that exists."""
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
        """The next answer; after the last of a group, the first of the next prompt."""
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
            self.context.say("the lens has no result yet", "warn")
            self.again()
            return
        from grpolab.tui.whatif.screen import WhatIfScreen

        place = (self.group, self.answer)
        self.app.push_screen(WhatIfScreen(self.context, self.lens, self.rollout, place))

    def action_close(self) -> None:
        """One level back: from the details to the table, from there to the lab."""
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
