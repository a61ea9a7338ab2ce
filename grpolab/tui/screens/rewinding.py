"""Before the training goes back to a checkpoint: what will be undone, and what stays."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from grpolab.tui import moments
from grpolab.tui.desk import Desk
from grpolab.tui.screens.dialog import Dialog
from grpolab.tui.text import Line, visible, wrap


def warning(desk: Desk, to: int) -> list[tuple[str, str]]:
    """What a rewind does, as lines with their colours."""
    lines = moments.undone(desk.state, to)
    place = f"the checkpoint of step {to}" if to else "the start"
    out = [(f"The training goes back to {place}, and on from there.", "text")]
    if desk.restartable:
        told = "The engine starts again for it and waits there, paused: change what you like first."
        out.append((told, "text"))
    out.append(("Undone:" if lines else "Nothing that was done since is undone.", "warn"))
    out += [(f"  ↶ {visible(line)}", "text") for line in lines]
    if gone := [step for step in moments.kept(desk, desk.state.step) if step > to]:
        steps = ", ".join(map(str, gone))
        out.append((f"  ↶ checkpoints of later steps: {steps}", "text"))
    told = "The run file keeps all of it, marked as undone; a rerun leaves it out. The same prompts"
    out.append((told + " and the same noise come again: only what you change now differs.", "dim"))
    return out


class Rewinding(Dialog[bool]):
    """Gives True to go back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "rewind", show=False),
    ]

    def __init__(self, desk: Desk, to: int) -> None:
        super().__init__(desk)
        self.to = to

    def title_text(self) -> str:
        return f"Rewind to step {self.to}"

    def keys_text(self) -> str:
        return "↵ rewind · esc stay"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        told = warning(self.desk, self.to)
        return [Line(row, p.style(colour)) for text, colour in told for row in wrap(text, width)]

    def action_choose(self) -> None:
        self.dismiss(True)
