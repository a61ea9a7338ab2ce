"""The screen as text that can be kept in a file and compared: before every row a digest of its
colours and attributes, so that a change of either shows in a diff.

Pictures would depend on how this version of the terminal library draws SVG; characters, colours and
attributes of the cells are ours.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path

from rich.style import Style

from grpolab.tui.app import LabApp

FOLDER = Path(__file__).parent / "snapshots"
REWRITE = "GRPOLAB_SNAPSHOTS"
"""Set to `write`, an environment variable that takes what is on the screen as what is wanted."""

FLAGS = ("bold", "dim", "italic", "underline", "reverse", "strike")


def looks(style: Style | None) -> str:
    """Colours and attributes of a cell in words, without what cannot be seen, such as a link."""
    if style is None:
        return "-"
    colours = [c.name if c is not None else "-" for c in (style.color, style.bgcolor)]
    return " ".join([*colours, *(flag for flag in FLAGS if getattr(style, flag))])


def record(app: LabApp) -> str:
    """The rows of the screen, each as `digest  text`."""
    rows = []
    for strip in app.screen._compositor.render_strips()[: app.size.height]:
        runs: list[list[str]] = []  # text and looks; cells that look alike are one
        for segment in strip:
            look = looks(segment.style)
            if runs and runs[-1][1] == look:
                runs[-1][0] += segment.text
            else:
                runs.append([segment.text, look])
        text = "".join(run[0] for run in runs)
        told = repr([(len(run[0]), run[1]) for run in runs])
        digest = hashlib.blake2s(told.encode(), digest_size=3).hexdigest()
        rows.append(f"{digest}  {text.rstrip()}")
    return "\n".join(rows) + "\n"


def compare(app: LabApp, name: str) -> None:
    """Compare the screen with the recorded one. Raises AssertionError with what differs."""
    path, found = FOLDER / f"{name}.txt", record(app)
    if os.environ.get(REWRITE) == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
        return
    wanted = path.read_text(encoding="utf-8") if path.exists() else ""
    if found != wanted:
        before, after = wanted.splitlines(), found.splitlines()
        told = "\n".join(difflib.unified_diff(before, after, "recorded", "now", n=1, lineterm=""))
        raise AssertionError(
            f"{name} looks otherwise than recorded (before each row, a digest of its colours). "
            f"If it should: {REWRITE}=write and the same test.\n{told}"
        )
