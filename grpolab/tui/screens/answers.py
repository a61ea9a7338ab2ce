"""Search over all answers of the run, read from its file; Enter takes the lab to one of them."""

from __future__ import annotations

from functools import partial

from textual.app import ComposeResult
from textual.widgets import Input
from textual.worker import get_current_worker

from grpolab import events as ev
from grpolab.recall import Recall
from grpolab.rollout_view import RolloutView
from grpolab.runlog import RunLog
from grpolab.search import Found, Results, Wanted, search
from grpolab.tui.arrange import Box
from grpolab.tui.desk import Desk
from grpolab.tui.finding import Finding, in_a_process
from grpolab.tui.group import Group
from grpolab.tui.panes.answers_parts import AnswersFilter, AnswersList, AnswersPreview
from grpolab.tui.panes.header import Header
from grpolab.tui.screens.answers_keys import AnswersKeys
from grpolab.tui.screens.boxes import Body
from grpolab.tui.screens.sheet import Keys, bindings


class AnswersScreen(AnswersKeys):
    BINDINGS = bindings("answers")
    AUTO_FOCUS = ""
    key = "answers"
    heading = "Search all answers"
    mouse = "click a field of the filter, an answer, once more to go there; a key below"
    explains = (
        "Every answer that was graded in this run, also those of steps that the lab has "
        "forgotten: they are read from the run file, the newest first, and shown as they are "
        "found.\n"
        "Each field of the filter has its key. text: anywhere in an answer, capitals or not; as a "
        "regular expression if the pattern says so. reward and steps take 1, 0.5..1, >=1, <0, "
        "300.. and the like. difficulty is the prompt's. end: whether the answer came to its end "
        "or was cut at the token limit.\n"
        "● right   ○ wrong   ✂ cut. What matched is underlined.\n"
        "Enter holds the lab's view at the answer's step; Esc leads from there back to here."
    )

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.finding = desk.finding = desk.finding or Finding()
        self.rows: list[Found] = []
        self.rollout: RolloutView | None = None  # of the selected answer
        self.editing = ""  # the field that is typed
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
        yield from (Header(self.desk), body, Keys(self))

    def opened(self) -> None:
        if self.finding.results.done:
            self._show()
        else:
            self.start(self.finding.at)

    def boxes(self, width: int, height: int) -> dict[str, Box]:
        top = min(len(self.filter.fields(max(1, width - 4))) + 3, max(4, height // 3))
        typed = 1 if self.editing else 0
        out = {"filter": Box(0, 0, width, top)}
        if typed:
            out["entry"] = Box(0, top, width, 1)
        y = top + typed
        if width >= 120:
            left = round(width * 0.56)
            out["list"] = Box(0, y, left, height - y)
            out["preview"] = Box(left, y, width - left, height - y)
        else:
            low = max(4, (height - y) * 2 // 5)
            out["list"] = Box(0, y, width, height - y - low)
            out["preview"] = Box(0, height - low, width, low)
        return out

    # searching

    def start(self, at: int = 0) -> None:
        """Begin anew with what the filter says now; `at`: which of what is found to go to."""
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
        past = self.desk.source.past
        if past is None:
            f.problem, f.running = "the run has no file yet", False
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

    def _thread(self, log: RunLog, wanted: Wanted, results: Results) -> None:
        worker = get_current_worker()

        def stop() -> bool:
            return worker.is_cancelled or self.finding.results is not results

        problem = ""
        try:
            search(log, wanted, results, stop, rest=1.0 if self.desk.commands else 0.3)
        except OSError as error:
            problem = f"the run file cannot be read: {error}"
        if not stop():
            self.app.call_from_thread(self._ended, results, problem)

    async def _process(self, log: RunLog, wanted: Wanted, results: Results) -> None:
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
        """What was found until now."""
        here, before = self.found, self.finding.at
        self.rows = self.finding.rows()
        if here is not None and before and here in self.rows:  # what is found later may stand above
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

    # the selected one

    @property
    def found(self) -> Found | None:
        return self.rows[min(self.finding.at, len(self.rows) - 1)] if self.rows else None

    def preview(self) -> None:
        self.rollout, found = None, self.found
        if found is None:
            return
        lane = self.desk.state.lanes.get(found.lane)
        known = lane.rollouts.get(found.step) if lane else None
        if known is not None and known.graded is not None:
            self.rollout = known
            return
        if (past := self.desk.source.past) is not None:
            work = partial(self._load, past, found)
            self.run_worker(work, thread=True, group="preview", exclusive=True)

    def _load(self, past: Recall, found: Found) -> None:
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

    def reopened(self, desk: Desk) -> AnswersScreen:
        """The screen again, as it is now."""
        return AnswersScreen(desk)
