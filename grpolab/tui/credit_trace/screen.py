"""The credit trace: values, TD errors and advantages along the selected answer, and whether the
critic is worth having."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.tui.context import AppContext
from grpolab.tui.credit_trace.model import Trace, Verdict, algorithm_of, trace_of, verdict_of
from grpolab.tui.credit_trace.view import TraceTable, TraceVerdict
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

if TYPE_CHECKING:
    from grpolab.algorithms import Algorithm


class TraceScreen(Overlay):
    BINDINGS = bindings("trace")
    key = "trace"
    heading = "Credit trace (GAE)"
    mouse = "click a token, a key below"
    explains = (
        "One row per token of the selected answer, in order.\n"
        "V: the critic's prediction of the return, before the token. r: reward of the token, 0 "
        "except for the answer's reward at its last token, minus β·KL if the KL is part of the "
        "reward. δ: TD error, r + γ V of the next state − V. Â: advantage, the sum of the TD "
        "errors from the token on, each weighted γλ times the one before. R: return, the critic's "
        "target Â + V, with the critic's own λ if it has one. used: the advantage in the "
        "objective, after whitening (mean 0 and variance 1 over the batch).\n"
        "In the plot ● is V, ┊ the mean reward of the group, ◇ the outcome. The bar is the "
        "advantage: ━▶ right of the middle reinforces the token, ◀━ left penalizes it.\n"
        "The verdict compares two predictions of the outcome over the whole rollout: the critic's, "
        "and the mean of the group's other answers, which costs nothing. Mean squared error: 0 is "
        "perfect. Explained variance: 1 is perfect, 0 as good as a constant, below 0 worse.\n"
        "Without a critic the table shows the baseline used instead of V: the group's mean m, or "
        "the baseline b of the algorithm's formula."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.part = "table"
        self._found: tuple[Any, Trace | None] = (None, None)
        self._judged: tuple[Any, Verdict | None] = (None, None)
        self._judging: Any = None
        self.parts = (TraceTable(self, id="table"), TraceVerdict(self, id="verdict"))

    @property
    def rollout(self) -> RolloutView | None:
        return self.context.view.scored(self.context.state)

    def found(self) -> tuple[RolloutView, int, Trace] | None:
        """The rollout in view, the selected answer's row and its trace."""
        view, r = self.context.view, self.rollout
        lane = view.lane_state(self.context.state)
        if r is None or lane is None:
            return None
        row = view.row(r)
        key = (lane.name, r.step, id(r.tokens), row)
        if self._found[0] != key:
            self._found = (key, trace_of(lane, r, row))
        made = self._found[1]
        return None if made is None else (r, row, made)

    def verdict(self) -> Verdict | None:
        """The verdict on the rollout in view; None until a thread has computed it (tenths of a
        second for many tokens)."""
        r, lane = self.rollout, self.context.view.lane_state(self.context.state)
        if r is None or lane is None:
            return None
        key = (lane.name, r.step, id(r.tokens))
        if self._judged[0] == key:
            return self._judged[1]
        if self._judging is None:
            self._judging = key
            made = algorithm_of(lane, r)
            self.run_worker(lambda: self._judge(key, made, r), thread=True, exit_on_error=False)
        return self._judged[1] if self._judged[0] and self._judged[0][0] == lane.name else None

    def _judge(self, key: Any, made: Algorithm | None, r: RolloutView) -> None:
        found = verdict_of(made, r) if made is not None else None
        self.app.call_from_thread(self._judged_is, key, found)

    def _judged_is(self, key: Any, found: Verdict | None) -> None:
        self._judged, self._judging = (key, found), None
        self.again()

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if width >= 118:
            left = width - max(44, round(width * 0.33))
            return {
                "table": Rect(0, 0, left, height),
                "verdict": Rect(left, 0, width - left, height),
            }
        below = min(11, max(6, height * 9 // 20))
        return {
            "table": Rect(0, 0, width, height - below),
            "verdict": Rect(0, height - below, width, below),
        }

    def news(self, events: list[ev.Event]) -> None:
        if any(isinstance(e, ev.Tokens | ev.StepDone | ev.Switched) for e in events):
            self.again()

    def scrolled(self) -> Box[Any] | None:
        return self.parts[1]

    def action_token_next(self) -> None:
        self._move("move_token", 1)

    def action_token_previous(self) -> None:
        self._move("move_token", -1)

    def action_token_jump(self) -> None:
        self._move("move_token", 10)

    def action_token_back(self) -> None:
        self._move("move_token", -10)

    def action_trace_answer_next(self) -> None:
        self._move("move_answer", 1)

    def action_trace_answer_previous(self) -> None:
        self._move("move_answer", -1)

    def action_prompt_next(self) -> None:
        self._move("move_prompt", 1)

    def action_prompt_previous(self) -> None:
        self._move("move_prompt", -1)

    def _move(self, what: str, by: int) -> None:
        getattr(self.context.view, what)(self.context.state, by)
        self.again()

    def action_hold(self) -> None:
        self.lab.action_hold()
        self.again()

    def action_recorded(self) -> None:
        self.lab.action_recorded()
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "token":
            self.context.view.token = int(value)
            self.again()
