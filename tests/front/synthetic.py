"""Run files made up for tests: what an engine would write, without an engine."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.scenario.spec import build

Timed = tuple[float, ev.Event]


def started(steps: int = 4, threads: int = 2, **scenario: Any) -> ev.RunStarted:
    data = build({"name": "made-up", "train": {"steps": steps}} | scenario).complete()
    return ev.RunStarted(ev.SCHEMA, "made-up", data, data["seed"], "cpu", threads, steps)


def step_events(
    step: int,
    lane: str = "main",
    algorithm: str = "grpo",
    *,
    text: str = "",
    reward: float = 0.5,
    salt: str = "",
) -> list[ev.Event]:
    """One step of one prompt with two answers."""
    texts = [f"answer {step}a{text}", f"answer {step}b"]
    pieces = [list(t) for t in texts]
    tokens = sum(map(len, pieces))
    rewards = [reward, 1.0]
    digest = hashlib.sha256(f"{step} {texts} {rewards} {salt}".encode()).hexdigest()
    packed = codec.pack(struct.pack(f"<{tokens}e", *([0.5] * tokens)))
    memory = {"backbone": 1000, "adapters": 10 * step}
    return [
        ev.RolloutStarted(step, lane, algorithm, ["1+1="], ["easy"], 2, 96),
        ev.Sampled(step, lane, 3, [(0, "ans")]),
        ev.Graded(
            step, lane, texts, rewards, [{"accuracy": r} for r in rewards], [False, True],
            ["1", "2"], [len(p) for p in pieces], [True, True],
        ),
        ev.Tokens(step, lane, pieces, {"advantage": packed}),
        ev.StepDone(
            step, lane, algorithm,
            {"reward": 0.1 * step, "accuracy": 0.5, "kl_ref": 0.001 * step},
            {"rollout": 0.2, "score": 0.1, "update": 0.3}, 2, tokens, memory, 5000 + step, digest,
        ),
    ]  # fmt: skip


def evaluated(step: int, accuracy: float, lane: str = "main") -> ev.Evaluated:
    return ev.Evaluated(step, lane, accuracy, accuracy + 0.1, accuracy, 128, 0.5)


def run_events(
    steps: int = 4, *, status: str = "done", digest: str = "final", **scenario: Any
) -> list[ev.Event]:
    """A whole run of one GRPO lane."""
    out: list[ev.Event] = [
        started(steps, **scenario),
        ev.ModelLoaded(
            "embedded", "llama", 3_400_000, 64, 4, 256, "float32", "none", "native", 1.0
        ),
        ev.LaneOpened("main", "grpo", "paper", {"beta": 0.04}, 0),
        evaluated(0, 0.4),
    ]
    for step in range(1, steps + 1):
        out += step_events(step)
    out.append(evaluated(steps, 0.9))
    seconds = {
        "total": 9.0,
        "startup": 2.0,
        "rollout": 0.8,
        "score": 0.4,
        "update": 1.2,
        "eval": 1.0,
    }
    out.append(ev.Ended(steps, status, seconds, digest))
    return out


def timed(events: Iterable[ev.Event]) -> list[Timed]:
    return [(0.1 * i, event) for i, event in enumerate(events)]


def write(run_dir: Path, events: Iterable[ev.Event]) -> Path:
    """A run directory with these events and their scenario."""
    import yaml

    run_dir.mkdir(parents=True, exist_ok=True)
    events = list(events)
    lines = [codec.encode(event, t) for t, event in timed(events)]
    (run_dir / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    opening = next((e for e in events if isinstance(e, ev.RunStarted)), None)
    if opening is not None:
        (run_dir / "scenario.yaml").write_text(yaml.safe_dump(opening.scenario, sort_keys=False))
    return run_dir
