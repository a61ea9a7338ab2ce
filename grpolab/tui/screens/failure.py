"""The work failed: the cause, the engine's last words, and how to go on. Never a traceback on the
screen.
"""

from __future__ import annotations

from grpolab.tui.screens.dialog import Dialog
from grpolab.tui.text import Line, visible, wrap


class Failure(Dialog[None]):
    def title_text(self) -> str:
        return "The run stopped"

    def keys_text(self) -> str:
        return "esc look at what was done · then q leaves"

    def rows(self, width: int) -> list[Line]:
        p, desk = self.desk.palette, self.desk
        failed = desk.state.failed
        out: list[Line] = []
        if failed is not None:
            head = f"✗ The work failed while {failed.where or 'working'}, in step {failed.step}."
            cause = failed.error
        else:
            code = desk.exit_code
            by = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            head = f"✗ The engine ended without a word ({by})."
            cause = "It was killed, ran out of memory, or crashed in native code."
        out += [Line(row, p.style("bad", bold=True)) for row in wrap(head, width)]
        out += [
            Line(row, p.style("text")) for row in wrap(visible(cause, newline="\n"), width)[:12]
        ]
        log = desk.engine.log_tail(40) if desk.engine is not None else ""
        told = [row for row in log.split("\n") if row.strip()][-8:]
        if told:
            out += [Line(), Line("last lines of engine.log", p.style("dim"))]
            out += [
                Line(part, p.style("faint"))
                for row in told
                for part in wrap(visible(row), width)[:2]
            ]
        kept = desk.state.checkpoint
        saved = f"Everything up to step {desk.state.step} is recorded"
        saved += (
            f"; the last checkpoint is at step {kept.step}."
            if kept
            else "; there is no checkpoint yet."
        )
        out += [Line(), *(Line(row, p.style("text")) for row in wrap(saved, width))]
        out.append(Line("Go on with:", p.style("dim")))
        command = f"grpolab run --resume {desk.run_dir}"
        out += [Line("  " + row, p.style("accent")) for row in wrap(command, width - 2)]
        if desk.restartable:
            told = f"or here: esc, then {desk.keymap.shown('rewind')} goes back to a checkpoint."
            out.append(Line(told, p.style("dim")))
        return out
