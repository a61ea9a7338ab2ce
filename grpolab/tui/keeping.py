"""An answer taken along: to the terminal's clipboard, or into a file. Always the exact string."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from grpolab.tui.group import Group

if TYPE_CHECKING:
    from pathlib import Path

    from textual.app import App

    from grpolab.tui.desk import Desk


def copy(app: App[Any], desk: Desk, group: Group) -> None:
    """To the clipboard, by the terminal's own means (OSC 52), which works over SSH too."""
    text = group.rollout.text[group.row]
    # a lone surrogate can be in a text but in no encoding of it
    app.copy_to_clipboard(text.encode("utf-8", "replace").decode())
    desk.say(f"copied {len(text):,} characters, if your terminal lets programs copy (OSC 52)",
             "good")  # fmt: skip


def save(desk: Desk, group: Group) -> Path | None:
    """Into the run's `saved/`, or into the working directory where that cannot be written."""
    from pathlib import Path

    lane = re.sub(r"[^A-Za-z0-9._-]+", "-", group.lane)[:40] or "lane"
    name = f"step-{group.rollout.step:06d}-{lane}-p{group.prompt + 1}"
    name += f"-a{group.answer + 1}.txt"
    data = group.rollout.text[group.row].encode("utf-8", "surrogatepass")
    problem = None
    for folder in (desk.run_dir / "saved", Path.cwd()):
        try:
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        except OSError as error:
            problem = error
        else:
            desk.say(f"saved to {folder / name}", "good")
            return folder / name
    desk.say(f"not saved: {problem}", "bad")
    return None
