"""The state of a whole lab: written to a checkpoint, restored from one, undone by a rewind; and the
digest of a run.

A checkpoint holds everything that a later step depends on, and every random draw is seeded by its
purpose. So a lab that was rewound and continued has the digest of one that never took the detour.
The run file keeps the detour; its `resumed` event makes every reader leave it out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grpolab.engine import checkpoint
from grpolab.engine.lane import Lane
from grpolab.record import events as ev
from grpolab.scenario import spec
from grpolab.scenario.spec import AlgorithmSection, ForkCue, RolloutSection, Scenario, TrainSection

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def chain(before: str, ids: list[list[int]], reward: Tensor, advantage: Tensor) -> str:
    """A lane's running digest after one more step: sha256 over the digest before and the step's
    tokens, rewards and advantages."""
    h = hashlib.sha256(before.encode())
    h.update(repr(ids).encode())
    h.update(reward.cpu().numpy().tobytes())
    for row, kept in zip(advantage.detach().cpu(), ids, strict=True):
        h.update(row[: len(kept)].contiguous().numpy().tobytes())
    return h.hexdigest()


def digest(lab: Lab) -> str:
    """The run's digest: sha256 over every lane's running digest and its trained tensors."""
    h = hashlib.sha256()
    for lane in lab.lanes.values():
        h.update(lane.digest.encode())
        for tensor in learned(lane).values():
            h.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return h.hexdigest()


def learned(lane: Lane) -> dict[str, Tensor]:
    """The lane's trained tensors by name: of policy, critic, and a reference that is not the
    initial policy."""
    out = {f"policy.{k}": v for k, v in lane.optimizer.tensors.items()}
    if lane.critic is not None:
        out |= {f"critic.{k}": v for k, v in lane.critic.optimizer.tensors.items()}
    if lane.snapshots.reference is not None:
        out |= {
            f"reference.{k}": v for k, v in lane.backbone.adapter(lane.snapshots.reference).items()
        }
    return out


def save(lab: Lab) -> None:
    """Write a checkpoint of everything that a later step depends on."""
    tensors: dict[str, Tensor] = {}
    lanes: list[dict[str, Any]] = []
    for i, (name, lane) in enumerate(lab.lanes.items()):
        found = learned(lane) | lane.optimizer.state("optimizer")
        settings = lane.algorithm.settings.model_dump(mode="json")
        state: dict[str, Any] = {
            "name": name,
            "algorithm": {"name": lane.algorithm.name, "preset": lane.preset} | settings,
            "memory": lane.algorithm.state(),
            "train": lane.train.model_dump(mode="json"),
            "rollout": lane.rollout.model_dump(mode="json"),
            "digest": lane.digest,
        }
        if lane.critic is not None:
            found |= lane.critic.optimizer.state("critic-optimizer")
            state["critic"] = lane.critic.state()
        tensors |= {f"{i}:{k}": v for k, v in found.items()}
        lanes.append(state)
    ahead = lab.cues[lab.cues_done :]
    state = {
        "step": lab.step_number,
        "cues_done": sum(origin == "cue" for _, origin in lab.cues[: lab.cues_done]),
        # commands of an earlier stretch that a resume has queued for their steps
        "waiting": [cue.model_dump(mode="json") for cue, origin in ahead if origin == "command"],
        "task": lab.task_section.model_dump(mode="json"),
        "plan": lab.plan.model_dump(
            mode="json", include={"train", "evaluate", "record", "rewards"}
        ),
        "lanes": lanes,
        "seconds": lab.clock.now(),
    }
    path = checkpoint.save(lab.run_dir, lab.step_number, tensors, state)
    lab.saved = lab.step_number
    lab.emit(ev.Checkpointed(lab.step_number, str(path.relative_to(lab.run_dir))))


Loaded = tuple[dict[str, Tensor], dict[str, Any]]
"""A checkpoint's tensors and state."""


