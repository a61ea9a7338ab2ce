"""Back to a checkpoint of the running lab, or to its start, and on from there.

Everything that a later step depends on is in a checkpoint, and every draw is seeded by what it is
for: a lab that went back and on has the digest of one that never took the detour. The run file
keeps the detour; the event makes every reader leave it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab import events as ev
from grpolab import scenario
from grpolab.engine import checkpoint, saving
from grpolab.scenario import ForkCue

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def check_fork(lab: Lab, to: int, cue: ForkCue) -> None:
    """Whether a lane can be forked so at the checkpoint of a step, asked before anything is undone.
    Raises ValueError."""
    found = _load(lab, to)
    names = [section.name for section in lab.first.lanes]
    if found is not None:
        names = [saved["name"] for saved in found[1]["lanes"]]
    if cue.lane is not None and cue.lane not in names:
        raise ValueError(f"at step {to} there was no lane {cue.lane!r} yet: {', '.join(names)}")
    if cue.name in names:
        raise ValueError(f"there is a lane {cue.name!r} already")
    if cue.algorithm is not None:
        scenario.make_algorithm(cue.algorithm)


def _load(lab: Lab, to: int) -> saving.Loaded | None:
    """The checkpoint of a step; None for the start. Raises ValueError where there is none."""
    there = [step for step, _ in checkpoint.whole(lab.run_dir) if step <= lab.step_number]
    if to not in (0, *there):
        known = ", ".join(str(step) for step in sorted({0, *there}))
        raise ValueError(f"no checkpoint of step {to}; there are those of steps {known}")
    return checkpoint.load(checkpoint.folder(lab.run_dir, to)) if to in there else None


def rewind(lab: Lab, to: int) -> None:
    """Undo every step after `to`, and whatever was done by hand since its checkpoint was written.

    Checkpoints of later steps are removed: a resume must not find them. Raises ValueError, and
    leaves all as it is, where there is no checkpoint of that step.
    """
    before, found = lab.step_number, _load(lab, to)
    checkpoint.remove_after(lab.run_dir, to)
    lab.emit(ev.Resumed(to, "rewind", before))
    seconds = dict(lab.clock.seconds)
    waiting = saving.restore(lab, found) if found is not None else saving.start_over(lab)
    lab.clock.seconds = seconds  # the work was done, whatever became of it
    lab.evaluated = (0, len(lab.lanes)) if to == 0 else (-1, 0)
    if waiting:  # a resume had still to do it again; now it is undone for good
        saving.save(lab)
