"""A terminal's screen as an SVG."""

from __future__ import annotations

import io

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

THEMES = {
    "dark": TerminalTheme((15, 20, 25), (213, 219, 227), [(0, 0, 0)] * 8),
    "light": TerminalTheme((251, 250, 247), (34, 39, 46), [(0, 0, 0)] * 8),
    "no-color": TerminalTheme((18, 18, 18), (208, 208, 208), [(0, 0, 0)] * 8),
}


def svg(coloured: str, width: int, look: str, title: str) -> str:
    """`coloured`: lines with escape sequences, as tmux gives them."""
    console = Console(record=True, width=width, file=io.StringIO(), color_system="truecolor",
                      force_terminal=True, legacy_windows=False)  # fmt: skip
    text = Text.from_ansi(coloured.rstrip("\n"))
    text.no_wrap = True
    console.print(text, crop=True, overflow="crop")
    return console.export_svg(title=title, theme=THEMES[look])
