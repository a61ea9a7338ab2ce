"""What a screen of the lab tells whoever looks at it: where one is, and whether something broke."""

from __future__ import annotations

import re

from rich.cells import cell_len

from .script import LAB, TABLES

BROKEN = re.compile(
    r"Traceback|\b(?:Key|Type|Value|Index|Attribute|Assertion|Name|Runtime|ZeroDivision|Import|"
    r"OS|Unicode\w*|MountE|NoMatches)Error\b|NoMatches|MarkupError|DuplicateIds|Unhandled exception"
)
DIALOG = re.compile(r"\besc [^│╭╮]*─+[╯┛]|━ [^━]*esc [^━]*━+┛|🔎|Search for commands")
LAB_FOOTER = re.compile(r"q quit\s*$")
KEY = re.compile(r"\S+ (.+)")


def labels(footer: str) -> list[str]:
    """The words of a footer, without their keys."""
    parts = [KEY.fullmatch(part.strip()) for part in re.split(r" {2,}", footer.strip())]
    return [m[1] for m in parts if m]


def signature(screen: str, mode: str) -> list[str]:
    """With which words the footer of a screen over the lab begins."""
    found = [a.label for a in TABLES[screen] if a.label and mode in a.modes]
    return found[:2]


def where(lines: list[str], mode: str) -> str:
    """The screen under the dialogs, by its footer; empty where it is none of the known ones."""
    footer = next((line for line in reversed(lines) if line.strip()), "")
    if LAB_FOOTER.search(footer):
        return LAB
    shown = labels(footer)
    for screen in TABLES:
        wanted = signature(screen, mode) if screen != LAB else ["?"]
        if wanted and shown[: len(wanted)] == wanted:
            return screen
        if screen != LAB and len(wanted) > 1 and shown[:1] == wanted[:1] and shown[1:2] == ["help"]:
            return screen
    return ""


def dialog(lines: list[str]) -> bool:
    return any(DIALOG.search(line) for line in lines)


def problems(lines: list[str], width: int, height: int) -> list[str]:
    """What is wrong with a screen, whatever it shows."""
    out = []
    text = "\n".join(lines)
    if (found := BROKEN.search(text)) is not None:
        out.append(f"the text of an exception: {found[0]}")
    if sum(1 for line in lines if line.strip()) < 4:
        out.append("an almost blank screen")
    if len(lines) > height or any(cell_len(line) > width for line in lines):
        out.append("wider or higher than the terminal")
    if (empty := _empty_below(lines)) > 2:
        out.append(f"{empty} empty rows under the panes")
    return out


def _empty_below(lines: list[str]) -> int:
    """Rows between the last pane's border and the keys with nothing in them."""
    over = [line.strip() for line in lines[:-1]]
    last = max((i for i, line in enumerate(over) if "╰" in line or "┗" in line), default=len(over))
    return 0 if any(over[last + 1 :]) else len(over[last + 1 :])
