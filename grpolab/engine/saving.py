"""What stays of a lab: checkpoints, the way back to one, and the digest of what happened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grpolab import events as ev
from grpolab import scenario
from grpolab.engine import checkpoint
from grpolab.engine.lane import Lane
from grpolab.scenario import AlgorithmSection, RolloutSection, Scenario, TrainSection

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def chain(before: str, ids: list[list[int]], reward: Tensor, advantage: Tensor) -> str:
    """A lane's running digest with one more step in it: tokens, rewards, advantages."""
    h = hashlib.sha256(before.encode())
    h.update(repr(ids).encode())
    h.update(reward.cpu().numpy().tobytes())
    for row, kept in zip(advantage.detach().cpu(), ids, strict=True):
        h.update(row[: len(kept)].contiguous().numpy().tobytes())
    return h.hexdigest()


def digest(lab: Lab) -> str:
    """sha256 over every step of every lane, and over the adapters as they are now."""
    h = hashlib.sha256()
    for lane in lab.lanes.values():
        h.update(lane.digest.encode())
        for tensor in learned(lane).values():
            h.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return h.hexdigest()


def learned(lane: Lane) -> dict[str, Tensor]:
    """The lane's learned tensors by name: policy, critic, and a reference that is not the base."""
    out = {f"policy.{k}": v for k, v in lane.optimizer.tensors.items()}
    if lane.critic is not None:
        out |= {f"critic.{k}": v for k, v in lane.critic.optimizer.tensors.items()}
    if lane.copies.reference is not None:
        out |= {
            f"reference.{k}": v for k, v in lane.backbone.adapter(lane.copies.reference).items()
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
        # done by hand once, to be done again at its step
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

    Returns what had been done by hand and was still to be done again when it was written.
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
    """Go back to before the first step, as if the lab had just been opened."""
    lab.step_number, lab.saved, lab.cues_done = 0, -1, 0
    lab.cues = lab.planned_cues()
    lab.drop_lanes()
    lab.set_plan(lab.first)
    lab.open_lanes()
    return []


def _restore_lane(
    lane: Lane, section: AlgorithmSection, saved: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    lane.algorithm, lane.preset = scenario.make_algorithm(section), section.preset
    lane.algorithm.load_state(saved["memory"])
    lane.match_critic()
    lane.train = TrainSection.model_validate(saved["train"])
    lane.rollout = RolloutSection.model_validate(saved["rollout"])
    lane.digest, lane.held = saved["digest"], None
    if any(name.startswith("reference.") for name in tensors):
        lane.copies.renew_reference()
    else:
        lane.copies.first_reference()
    with torch.no_grad():
        for name, tensor in learned(lane).items():
            tensor.copy_(tensors[name])
    lane.optimizer.load_state(tensors, "optimizer")
    if lane.critic is not None:
        lane.critic.optimizer.load_state(tensors, "critic-optimizer")
        lane.critic.take(saved["critic"])
    lane.backbone.refresh(lane.adapter)
    if lane.copies.reference is not None:
        lane.backbone.refresh(lane.copies.reference)