def restore(lab: Lab, found: Path | Loaded) -> list[dict[str, Any]]:
    """Go back to a checkpoint, in a lab just opened or in a running one.

    Returns the commands that were still queued for later steps when it was written, as cues.
    """
    tensors, state = checkpoint.load(found) if isinstance(found, Path) else found
    lab.step_number = lab.saved = state["step"]
    lab.set_plan(Scenario.model_validate(lab.first.complete() | state.get("plan", {})))
    lab.drop_lanes(keep=[saved["name"] for saved in state["lanes"]])
    for i, saved in enumerate(state["lanes"]):
        section = AlgorithmSection.model_validate(saved["algorithm"])
        lane = lab.lanes.get(saved["name"]) or lab.add_lane(saved["name"], section)
        start = f"{i}:"
        own = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
        _restore_lane(lane, section, saved, own)
        lab.announce(lane)
    lab.clock.seconds |= state["seconds"]
    lab.cues = lab.planned_cues()
    lab.cues_done = state["cues_done"]
    lab.set_task(state["task"])
    return state["waiting"]


def start_over(lab: Lab) -> list[dict[str, Any]]:
    """Go back to step 0, as if the lab had just been opened."""
    lab.step_number, lab.saved, lab.cues_done = 0, -1, 0
    lab.cues = lab.planned_cues()
    lab.drop_lanes()
    lab.set_plan(lab.first)
    lab.open_lanes()
    return []


def _restore_lane(
    lane: Lane, section: AlgorithmSection, saved: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    lane.algorithm, lane.preset = spec.make_algorithm(section), section.preset
    lane.algorithm.load_state(saved["memory"])
    lane.match_critic()
    lane.train = TrainSection.model_validate(saved["train"])
    lane.rollout = RolloutSection.model_validate(saved["rollout"])
    lane.digest, lane.last_step = saved["digest"], None
    if any(name.startswith("reference.") for name in tensors):
        lane.snapshots.renew_reference()
    else:
        lane.snapshots.first_reference()
    with torch.no_grad():
        for name, tensor in learned(lane).items():
            tensor.copy_(tensors[name])
    lane.optimizer.load_state(tensors, "optimizer")
    if lane.critic is not None:
        lane.critic.optimizer.load_state(tensors, "critic-optimizer")
        lane.critic.load_state(saved["critic"])
    lane.backbone.refresh(lane.adapter)
    if lane.snapshots.reference is not None:
        lane.backbone.refresh(lane.snapshots.reference)


def check_fork(lab: Lab, to: int, cue: ForkCue) -> None:
    """Check, before anything is undone, that a lane can be forked so at the checkpoint of step
    `to`. Raises ValueError."""
    found = _load(lab, to)
    names = [section.name for section in lab.first.lanes]
    if found is not None:
        names = [saved["name"] for saved in found[1]["lanes"]]
    if cue.lane is not None and cue.lane not in names:
        raise ValueError(f"no lane {cue.lane!r} at step {to}; lanes: {', '.join(names)}")
    if cue.name in names:
        raise ValueError(f"there is a lane {cue.name!r} already")
    if cue.algorithm is not None:
        spec.make_algorithm(cue.algorithm)


def _load(lab: Lab, to: int) -> Loaded | None:
    """The checkpoint of step `to`; None for step 0, which needs none. Raises ValueError where there
    is no checkpoint of it."""
    there = [step for step, _ in checkpoint.complete(lab.run_dir) if step <= lab.step_number]
    if to not in (0, *there):
        known = ", ".join(str(step) for step in sorted({0, *there}))
        raise ValueError(f"no checkpoint of step {to}; there are checkpoints of steps {known}")
    return checkpoint.load(checkpoint.folder(lab.run_dir, to)) if to in there else None


def rewind(lab: Lab, to: int) -> None:
    """Undo every step after `to`, and every command since its checkpoint was written.

    Checkpoints of later steps are removed: a resume must not find them. Raises ValueError, and
    changes nothing, where there is no checkpoint of that step.
    """
    before, found = lab.step_number, _load(lab, to)
    checkpoint.remove_after(lab.run_dir, to)
    lab.emit(ev.Resumed(to, "rewind", before))
    seconds = dict(lab.clock.seconds)
    waiting = restore(lab, found) if found is not None else start_over(lab)
    lab.clock.seconds = seconds  # undone work took its time too
    lab.evaluated = (0, len(lab.lanes)) if to == 0 else (-1, 0)
    if waiting:  # commands that a resume had queued are undone for good
        save(lab)
