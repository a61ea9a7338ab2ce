"""What an engine writes when it is asked for a lens or a KL bench, made up from a rollout."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.record.state import LabState

ALGORITHMS = ("reinforce", "grpo", "dapo", "gspo", "raft")
LEFT_OUT = {"ppo": "needs values (for its critic), and the batch has none"}


def rollout(events: list[ev.Event], step: int, lane: str = "main") -> RolloutView:
    state = LabState()
    for event in events:
        state.apply(event)
    return state.lanes[lane].rollouts[step]


def lens(r: RolloutView, *, parameters: bool = False, loss: float = 0.01) -> dict[str, Any]:
    """A lens object on this rollout; every algorithm has a gradient of its own."""
    from grpolab.algorithms import ALGORITHMS as KNOWN

    assert r.tokens is not None and r.graded is not None
    pieces, size = r.tokens.pieces, r.group_size
    mean = sum(r.graded.reward) / len(r.graded.reward)
    algorithms = {}
    for k, name in enumerate(ALGORITHMS):
        samples = []
        for i, row in enumerate(pieces):
            a = r.graded.reward[i] - mean
            if name == "raft":
                a = max(a, 0.0)
            gradient = [-a * (1 + 0.2 * k * math.sin(t + k)) / 100 for t in range(len(row))]
            if name == "gspo":
                gradient = [-x for x in gradient]
            samples.append({"advantages": [a] * len(row), "returns": None, "gradient": gradient})
        algorithms[name] = {
            "preset": "paper",
            "settings": KNOWN[name].Settings().model_dump(mode="json"),
            "aggregation": "token-mean",
            "loss": loss * (k + 1),
            "terms": {"policy": loss * (k + 1), "kl": 0.0, "value": 0.0},
            "metrics": {"clip_fraction": 0.25 if name == "gspo" else 0.0},
            "groups": [
                {"samples": samples[g * size : (g + 1) * size]} for g in range(len(r.prompts))
            ],
        }
    table = {a: {b: _alike(a, b) for b in ALGORITHMS} for a in ALGORITHMS}
    groups = [
        {
            "prompt": prompt,
            "samples": [
                {"tokens": pieces[i], "reward": r.graded.reward[i]} for i in r.rows(g)
            ],
        }
        for g, prompt in enumerate(r.prompts)
    ]  # fmt: skip
    found = {
        "algorithms": algorithms, "cosine": table, "left_out": dict(LEFT_OUT), "groups": groups,
        "step": r.step, "lane": "main", "current": "grpo",
    }  # fmt: skip
    return found | ({"parameter_cosine": table} if parameters else {})


def _alike(a: str, b: str) -> float:
    return 1.0 if a == b else -0.6 if "gspo" in (a, b) else 0.8


def made(folder: Path, found: dict[str, Any]) -> ev.LensMade:
    """Write the file as the engine does; the event that tells of it."""
    path = folder / "lens" / f"{found['step']}-main.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    loss = {name: one["loss"] for name, one in found["algorithms"].items()}
    more = "parameter_cosine" in found
    return ev.LensMade(found["step"], "main", str(path.relative_to(folder)), more, loss)


def benched(step: int, exact: float = 0.0123, lane: str = "main") -> ev.KlBenched:
    def row(name: str, bias: float, loss: tuple[float, float], reward: tuple[float, float]):
        return ev.KlEstimate(name, exact + bias, bias, 0.001, 0.2, *loss, *reward)

    return ev.KlBenched(
        step, lane, exact, 0.05, 1500,
        [
            row("k1", 2e-4, (0.03, 1.0), (1.0, 1e-6)),
            row("k2", 0.005, (1.0, 1e-6), (0.8, 0.7)),
            row("k3", -3e-4, (0.9, 0.4), (-0.3, 1.4)),
            row("unbiased", -3e-4, (1.0, 1e-6), (-0.3, 1.4)),
        ],
    )  # fmt: skip
