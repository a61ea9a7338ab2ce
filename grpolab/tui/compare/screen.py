"""The compare view: all lanes side by side on the same prompt, curves over each other, a standing.

It opens by itself once there are two lanes, and one key changes between it and the single-lane
view. Its keys are the lab's own, and act on all columns at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpolab.record import events as ev
from grpolab.tui.compare.model import LOWER, METRICS, MOST_ACROSS, CompareView
from grpolab.tui.compare.view import INDENT, Ask, Curves, Facing, Standing, heights, marked
from grpolab.tui.context import AppContext
from grpolab.tui.group.model import Group, copy_answer, save_answer
from grpolab.tui.group.screen import GroupScreen, Reader
from grpolab.tui.keys import SCREENS
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

WIDE = 110
"""Columns of the terminal from which charts and standing stand beside each other."""


class CompareScreen(Overlay):
    BINDINGS = bindings("compare")
    key = "compare"
    heading = "Compare"
    mouse = "click an answer, a token, a column, a lane of the standing, a key below"
    explains = (
        "All lanes side by side, on the same prompt. ↓ ↑ choose an answer, g G a prompt, → ← a "
        "token, c the channel that colors the text: all columns move together. L goes to the next "
        "lane, which a, p, w, o and the other keys act on.\n"
        "● right   ○ wrong   ✂ cut at the token limit   then the advantage, and its size within "
        "the group as a bar. The colors have one scale in each column.\n"
        "Over each column: the lane, its algorithm, the mean reward of the step, how the algorithm "
        "makes an advantage Â of rewards, and what it maximizes. Below it: the selected token's "
        "value.\n"
        "Lanes of one seed get the same prompts and the same random numbers: until the first "
        "update all sample the same answers, so step 1 shows one rollout judged by each "
        "algorithm. The step in view is the newest that every lane has finished.\n"
        "standing: test accuracy at the newest step that all lanes were evaluated at. ± is a 95 % "
        "interval over the test prompts (Wilson), and over the seeds where there are several "
        "(Student t), whichever is wider. Δ best: percentage points behind the best; ≈ where that "
        "is within the intervals of the two. KL: to the reference, mean of the last ten "
        "measurements. memory: the model's at the step's peak."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.view = context.compare = context.compare or CompareView()
        self.part = ""
        self.ask = Ask(self, id="ask")
        self.columns = tuple(Facing(self, slot) for slot in range(MOST_ACROSS))
        self.charts = (
            Curves(self, METRICS[0], "test accuracy"), Curves(self, METRICS[1], "KL to reference"),
        )  # fmt: skip
        self.standing = Standing(self, id="standing")
        self.parts = (self.ask, *self.columns, *self.charts, self.standing)

    # --- where everything stands ---

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        across = self.view.across(self.context, width)
        low, below = self._lower(width, height - 1)
        tall = max(0, height - 1 - low)
        out = {"ask": Rect(0, 0, width, 1)}
        left = 0
        for slot in range(across):
            right = width * (slot + 1) // across
            out[f"column-{slot}"] = Rect(left, 1, right - left, tall)
            left = right
        return out | {
            name: Rect(r.x, 1 + tall + r.y, r.width, r.height) for name, r in below.items()
        }

    def _lower(self, width: int, height: int) -> tuple[int, dict[str, Rect]]:
        """Height of what stands below the columns, and its boxes."""
        lanes = len(self.view.entrants(self.context))
        chosen, ids = self.view.lower, [str(c.id) for c in self.charts]
        if chosen == "none" or height < 14:
            return 0, {}
        table = min(lanes + 3, max(5, height // 3))
        if width >= WIDE:
            if chosen != "all":
                return self._one(chosen, width, max(table, height // 3))
            low = min(max(9, height * 3 // 8), 18)
            side = min(62, max(50, width * 2 // 5))
            half = (width - side) // 2
            return low, {
                ids[0]: Rect(0, 0, half, low), ids[1]: Rect(half, 0, width - side - half, low),
                "standing": Rect(width - side, 0, side, low),
            }  # fmt: skip
        if chosen != "all" or height < 30:
            what = "standing" if chosen == "all" else chosen
            return self._one(what, width, table if what == "standing" else max(9, height // 2))
        low = max(8, height // 4)
        return low + table, {
            ids[0]: Rect(0, 0, width // 2, low),
            ids[1]: Rect(width // 2, 0, width - width // 2, low),
            "standing": Rect(0, low, width, table),
        }

    def _one(self, what: str, width: int, height: int) -> tuple[int, dict[str, Rect]]:
        name = "standing" if what == "standing" else what.replace(" ", "-")
        return height, {name: Rect(0, 0, width, height)}

    def rows_of_answers(self, room: int) -> list[int]:
        """How many rows each answer has, the same in all columns in sight."""
        shown = [c for c in self.columns if c.display]
        needs = [c.needed(max(INDENT + 4, c.size.width - 4)) for c in shown]
        count = max((len(n) for n in needs), default=0)
        needed = [max((n[i] for n in needs if i < len(n)), default=1) for i in range(count)]
        each = 2 if marked(self.context) and room >= 2 * count else 1
        at = min(self.context.view.answer, count - 1)
        return heights(needed, room, at, each)

    def scrolled(self) -> Box[Any] | None:
        return None

    # --- news ---

    def news(self, events: list[ev.Event]) -> None:
        if any(isinstance(e, ev.LaneOpened | ev.Resumed) for e in events):
            self.again()
        streams = any(isinstance(e, ev.Sampled) for e in events)
        if streams and self.view.frame(self.context).step is None:  # nothing is graded yet
            for column in self.columns:
                column.stale = True

    def on_screen_resume(self) -> None:
        self.again()

    def again(self) -> None:
        self.view.in_sight(self.context, self.size.width)  # scrolls to the focused column
        super().again()

    def _moved(self) -> None:
        """The selection changed: show it now, and the rest with the next ticks."""
        self.lab.mark({"select"})
        self.view.in_sight(self.context, self.size.width)  # scrolls to the focused column
        self.lab.repaint(at_once=True, slow=0)

    # --- the selection, in all columns at once ---

    def _select(self, prompt: int, answer: int) -> None:
        prompts, answers = self.view.frame(self.context).shape
        view = self.context.view
        if not prompts or not answers:
            return
        view.prompt, view.answer, view.token = prompt % prompts, answer % answers, 0
        self._moved()

    def action_prompt_next(self) -> None:
        self._select(self.context.view.prompt + 1, self.context.view.answer)

    def action_prompt_previous(self) -> None:
        self._select(self.context.view.prompt - 1, self.context.view.answer)

    def _answer(self, by: int) -> None:
        """Another answer; past the last of a group the first of the next prompt."""
        _, answers = self.view.frame(self.context).shape
        view = self.context.view
        if answers:
            at = min(view.answer, answers - 1) + by
            self._select(view.prompt + at // answers, at)

    def action_answer_next(self) -> None:
        self._answer(1)

    def action_answer_previous(self) -> None:
        self._answer(-1)

    def _token(self, by: int) -> None:
        view, longest = self.context.view, 0
        for r in self.view.frame(self.context).rollouts:
            if r is not None and r.tokens is not None and view.answer < r.group_size and r.prompts:
                row = min(view.prompt, len(r.prompts) - 1) * r.group_size + view.answer
                longest = max(longest, len(r.tokens.pieces[row]))
        if longest:
            view.token = max(0, min(longest - 1, view.token + by))
        self._moved()

    def action_token_next(self) -> None:
        self._token(1)

    def action_token_previous(self) -> None:
        self._token(-1)

    def action_token_jump(self) -> None:
        self._token(10)

    def action_token_back(self) -> None:
        self._token(-10)

    def _channel(self, by: int) -> None:
        offered = self.view.frame(self.context).offered
        if not offered:
            self.context.say("tokens are not recorded at this step", "warn")
        else:
            at = offered.index(self.view.frame(self.context).channel)
            self.context.view.channel = offered[(at + by) % len(offered)]
        self._moved()

    def action_channel(self) -> None:
        self._channel(1)

    def action_channel_back(self) -> None:
        self._channel(-1)

    def _lane(self, at: int) -> None:
        """Go to a column; the single-lane view shows the same lane."""
        columns = self.view.frame(self.context).columns
        column = columns[at % len(columns)]
        known = [x for x in column.entrant.lanes.values() if x.name in self.context.state.lanes]
        chosen = column.lane if column.lane in known else next(iter(known), None)
        if chosen is not None:
            held = self.context.view.held
            self.context.view.lane = chosen.name
            if held is not None:
                self.context.view.held = chosen.rollout_at(held.step) or held
        self.lab.mark({"lane"})
        self._moved()

    def action_lane(self) -> None:
        self._lane(self.view.focus(self.context) + 1)

    def action_seed(self) -> None:
        """The next seed in all columns; charts and standing are over all of them."""
        seeds = self.view.seeds(self.context)
        if len(seeds) < 2:
            self.context.say("there is one seed: grpolab compare … --seeds 3 computes more")
        else:
            at = seeds.index(self.view.chosen_seed(self.context))
            self.view.seed = seeds[(at + 1) % len(seeds)]
            if self.context.seeds is None:  # a replay: the lanes of all seeds are there
                self._lane(self.view.focus(self.context))
        self._moved()

    def action_lower(self) -> None:
        """The next of what can stand below the columns."""
        whole = self.size.width >= WIDE or self.size.height - 4 >= 30
        order = [x for x in LOWER if x != "all"] if not whole else ["all", "none"]
        now = self.view.lower if self.view.lower in order else order[0]
        self.view.lower = order[(order.index(now) + 1) % len(order)]
        self.again()

    # --- time ---

    def _browse(self, by: int) -> None:
        step = self.view.frame(self.context).step
        if step is None:
            self.context.say("no step is finished yet", "warn")
        elif self.context.mode == "replay":
            self.lab.go_to(max(0, step + by))
        else:
            self.lab.time_travel.browse(by)
        self._moved()

    def action_older(self) -> None:
        self._browse(-1)

    def action_newer(self) -> None:
        self._browse(1)

    def action_jump_back(self) -> None:
        self._browse(-10)

    def action_jump_on(self) -> None:
        self._browse(10)

    def action_hold(self) -> None:
        step = self.view.frame(self.context).step
        if self.context.view.held is None and step is not None:
            self.context.view.browse_to(self.context.state, step)
            self._moved()
        else:
            self.lab.action_hold()
            self._moved()

    def action_compare(self) -> None:
        self.dismiss(None)

    # --- what the lab does with the lane in view ---

    def group(self) -> Group | None:
        """The selected answer's group in the focused column; None, with a notice, where it has
        none."""
        frame, at = self.view.frame(self.context), self.view.focus(self.context)
        column, r = frame.columns[at], frame.rollouts[at]
        if column.lane is None or r is None or not r.prompts or not r.group_size:
            self.context.say("there is no rollout yet", "warn")
            self._moved()
            return None
        prompt = min(self.context.view.prompt, len(r.prompts) - 1)
        return Group(column.lane.name, r, prompt, min(self.context.view.answer, r.group_size - 1))

    def action_group(self) -> None:
        if (group := self.group()) is not None:
            self.app.push_screen(GroupScreen(self.context, group))

    def action_read(self) -> None:
        if (group := self.group()) is not None:
            self.app.push_screen(Reader(self.context, group))

    def action_answer_copy(self) -> None:
        if (group := self.group()) is not None:
            copy_answer(self.app, self.context, group)
            self._moved()

    def action_answer_save(self) -> None:
        if (group := self.group()) is not None:
            save_answer(self.context, group)
            self._moved()

    def action_pane(self, name: str) -> None:
        """The single-lane view, with this pane."""
        self.dismiss(None)
        self.lab.action_pane(name)

    # --- the mouse ---

    def clicked(self, what: str, value: object) -> None:
        view = self.context.view
        if what == "column" and isinstance(value, int):
            self._lane(self.view.first + value)
        elif what == "answer" and isinstance(value, int):
            self._select(view.prompt, value)
        elif what == "token" and isinstance(value, tuple):
            view.answer, view.token = value
            self._moved()
        elif what == "lane":
            for i, column in enumerate(self.view.frame(self.context).columns):
                if any(x.name == value for x in column.entrant.lanes.values()):
                    self._lane(i)
                    break


def _of_the_lab(name: str) -> Callable[[CompareScreen], None]:
    """An action that the lab carries out, for the lane in view."""

    def action(self: CompareScreen) -> None:
        getattr(self.lab, f"action_{name}")()
        self._moved()

    return action


for _action in SCREENS["compare"]:
    if not hasattr(CompareScreen, f"action_{_action.call.partition('(')[0]}"):
        setattr(CompareScreen, f"action_{_action.name}", _of_the_lab(_action.name))
