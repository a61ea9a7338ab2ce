"""A group of answers: which prompt and answer are selected, how the answers are sorted, how one is
copied or saved, and its text as rows with the graded part marked.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.style import Style

from grpolab.record.lane_state import RolloutView
from grpolab.record.state import LabState
from grpolab.tui.widgets.markdown import markdown
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.text import MOST_SHOWN, Line, Run, visible, wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from textual.app import App

    from grpolab.tui.context import AppContext

ORDERS = ("as sampled", "reward", "advantage", "length")


@dataclass
class Group:
    """The selection within one step's groups. The group screen and the reader share one."""

    lane: str
    rollout: RolloutView
    prompt: int = 0
    answer: int = 0  # index in sampling order, whatever the sort order
    order: str = ORDERS[0]
    down: bool = True  # largest first
    scrolled: int = 0  # rows by which all texts of the group are scrolled
    rendered: bool = False
    apart: bool = False  # dim the prefix that an answer shares with the selected one
    top: int = 0  # first visible row in the reader
    _sorted: tuple[object, list[int]] = field(default=((), []), repr=False)

    @property
    def rows(self) -> range:
        return self.rollout.rows(self.prompt)

    @property
    def row(self) -> int:
        """Row of the selected answer in the rollout."""
        return self.prompt * self.rollout.group_size + self.answer

    def sorted(self) -> list[int]:
        """Answer indices in the chosen order; answers without a number yet come last."""
        r = self.rollout
        now = (id(r), self.prompt, self.order, self.down, id(r.graded), id(r.tokens))
        if self._sorted[0] != now:
            self._sorted = now, self._sort()
        return self._sorted[1]

    def _sort(self) -> list[int]:
        size = self.rollout.group_size
        keys = {i: self._key(i) for i in range(size)}
        known = [i for i in range(size) if not math.isnan(keys[i])]
        if self.order == ORDERS[0]:
            return list(range(size)) if self.down else list(range(size - 1, -1, -1))
        known.sort(key=lambda i: (-keys[i] if self.down else keys[i], i))
        return known + [i for i in range(size) if math.isnan(keys[i])]

    def _key(self, answer: int) -> float:
        row, graded = self.prompt * self.rollout.group_size + answer, self.rollout.graded
        if self.order == "advantage":
            value = self.rollout.advantage(row)
        elif graded is None or row >= len(graded.reward):
            value = None
        elif self.order == "length":
            value = float(graded.length[row])
        else:
            value = graded.reward[row]
        return math.nan if value is None else value

    def renew(self, state: LabState) -> None:
        """Follow the step's rollout if sampling was restarted (with more prompts)."""
        lane = state.lanes.get(self.lane)
        now = lane.rollouts.get(self.rollout.step) if lane else None
        if now is not None and now is not self.rollout and self.rollout.graded is None:
            self.rollout = now
            self.prompt = min(self.prompt, max(0, len(now.prompts) - 1))
            self.answer = min(self.answer, max(0, now.group_size - 1))

    def move(self, by: int) -> None:
        """Select another answer in the chosen order, within the group."""
        order = self.sorted()
        if order:
            at = order.index(self.answer) if self.answer in order else 0
            self.answer = order[max(0, min(len(order) - 1, at + by))]
            self.top = 0

    def move_prompt(self, by: int) -> None:
        """Select another group of the step, and the first answer in its order."""
        self.prompt = (self.prompt + by) % max(1, len(self.rollout.prompts))
        self.top = self.scrolled = 0
        if self.order != ORDERS[0]:
            self.answer = next(iter(self.sorted()), 0)

    def next_order(self) -> None:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    def stats(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the group's rewards; None before they are graded."""
        graded = self.rollout.graded
        rewards = [graded.reward[i] for i in self.rows if i < len(graded.reward)] if graded else []
        if not rewards:
            return None
        mean = sum(rewards) / len(rewards)
        return mean, math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))


def mark(r: RolloutView, row: int) -> tuple[str, str, str]:
    """Glyph, color and name of an answer's state."""
    g = r.graded
    if g is None or row >= len(g.finished):
        return ("▪", "dim", "finished") if row in r.ended else ("◌", "faint", "being sampled")
    if not g.finished[row]:
        return "✂", "warn", "cut"
    return ("●", "good", "right") if g.correct[row] else ("○", "bad", "wrong")


