"""The glossary: every term and metric on the screen, with a search as you type."""

from __future__ import annotations

from grpolab.analysis.metric_help import METRICS
from grpolab.tui.context import AppContext
from grpolab.tui.glossary.words import WORDS
from grpolab.tui.widgets.chooser import Chooser
from grpolab.tui.widgets.text import Line, clip, wrap


class Glossary(Chooser[None]):
    least = 3

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        numbers = {k.replace("_", " "): v for k, v in METRICS.items()}
        self.known = WORDS | {k: v for k, v in numbers.items() if k not in WORDS}

    def title_text(self) -> str:
        return "Glossary"

    def keys_text(self) -> str:
        return "↑↓ select · type to search · esc close"

    def names(self) -> list[str]:
        return list(self.known)

    @property
    def left(self) -> list[str]:
        """Terms that match, then those whose explanation contains what was typed."""
        found = super().left
        if not self.typed:
            return found
        more = [n for n in self.known if n not in found and self.typed in self.known[n].lower()]
        return [*found, *more]

    def typing(self, char: str) -> bool:
        return super().typing(char) or (char == " " and bool(self.typed))

    def entry(self, name: str, here: bool, width: int) -> Line:
        p = self.context.palette
        line = Line("▸ " if here else "  ", p.style("accent"))
        line.cell(name, 21, p.style("accent" if here else "text", bold=True))
        return line.add(clip(self.known[name], max(0, width - line.width)), p.style("dim"))

    def about(self, name: str, width: int) -> list[Line]:
        p = self.context.palette
        out = [Line(), Line(name, p.style("accent", bold=True))]
        return out + [Line(row, p.style("text")) for row in wrap(self.known[name], width)]

    def action_choose(self) -> None:
        """A term can only be read."""
