"""A run's numbers as one JSON object, made from the folded state alone; the promise is kept in
one place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grpolab.analysis import health
from grpolab.record import events as ev
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

STAGES = ("total", "startup", "rollout", "score", "update", "eval")
"""Keys of `seconds`, in the order of a run."""


def report(state: LabState, run: Path) -> dict[str, Any]:
    """What `run --headless --json` prints: times in seconds, memory in bytes.

    A run of several lanes has each of them under `lanes`; at the top, `algorithm`, `eval`,
    `switches` and `memory` are the first lane's, while `updates`, `tokens` and `seconds` count all
    lanes.
    """
    lanes = list(state.lanes.values())
    first = lanes[0] if lanes else None
    out: dict[str, Any] = {
        "run": str(run),
        "scenario": str(state.run.scenario.get("name", "")) if state.run else "",
        "algorithm": _started_as(first) if first else _planned(state),
        "seed": state.run.seed if state.run else 0,
        "device": state.run.device if state.run else "",
        "threads": state.run.threads if state.run else 0,
        "status": status(state),
        "steps": state.step,
        "updates": sum(lane.steps.total("update") for lane in lanes),
        "tokens": sum(lane.steps.total("token") for lane in lanes),
        "seconds": seconds(state),
        "eval": _evaluations(first) if first else [],
        "peak_memory_bytes": max((lane.steps.peak for lane in lanes), default=0),
        "memory": _memory(first),
        "memory_phases": _memory_phases(first),
        "predicted_memory_phases": state.predicted_memory,
        "switches": _switches(first) if first else [],
        "health": [v.data() for v in health.of_run(state)],
        "digest": digest(state),
    }
    if len(lanes) > 1:
        out["lanes"] = {lane.name: _lane(lane) for lane in lanes}
    if state.failed is not None:
        out["error"] = state.failed.error
    return out


def status(state: LabState) -> str:
    """done, interrupted, failed; or unfinished, where the engine was killed or is still at work."""
    if state.failed is not None:
        return "failed"
    return state.ended.status if state.ended is not None else "unfinished"


def digest(state: LabState) -> str:
    """The run's digest; before its end, that of the last step."""
    if state.ended is not None and state.ended.digest:
        return state.ended.digest
    last = [lane.last for lane in state.lanes.values() if lane.last is not None]
    return max(last, key=lambda s: s.step).digest if last else ""


def seconds(state: LabState) -> dict[str, float]:
    """Time by stage over the whole run. The engine's own account where it wrote one, else what
    the steps add up to.
    """
    spent = [lane.steps.spent() for lane in state.lanes.values()]
    out = {stage: sum(s.get(stage, 0.0) for s in spent) for stage in ("rollout", "score", "update")}
    out["eval"] = sum(e.seconds for lane in state.lanes.values() for e in lane.evals)
    out["total"] = state.time
    if state.ended is not None:
        out |= state.ended.seconds
        out["total"] = max(out["total"], state.time)  # over resumes too
    return {stage: round(out.get(stage, 0.0), 4) for stage in STAGES}


def _lane(lane: LaneState) -> dict[str, Any]:
    return {
        "algorithm": _started_as(lane),
        "parent": lane.parent,
        "steps": lane.last.step if lane.last else lane.opened,
        "updates": lane.steps.total("update"),
        "tokens": lane.steps.total("token"),
        "eval": _evaluations(lane),
        "memory": _memory(lane),
        "memory_phases": _memory_phases(lane),
        "switches": _switches(lane),
        "digest": lane.last.digest if lane.last else "",
    }


def _started_as(lane: LaneState) -> str:
    return lane.switches[0].before if lane.switches else lane.algorithm


def _planned(state: LabState) -> str:
    """The first lane's algorithm by the scenario, where the run was left before there was one."""
    lanes = state.run.scenario.get("lanes") if state.run else None
    return str(lanes[0].get("algorithm", {}).get("name", "")) if lanes else ""


def _evaluations(lane: LaneState) -> list[dict[str, Any]]:
    keys = ("step", "accuracy", "greedy_accuracy", "reward", "prompts", "seconds")
    return [{key: getattr(e, key) for key in keys} for e in lane.evals]


def _switches(lane: LaneState) -> list[dict[str, Any]]:
    return [{"step": s.step, "from": s.before, "to": s.after} for s in lane.switches]


def _memory(lane: LaneState | None) -> dict[str, int]:
    """Bytes by owner at the peak of the newest step."""
    held = lane.last.memory if lane is not None and lane.last is not None else {}
    return {owner: held.get(owner, 0) for owner in ev.OWNERS}


def _memory_phases(lane: LaneState | None) -> dict[str, dict[str, int]]:
    """The same at the peak of each phase, as last seen; loading and evaluation come between
    steps."""
    seen = lane.steps.phases if lane is not None else {}
    return {phase: seen[phase][1] for phase in ev.MEMORY_PHASES if phase in seen}