def shared(a: str, b: str) -> int:
    """Length of the common prefix of two texts."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    low, high = 0, n
    while high - low > 1:  # a[:low] == b[:low], a[:high] != b[:high]
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


def copy_answer(app: App[Any], context: AppContext, group: Group) -> None:
    """Copy the exact string to the clipboard through the terminal (OSC 52), also over SSH."""
    text = group.rollout.text[group.row]
    # a lone surrogate can be in a text but in no encoding of it
    app.copy_to_clipboard(text.encode("utf-8", "replace").decode())
    context.say(f"copied {len(text):,} characters (if the terminal allows OSC 52)", "good")


def save_answer(context: AppContext, group: Group) -> Path | None:
    """Write the exact string into the run's `saved/`, or into the working directory if that cannot
    be written. Returns the file, or None if neither could be written."""
    from pathlib import Path

    lane = re.sub(r"[^A-Za-z0-9._-]+", "-", group.lane)[:40] or "lane"
    name = f"step-{group.rollout.step:06d}-{lane}-p{group.prompt + 1}"
    name += f"-a{group.answer + 1}.txt"
    data = group.rollout.text[group.row].encode("utf-8", "surrogatepass")
    problem = None
    for folder in (context.run_dir / "saved", Path.cwd()):
        try:
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        except OSError as error:
            problem = error
        else:
            context.say(f"saved to {folder / name}", "good")
            return folder / name
    context.say(f"not saved: {problem}", "bad")
    return None


TAGS = re.compile(r"(</?(?:think|answer)>)")
_MARK = "▐ "

Span = tuple[int, int]


def graded_span(text: str, answer: str | None) -> Span | None:
    """Character range of the parsed answer in the text; None if nothing was parsed or it cannot be
    located."""
    if answer is None:
        return None
    from grpolab.rewards.parse import parse_completion  # pydantic: not before the first frame

    span = parse_completion(text).answer_span
    if span is not None and span.text == answer:
        return span.at, span.at + len(span.text)
    at = text.rfind(answer) if answer else -1
    return (at, at + len(answer)) if at >= 0 else None


def _parts(text: str, span: Span | None, hit: Span | None = None) -> list[tuple[str, bool, bool]]:
    """The text in pieces: (text, is it the parsed answer, is it the search hit)."""
    a, b = span or (0, 0)
    c, d = hit or (0, 0)
    cuts = sorted({min(len(text), at) for at in (0, a, b, c, d, len(text))})
    return [(text[x:y], a <= x < b, c <= x < d) for x, y in pairwise(cuts)]


def exact_rows(
    text: str, span: Span | None, width: int, p: Palette, hit: Span | None = None
) -> list[Line]:
    """The exact string in rows. Control characters are shown as pictures, line breaks as ⏎; the
    parsed answer is underlined and its rows start with a bar. `hit`: a search match, marked too."""
    runs: list[Run] = []
    colour = "text"
    graded = p.style("good", bold=True, underline=True)
    sought = p.style("warn", bold=True, underline=True)
    both = p.style("warn", "raised", bold=True, underline=True)
    for part, within, looked in _parts(text[:MOST_SHOWN], span, hit):
        if within or looked:
            style = both if within and looked else graded if within else sought
            runs.append((visible(part, newline="⏎\n"), style))
            continue
        for piece in TAGS.split(part):
            if TAGS.fullmatch(piece):
                runs.append((piece, p.style("faint")))
                colour = {"<think>": "dim"}.get(piece, "text")
            elif piece:
                runs.append((visible(piece, newline="⏎\n"), p.style(colour)))
    rows = wrapped(runs, max(2, width - 2))
    marked = [any(s.style is graded or s.style is both for s in row.segments) for row in rows]
    out = [_bar(row, mark, p) for row, mark in zip(rows, marked, strict=True)]
    left = len(text) - MOST_SHOWN
    if left > 0:
        out.append(Line(f"  {left:,} more characters are not shown; a saved file has all of them",
                        p.style("warn")))  # fmt: skip
    return out


def rendered_rows(text: str, span: Span | None, width: int, p: Palette) -> list[Line]:
    """Thought and answer as Markdown with formulas; the rows of the parsed answer start with a
    bar."""
    out: list[Line] = []
    colour = "text"
    for part, within, _ in _parts(text[:MOST_SHOWN], span):
        for piece in (part,) if within else TAGS.split(part):
            if not within and TAGS.fullmatch(piece):
                colour = {"<think>": "dim"}.get(piece, "text")
                out.append(Line("  " + piece, p.style("faint")))
            elif piece.strip() or (within and piece):
                rows = markdown(piece, width - 2, p, "good" if within else colour)
                out += [_bar(row, within, p) for row in rows]
    return out


def _bar(row: Line, marked: bool, p: Palette) -> Line:
    style: Style = p.style("good")
    return (Line(_MARK, style) if marked else Line("  ")).join(row)
