"""Dialogs about the engine's end and about going back: a failure with its cause and how to resume
(never a traceback), the last step before leaving, and what a rewind undoes."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.binding import Binding, BindingType

from grpolab.tui.context import AppContext
from grpolab.tui.timeline import model as timeline
from grpolab.tui.widgets.dialog import Dialog
from grpolab.tui.widgets.text import Line, visible, wrap


class Failure(Dialog[None]):
    """The run failed, or its engine ended: the cause, and how to resume."""

    def title_text(self) -> str:
        return "The run stopped"

    def keys_text(self) -> str:
        return "esc back to the run · then q quit"

    def rows(self, width: int) -> list[Line]:
        p, context = self.context.palette, self.context
        failed = context.state.failed
        out: list[Line] = []
        if failed is not None:
            head = f"✗ The run failed while {failed.where or 'working'}, in step {failed.step}."
            cause = failed.error
        else:
            code = context.exit_code
            by = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            head = f"✗ The engine ended without an error message ({by})."
            cause = "It was killed, ran out of memory, or crashed in native code."
        out += [Line(row, p.style("bad", bold=True)) for row in wrap(head, width)]
        out += [
            Line(row, p.style("text")) for row in wrap(visible(cause, newline="\n"), width)[:12]
        ]
        log = context.engine.log_tail(40) if context.engine is not None else ""
        told = [row for row in log.split("\n") if row.strip()][-8:]
        if told:
            out += [Line(), Line("last lines of engine.log", p.style("dim"))]
            out += [
                Line(part, p.style("faint"))
                for row in told
                for part in wrap(visible(row), width)[:2]
            ]
        kept = context.state.checkpoint
        saved = f"Everything up to step {context.state.step} is recorded"
        saved += (
            f"; the last checkpoint is at step {kept.step}." if kept else ", but no checkpoint."
        )
        out += [Line(), *(Line(row, p.style("text")) for row in wrap(saved, width))]
        head = "Resume from there:" if kept else "Start it again from step 0:"
        out.append(Line(head, p.style("dim")))
        command = f"grpolab run --resume {context.run_dir}"
        out += [Line("  " + row, p.style("accent")) for row in wrap(command, width - 2)]
        if context.restartable:
            told = f"or here: esc, then {context.keymap.shown('rewind')} goes back to a checkpoint."
            out.append(Line(told, p.style("dim")))
        return out


class Leaving(Dialog[None]):
    """Shown while the engine finishes its last step."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+q", "end", "end now", show=False),
        Binding("ctrl+c", "end", "end now", show=False, priority=True),
        Binding("escape", "nothing", show=False),
    ]

    def on_mount(self) -> None:
        self.set_interval(0.25, self.again)

    def title_text(self) -> str:
        return "Leaving"

    def keys_text(self) -> str:
        return "q quit at once"

    def rows(self, width: int) -> list[Line]:
        p = self.context.palette
        since = time.monotonic() - (self.context.leaving or 0.0)
        return [
            Line("finishing the step and writing a checkpoint… ", p.style("text", bold=True)).add(
                f"{since:.0f} s", p.style("dim")
            ),
            Line("Nothing is lost: the run can be resumed where it stops.", p.style("dim")),
        ]

    def action_nothing(self) -> None:
        pass

    def action_end(self) -> None:
        if self.context.engine is not None:
            self.context.engine.kill()
        self.app.exit(0)


def rewind_warning(context: AppContext, to: int) -> list[tuple[str, str]]:
    """What a rewind undoes and what it keeps, as lines with their colors."""
    lines = timeline.undone(context.state, to)
    place = f"the checkpoint of step {to}" if to else "the start"
    out = [(f"The training goes back to {place} and continues from there.", "text")]
    if context.restartable:
        told = "A new engine is started for it. It waits there, paused: change settings first."
        out.append((told, "text"))
    out.append(("Undone:" if lines else "Nothing else is undone.", "warn"))
    out += [(f"  ↶ {visible(line)}", "text") for line in lines]
    if gone := [step for step in timeline.kept(context, context.state.step) if step > to]:
        steps = ", ".join(map(str, gone))
        out.append((f"  ↶ checkpoints of later steps: {steps}", "text"))
    told = "The run file keeps all of it, marked as undone; a rerun leaves it out. Prompts and"
    out.append((told + " random seeds are the same as before: only your changes differ.", "dim"))
    return out


class Rewinding(Dialog[bool]):
    """What a rewind undoes; gives True to go back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "rewind", show=False),
    ]

    def __init__(self, context: AppContext, to: int) -> None:
        super().__init__(context)
        self.to = to

    def title_text(self) -> str:
        return f"Rewind to step {self.to}"

    def keys_text(self) -> str:
        return "↵ rewind · esc cancel"

    def rows(self, width: int) -> list[Line]:
        p = self.context.palette
        told = rewind_warning(self.context, self.to)
        return [Line(row, p.style(colour)) for text, colour in told for row in wrap(text, width)]

    def action_choose(self) -> None:
        self.dismiss(True)
