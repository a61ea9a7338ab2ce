"""The formula screen: one algorithm with its terms, live numbers and lineage, or two compared; and
the source screen, which shows the files that compute an algorithm.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.syntax import Syntax, SyntaxTheme

from grpolab.record import events as ev
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import Card
from grpolab.tui.context import AppContext
from grpolab.tui.formulas import token_facts
from grpolab.tui.formulas.view import FormulaBody, FormulaList
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.text import Line, clip, visible

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Branch, Term


class FormulaScreen(Overlay):
    BINDINGS = bindings("formula")
    key = "formula"
    heading = "Formula"
    mouse = "click an algorithm, an ancestor, a key below"
    explains = (
        "The lane's algorithm ●: its formula, what each symbol means and its value for the token "
        "selected in the lab, which branch of min() that token takes and why, its ancestors and "
        "its presets.\n"
        "Select another algorithm to see the differences: − only in the first, + only in the "
        "second, [brackets] around what differs within a line. ◆ marks the algorithm that the "
        "others are compared with; you can move it.\n"
        "Source: the file that computes the algorithm.\n"
        "Settings: the current ones for the lane's algorithm, the paper's for the others."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        known = algorithm_cards.load()
        self.lane = context.view.lane
        self.own, self.preset, self.settings = context.view.in_force(context.state)
        self.base = self.own if self.own in known else next(iter(known))
        self.at, self.part = self.base, "body"
        self.parts = (FormulaList(self, id="list"), FormulaBody(self, id="body"))

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        left = 26 if width >= 60 else 0
        body = {"body": Rect(left, 0, width - left, height)}
        return body | ({"list": Rect(0, 0, left, height)} if left else {})

    def news(self, events: list[ev.Event]) -> None:
        if any(isinstance(e, ev.Tokens | ev.StepDone) for e in events):
            self.touch(self.parts[1])  # new numbers
        if any(isinstance(e, ev.Switched | ev.SettingChanged) for e in events):
            self.own, self.preset, self.settings = self.context.view.in_force(self.context.state)
            self.again()

    def scrolled(self) -> Box[Any] | None:
        return self.parts[1]

    def values(self, card: Card) -> tuple[dict[str, Any], str]:
        """The settings shown for an algorithm, and a note if they are the lane's."""
        if card.name == self.own:
            return card.values() | self.settings, "current"
        return card.values(), ""

    def explained(self, name: str) -> tuple[list[Term], Branch | None, str]:
        """An algorithm's terms; for the lane's own with values and branch of the selected token."""
        from grpolab.algorithms import ALGORITHMS, explain

        found = token_facts.selected(self.context, name)
        if found is None:
            why = "" if name != self.own else "values appear with the first finished step"
            return explain.terms(ALGORITHMS[name]), None, why
        return found.terms, found.branch, f"for {found.place}"

    def _choose(self, name: str) -> None:
        self.at = name
        self.parts[1].top = 0
        self.again()

    def _step(self, by: int) -> None:
        names = list(algorithm_cards.cards())
        self._choose(names[(names.index(self.at) + by) % len(names)])

    def action_row_next(self) -> None:
        self._step(1)

    def action_row_previous(self) -> None:
        self._step(-1)

    def action_formula_mark(self) -> None:
        self.base = self.at
        self.again()

    def action_formula_source(self) -> None:
        self.app.push_screen(SourceScreen(self.context, self.at))

    def action_formula_home(self) -> None:
        self.base = self.own if self.own in algorithm_cards.cards() else self.base
        self._choose(self.base)

    def action_token_next(self) -> None:
        self._token(1)

    def action_token_previous(self) -> None:
        self._token(-1)

    def _token(self, by: int) -> None:
        self.context.view.move_token(self.context.state, by)
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "algorithm":
            self._choose(str(value))


