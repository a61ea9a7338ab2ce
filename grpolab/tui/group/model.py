"""A group of answers, looked at: which step and prompt, in which order, which answer, and what was
found out about each.
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
    """Where the user is in a step's groups; the group and the answer screen share one."""

    lane: str
    rollout: RolloutView
    prompt: int = 0
    answer: int = 0  # as sampled, whatever the order
    order: str = ORDERS[0]
    down: bool = True  # the largest first
    scrolled: int = 0  # rows of the answers' texts
    rendered: bool = False
    apart: bool = False  # whether what two answers share stands back
    top: int = 0  # of the answer that is read
    _sorted: tuple[object, list[int]] = field(default=((), []), repr=False)

    @property
    def rows(self) -> range:
        return self.rollout.rows(self.prompt)

    @property
    def row(self) -> int:
        """Of the selected answer, in the rollout."""
        return self.prompt * self.rollout.group_size + self.answer

    def sorted(self) -> list[int]:
        """The answers of the group in the chosen order; what has no number yet comes last."""
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
        """Where the step's sampling began anew, with more prompts: look at that."""
        lane = state.lanes.get(self.lane)
        now = lane.rollouts.get(self.rollout.step) if lane else None
        if now is not None and now is not self.rollout and self.rollout.graded is None:
            self.rollout = now
            self.prompt = min(self.prompt, max(0, len(now.prompts) - 1))
            self.answer = min(self.answer, max(0, now.group_size - 1))

    def move(self, by: int) -> None:
        """To another answer, in the chosen order; stays within the group."""
        order = self.sorted()
        if order:
            at = order.index(self.answer) if self.answer in order else 0
            self.answer = order[max(0, min(len(order) - 1, at + by))]
            self.top = 0

    def move_prompt(self, by: int) -> None:
        """To another group of the step; the first answer of its order."""
        self.prompt = (self.prompt + by) % max(1, len(self.rollout.prompts))
        self.top = self.scrolled = 0
        if self.order != ORDERS[0]:
            self.answer = next(iter(self.sorted()), 0)

    def next_order(self) -> None:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    def stats(self) -> tuple[float, float] | None:
        """Mean and spread of the group's rewards; None before they are graded."""
        graded = self.rollout.graded
        rewards = [graded.reward[i] for i in self.rows if i < len(graded.reward)] if graded else []
        if not rewards:
            return None
        mean = sum(rewards) / len(rewards)
        return mean, math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))


def mark(r: RolloutView, row: int) -> tuple[str, str, str]:
    """An answer's state: its glyph, its colour, and in words."""
    g = r.graded
    if g is None or row >= len(g.finished):
        return ("▪", "dim", "finished") if row in r.ended else ("◌", "faint", "being sampled")
    if not g.finished[row]:
        return "✂", "warn", "cut"
    return ("●", "good", "right") if g.correct[row] else ("○", "bad", "wrong")


def shared(a: str, b: str) -> int:
    """How many characters two texts have in common from their beginning."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    low, high = 0, n
    while high - low > 1:  # a[:low] == b[:low], a[:high] != b[:high]
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


# --- keeping ---
# An answer taken along: to the terminal's clipboard, or into a file. Always the exact string.


def copy(app: App[Any], context: AppContext, group: Group) -> None:
    """To the clipboard, by the terminal's own means (OSC 52), which works over SSH too."""
    text = group.rollout.text[group.row]
    # a lone surrogate can be in a text but in no encoding of it
    app.copy_to_clipboard(text.encode("utf-8", "replace").decode())
    context.say(f"copied {len(text):,} characters, if your terminal lets programs copy (OSC 52)",
             "good")  # fmt: skip


def save(context: AppContext, group: Group) -> Path | None:
    """Into the run's `saved/`, or into the working directory where that cannot be written."""
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


# --- reading ---
# An answer as it was graded: the exact string with every character to be seen, or rendered; and
# which part of it the grader took for the answer.

TAGS = re.compile(r"(</?(?:think|answer)>)")
_MARK = "▐ "

Span = tuple[int, int]


def graded_span(text: str, answer: str | None) -> Span | None:
    """Where the part that was taken as the answer stands; None where nothing was, or where it is
    not to be found."""
    if answer is None:
        return None
    from grpolab.rewards.parse import parse_completion  # pydantic: not before the first frame

    span = parse_completion(text).answer_span
    if span is not None and span.text == answer:
        return span.at, span.at + len(span.text)
    at = text.rfind(answer) if answer else -1
    return (at, at + len(answer)) if at >= 0 else None


def _parts(text: str, span: Span | None, hit: Span | None = None) -> list[tuple[str, bool, bool]]:
    """The text in pieces: each whether it was graded, and whether it was looked for."""
    a, b = span or (0, 0)
    c, d = hit or (0, 0)
    cuts = sorted({min(len(text), at) for at in (0, a, b, c, d, len(text))})
    return [(text[x:y], a <= x < b, c <= x < d) for x, y in pairwise(cuts)]


def plain(
    text: str, span: Span | None, width: int, p: Palette, hit: Span | None = None
) -> list[Line]:
    """The exact string. Controls have their pictures, line breaks show as ⏎; the graded part is
    underlined, its rows have a bar before them. `hit`: what was looked for, marked too."""
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
        out.append(Line(f"  … {left:,} more characters; saved to a file, all are in it",
                        p.style("warn")))  # fmt: skip
    return out


def rendered(text: str, span: Span | None, width: int, p: Palette) -> list[Line]:
    """Thought and answer as Markdown with formulas; the graded part stands by itself, with a bar
    before its rows."""
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
