"""Search over all answers of the run, read from its file; Enter opens one of them in the lab."""

from __future__ import annotations

from functools import partial
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Input
from textual.worker import get_current_worker

from grpolab.record import events as ev
from grpolab.record.index import RunIndex
from grpolab.record.lane_state import RolloutView
from grpolab.record.search import ORDERS, Found, Results, Wanted, search
from grpolab.record.seek import IndexedPast
from grpolab.tui.context import AppContext
from grpolab.tui.group.model import Group, copy_answer, save_answer
from grpolab.tui.lab.header import Header
from grpolab.tui.search.model import Finding, cycle, in_a_process
from grpolab.tui.search.view import AnswersFilter, AnswersList, AnswersPreview
from grpolab.tui.widgets.canvas import Body
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Keys, Overlay, bindings

PAUSE = 0.25
"""Seconds after the last keystroke before a search starts."""

HINTS = {
    "text": "text that an answer contains; ↵ done",
    "reward": "1, 0.5..1, >=1, <0; ↵ done",
    "steps": "100-200, 300.., <50; ↵ done",
}


class AnswersScreen(Overlay):
    BINDINGS = bindings("answers")
    AUTO_FOCUS = ""
    key = "answers"
    heading = "Search all answers"
    mouse = "click a field of the filter, an answer, once more to go there; a key below"
    explains = (
        "Every graded answer of this run, including steps no longer in memory: they are read from "
        "the run file, newest first, and listed as they are found.\n"
        "Each filter field has its key. text: anywhere in an answer, ignoring case, or a regular "
        "expression. reward and steps accept 1, 0.5..1, >=1, <0, 300.. and similar. difficulty is "
        "the prompt's. end: whether the answer finished or was cut at the token limit.\n"
        "● right   ○ wrong   ✂ cut. The match is underlined.\n"
        "Enter shows the answer's step in the lab, and Esc there leads back here."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.finding = context.finding = context.finding or Finding()
        self.rows: list[Found] = []
        self.rollout: RolloutView | None = None  # of the selected answer
        self.editing = ""  # name of the field being typed
        self._typing = 0  # changes typed
        self._searched = 0  # of these, how many have been searched for
        self.newer = 0  # steps graded since the search
        self.part = "list"
        self.filter = AnswersFilter(self, id="filter")
        self.parts = (
            self.filter, AnswersList(self, id="list"), AnswersPreview(self, id="preview"),
        )  # fmt: skip

    def compose(self) -> ComposeResult:
        self.entry = Input(id="entry", compact=True)
        self.entry.display = False
        body = Body(*self.parts, self.entry)
        self.place(body, self.app.size.width, self.app.size.height)
        yield from (Header(self.context), body, Keys(self))

    def opened(self) -> None:
        if self.finding.results.done:
            self._show()
        else:
            self.start(self.finding.at)

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        top = min(len(self.filter.fields(max(1, width - 4))) + 3, max(4, height // 3))
        typed = 1 if self.editing else 0
        out = {"filter": Rect(0, 0, width, top)}
        if typed:
            out["entry"] = Rect(0, top, width, 1)
        y = top + typed
        if width >= 120:
            left = round(width * 0.56)
            out["list"] = Rect(0, y, left, height - y)
            out["preview"] = Rect(left, y, width - left, height - y)
        else:
            low = max(4, (height - y) * 2 // 5)
            out["list"] = Rect(0, y, width, height - y - low)
            out["preview"] = Rect(0, height - low, width, low)
        return out

    # searching

    def start(self, at: int = 0) -> None:
        """Start a search with the current filter; `at`: index of the result to select."""
        f = self.finding
        f.problem, f.at, self.newer = "", at, 0
        f.results = results = Results(f.order)
        self.rows, self.rollout = [], None
        try:
            wanted = f.wanted()
        except ValueError as error:
            f.problem, f.running = str(error), False
            self.again()
            return
        past = self.context.source.past
        if past is None:
            f.problem, f.running = "there is no run file yet", False
            self.again()
            return
        f.running = True
        if wanted.regex:
            work = self._process(past.log, wanted, results)
            self.run_worker(work, group="search", exclusive=True)
        else:
            work = partial(self._thread, past.log, wanted, results)
            self.run_worker(work, thread=True, group="search", exclusive=True)
        self.again()

    def _thread(self, log: RunIndex, wanted: Wanted, results: Results) -> None:
        worker = get_current_worker()

        def stop() -> bool:
            return worker.is_cancelled or self.finding.results is not results

        problem = ""
        try:
            search(log, wanted, results, stop, rest=1.0 if self.context.commands else 0.3)
        except OSError as error:
            problem = f"the run file cannot be read: {error}"
        if not stop():
            self.app.call_from_thread(self._ended, results, problem)

    async def _process(self, log: RunIndex, wanted: Wanted, results: Results) -> None:
        try:
            await in_a_process(log.path, wanted, results)
        except ValueError as error:
            self._ended(results, str(error))
        else:
            self._ended(results, "")

    def _ended(self, results: Results, problem: str) -> None:
        if results is self.finding.results:
            self.finding.running, self.finding.problem = False, problem
            self._show()

    def _show(self) -> None:
        """Show what was found so far."""
        here, before = self.found, self.finding.at
        self.rows = self.finding.rows()
        if (
            here is not None and before and here in self.rows
        ):  # later results may be sorted above it
            self.finding.at = self.rows.index(here)
        if self.found != here or self.rollout is None:
            self.preview()
        self.again()

    def news(self, events: list[ev.Event]) -> None:
        if self.finding.running:
            self._show()
        self.newer += sum(isinstance(e, ev.Graded) for e in events)
        self.touch(self.parts[0])

    async def left(self) -> None:
        self.finding.running = False

    # the selected answer

    @property
    def found(self) -> Found | None:
        return self.rows[min(self.finding.at, len(self.rows) - 1)] if self.rows else None

    def preview(self) -> None:
        self.rollout, found = None, self.found
        if found is None:
            return
        lane = self.context.state.lanes.get(found.lane)
        known = lane.rollouts.get(found.step) if lane else None
        if known is not None and known.graded is not None:
            self.rollout = known
            return
        if (past := self.context.source.past) is not None:
            work = partial(self._load, past, found)
            self.run_worker(work, thread=True, group="preview", exclusive=True)

    def _load(self, past: IndexedPast, found: Found) -> None:
        worker = get_current_worker()
        rollout = past.answers(found.lane, found.step)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._loaded, found, rollout)

    def _loaded(self, found: Found, rollout: RolloutView | None) -> None:
        if found == self.found:
            self.rollout = rollout
            self.again()

    def group_here(self) -> Group | None:
        found, r = self.found, self.rollout
        if found is None or r is None:
            return None
        prompt, answer = found.place
        return Group(found.lane, r, prompt, answer)

    def on_screen_resume(self) -> None:
        self.again()

    def reopened(self, context: AppContext) -> AnswersScreen:
        """A new screen on the same search."""
        return AnswersScreen(context)

    # the list

    def _go(self, at: int) -> None:
        if self.rows:
            self.finding.at = max(0, min(len(self.rows) - 1, at))
            self.parts[2].top = 0
            self.preview()
        self.again()

    def scrolled(self) -> Box[Any] | None:
        return self.parts[2]

    def action_row_next(self) -> None:
        self._go(self.finding.at + 1)

    def action_row_previous(self) -> None:
        self._go(self.finding.at - 1)

    def action_answers_jump(self) -> None:
        self._go(self.finding.at + 10)

    def action_answers_back(self) -> None:
        self._go(self.finding.at - 10)

    def action_answers_first(self) -> None:
        self._go(0)

    def action_answers_last(self) -> None:
        self._go(len(self.rows) - 1)

    def action_answers_go(self) -> None:
        found = self.found
        if found is None:
            self._nothing()
        else:
            prompt, answer = found.place
            self.lab.visit(
                found.lane, found.step, prompt, answer, pane="rollouts", name="the search",
                screens=(self.reopened,),
            )  # fmt: skip

    def _chosen(self) -> Group | None:
        """The group of the selected answer; without one, a notice says what to do."""
        if self.found is None:
            self._nothing()
        return self.group_here()

    def _nothing(self) -> None:
        self.context.say(self.nothing(), "warn")
        self.again()

    def nothing(self) -> str:
        """Why no answer is listed, and what to do about it."""
        f = self.finding
        if f.running:
            return "no match yet: wait, or change the filter"
        if f.problem:
            return f"the filter is not valid: {self._key('answers_clear')} clears it"
        if f.narrow:
            return f"no answer matches: {self._key('answers_clear')} clears the filter"
        return f"no answer is graded yet: {self._key('answers_again')} searches again"

    def _key(self, action: str) -> str:
        return self.context.keymap.shown(next(a for a in self.actions if a.name == action))

    def action_read(self) -> None:
        group = self._chosen()
        if group is not None:
            from grpolab.tui.group.screen import Reader

            self.app.push_screen(Reader(self.context, group, above=(self.reopened,)))

    def action_group(self) -> None:
        group = self._chosen()
        if group is not None:
            from grpolab.tui.group.screen import GroupScreen

            self.app.push_screen(GroupScreen(self.context, group, above=(self.reopened,)))

    def action_answer_copy(self) -> None:
        group = self._chosen()
        if group is not None:
            copy_answer(self.app, self.context, group)
            self.again()

    def action_answer_save(self) -> None:
        group = self._chosen()
        if group is not None:
            save_answer(self.context, group)
            self.again()

    def action_answers_again(self) -> None:
        self.start()

    # the filter

    def action_answers_text(self) -> None:
        self._edit("text")

    def action_answers_reward(self) -> None:
        self._edit("reward")

    def action_answers_steps(self) -> None:
        self._edit("steps")

    def action_answers_regex(self) -> None:
        self.finding.regex = not self.finding.regex
        self.start()

    def action_answers_verdict(self) -> None:
        self._cycle("verdict", ["any", "right", "wrong"])

    def action_answers_ended(self) -> None:
        self._cycle("ended", ["any", "finished", "cut"])

    def action_answers_order(self) -> None:
        self._cycle("order", list(ORDERS))

    def action_answers_lane(self) -> None:
        self._cycle("lane", ["any", *self.context.state.lanes])

    def action_answers_level(self) -> None:
        levels = set(self.finding.levels)
        for lane in self.context.state.lanes.values():
            for rollout in lane.rollouts.values():
                levels.update(x for x in rollout.difficulty if x)
        self._cycle("level", ["any", *sorted(levels)])

    def action_answers_clear(self) -> None:
        fresh = Finding(order=self.finding.order, levels=self.finding.levels)
        self.finding = self.context.finding = fresh
        self.start()

    def _cycle(self, name: str, choices: list[str]) -> None:
        setattr(self.finding, name, cycle(getattr(self.finding, name), choices))
        self.start()

    def _edit(self, name: str) -> None:
        """Open the input line for a field of the filter."""
        self.editing = name
        self.entry.placeholder = f"{name}: {HINTS[name]}"
        with self.entry.prevent(Input.Changed):
            self.entry.value = str(getattr(self.finding, name))
        self.entry.display = True
        self.again()
        self.entry.focus()

    def _typed(self) -> None:
        """Close the input line."""
        self.editing, self.entry.display = "", False
        self.set_focus(None)
        self.again()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.editing and getattr(self.finding, self.editing) != event.value:
            setattr(self.finding, self.editing, event.value)
            self._typing += 1
            self.set_timer(PAUSE, partial(self._rested, self._typing))

    def _rested(self, typing: int) -> None:
        if typing == self._typing != self._searched and self.is_mounted:
            self._searched = typing
            self.start()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        waiting = self._typing != self._searched
        self._typed()
        if waiting:
            self._rested(self._typing)

    def action_close(self) -> None:
        if self.editing:
            self._typed()
        else:
            super().action_close()

    def clicked(self, what: str, value: Any) -> None:
        if what != "found":
            return
        if value == self.finding.at:
            self.action_answers_go()
        else:
            self._go(int(value))