class SourceScreen(Overlay):
    BINDINGS = bindings("source")
    key = "source"
    heading = "Source"
    mouse = "click a file's name, a key below; the wheel scrolls"
    explains = (
        "The file that computes the algorithm. Its docstring has the paper, the formula and the "
        "differences from the paper; then come the settings with their defaults. `advantage` "
        "says how much better than expected an answer or a token did, `objective` is what the "
        "policy maximizes.\n"
        "The other files are those of its base classes; the last one, base.py, has the update "
        "loop that all algorithms share. Line numbers are those of the files."
    )

    def __init__(self, context: AppContext, name: str) -> None:
        super().__init__(context)
        self.name_ = name
        self.files = files(name)
        self.at = 0
        self.tops = [0] * len(self.files)  # scroll position of each
        self.part = "code"
        self.parts = (Code(self, id="code"),)

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        return {"code": Rect(0, 0, width, height)}

    def news(self, events: list[ev.Event]) -> None:
        pass

    def scrolled(self) -> Box[Any] | None:
        return self.parts[0]

    def _file(self, at: int) -> None:
        part = self.parts[0]
        self.tops[self.at] = part.top
        self.at = at % len(self.files)
        part.top = self.tops[self.at]
        self.again()

    def action_source_next(self) -> None:
        self._file(self.at + 1)

    def action_source_previous(self) -> None:
        self._file(self.at - 1)

    def action_source_down(self) -> None:
        self.parts[0].scroll(1)

    def action_source_up(self) -> None:
        self.parts[0].scroll(-1)

    def action_source_first(self) -> None:
        self.parts[0].scroll(-(10**9))

    def action_source_last(self) -> None:
        self.parts[0].scroll(10**9)

    def clicked(self, what: str, value: Any) -> None:
        if what == "file":
            self._file(int(value))


def files(name: str) -> list[Path]:
    """The file of an algorithm, then those of its base classes, nearest first."""
    from grpolab.algorithms import ALGORITHMS

    found = [
        Path(inspect.getfile(cls))
        for cls in ALGORITHMS[name].__mro__
        if cls.__module__.startswith("grpolab.")
    ]
    return list(dict.fromkeys(found))


class Code(Box[SourceScreen]):
    title = "Source"

    def info(self) -> tuple[str, str]:
        s = self.overlay
        return s.name_.upper(), f"file {s.at + 1} of {len(s.files)}"

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        path = s.files[s.at]
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            return [Line(visible(f"{path}: {error.strerror}"), p.style("bad"))]
        return [*self._names(width), Line(), *lines(p, text, width)]

    def _names(self, width: int) -> list[Line]:
        """The file names, which can be clicked."""
        p, s = self.context.palette, self.overlay
        line = Line()
        for i, path in enumerate(s.files):
            here = i == s.at
            told = f" {path.name} "
            if line.width + len(told) > width:
                break
            line.add(told, p.style("ground", "accent", bold=True) if here else p.style("dim"),
                     hit=("file", i))  # fmt: skip
        return [line]


class _Theme(SyntaxTheme):
    """The palette's colors for Python code."""

    COLOURS = (
        ("Token.Comment", "faint"), ("Token.Literal.String.Doc", "good"),
        ("Token.Literal.String", "good"), ("Token.Literal", "warn"), ("Token.Keyword", "accent"),
        ("Token.Name.Function", "heat"), ("Token.Name.Class", "heat"),
        ("Token.Name.Decorator", "heat"), ("Token.Operator", "dim"), ("Token.Punctuation", "dim"),
    )  # fmt: skip

    def __init__(self, palette: Palette) -> None:
        self.palette = palette

    def get_style_for_token(self, token_type: Any) -> Style:
        kind = str(token_type)
        found = next((c for start, c in self.COLOURS if kind.startswith(start)), "text")
        return self.palette.style(found, bold=found in ("accent", "heat"))

    def get_background_style(self) -> Style:
        return Style()


def lines(p: Palette, text: str, width: int) -> list[Line]:
    """Python code with line numbers; long lines wrap with an indent of two cells."""
    code = Syntax(text, "python", theme=_Theme(p)).highlight(text)
    rows = code.split("\n", allow_blank=True)
    wide = len(str(len(rows)))
    out: list[Line] = []
    for number, row in enumerate(rows, 1):
        line = Line(f"{number:>{wide}}  ", p.style("faint"))
        start, indent = line.width, len(row.plain) - len(row.plain.lstrip())
        for a, b, style in _spans(row):
            piece = row.plain[a:b]
            while piece:
                fits = clip(piece, width - line.width, "")
                line.add(fits, style)
                piece = piece[len(fits) :]
                if piece:
                    out.append(line)
                    line = Line(" " * min(start + indent + 2, width // 2))
        out.append(line)
    while len(out) > 1 and not out[-1].plain.strip().strip("0123456789"):
        out.pop()  # the end of the file
    return out


def _spans(row: Any) -> list[tuple[int, int, Style | None]]:
    """The spans of a highlighted row: start, end and style."""
    cuts = sorted({0, len(row.plain), *(x for s in row.spans for x in (s.start, s.end))})
    out = []
    for a, b in pairwise(cuts):
        style = next((s.style for s in reversed(row.spans) if s.start <= a and b <= s.end), None)
        out.append((a, b, style if isinstance(style, Style) else None))
    return out
