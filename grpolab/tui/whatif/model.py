"""A what-if plan: an algorithm with its settings, the commands that would apply it to a lane, and
its numbers, which come from a process that has loaded the rollout (`grpolab.lens.whatif`).
"""

from __future__ import annotations

import asyncio
import json
import math
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from grpolab.launch import environment, python
from grpolab.tui import source
from grpolab.tui.algorithm_cards import Card
from grpolab.tui.lens.model import Gradient, without_noise
from grpolab.tui.widgets.text import visible

LONGEST_ANSWER = 1 << 30
"""Most bytes of one line from the process."""


@dataclass(frozen=True)
class Plan:
    """An algorithm with all its settings, the answers used per group, and the reward weights."""

    algorithm: str
    preset: str
    settings: dict[str, Any]
    answers: int
    weights: dict[str, float] = field(default_factory=dict)  # by part of the reward

    def under(self, card: Card, preset: str) -> Plan:
        """Another algorithm or preset with its own settings, the rest unchanged."""
        return replace(self, algorithm=card.name, preset=preset, settings=card.values(preset))

    def setting(self, key: str, value: Any) -> Plan:
        return replace(self, settings=self.settings | {key: value})


@dataclass(frozen=True)
class Basis:
    """The current plan of the lens's step, and the rewards of its rollout."""

    plan: Plan
    kl_scale: float = 1.0  # multiplier of β, from an adaptive controller
    rewards: list[float] = field(default_factory=list)  # by row
    parts: list[dict[str, float]] = field(default_factory=list)  # by row, weights applied

    def request(self, plan: Plan) -> dict[str, Any]:
        """The request for the process."""
        same = (plan.algorithm, plan.preset) == (self.plan.algorithm, self.plan.preset)
        return {
            "base": plan == self.plan, "algorithm": plan.algorithm, "preset": plan.preset,
            "settings": plan.settings, "kl_scale": self.kl_scale if same else 1.0,
            "answers": None if plan.answers == self.plan.answers else plan.answers,
            "rewards": self._reweighted(plan),
        }  # fmt: skip

    def _reweighted(self, plan: Plan) -> list[float] | None:
        """Rewards by row under other weights. A part whose weight was 0 was not recorded and stays
        out. None if no weight changed."""
        changed = {k: w for k, w in plan.weights.items() if w != self.plan.weights.get(k)}
        if not changed:
            return None
        out = []
        for reward, parts in zip(self.rewards, self.parts, strict=True):
            for name, weight in changed.items():
                was = self.plan.weights[name]
                reward += parts.get(name, 0.0) * (weight / was - 1) if was else 0.0
            out.append(reward)
        return out


def commands(now: Plan, plan: Plan) -> list[dict[str, Any]]:
    """The engine commands that turn a lane from `now` into `plan`."""
    out: list[dict[str, Any]] = []
    if (plan.algorithm, plan.preset) != (now.algorithm, now.preset):
        section = {"name": plan.algorithm, "preset": plan.preset}
        out.append({"do": "switch", "algorithm": section | plan.settings})
    else:
        out += [
            {"do": "set", "key": key, "value": value}
            for key, value in plan.settings.items()
            if now.settings.get(key, value) != value
        ]
    if plan.answers != now.answers:
        out.append({"do": "set", "key": "rollout.group_size", "value": plan.answers})
    out += [
        {"do": "set", "key": f"rewards.{name}.weight", "value": weight}
        for name, weight in plan.weights.items()
        if weight != now.weights.get(name)
    ]
    return out


LADDER = tuple(m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5))
SHARES = (0.0, 0.01, 0.02, 0.05, *(n / 10 for n in range(1, 10)), 0.95, 0.98, 0.99, 1.0)


def next_value(kind: str, value: Any, by: int, default: Any = None) -> Any:
    """The next larger (`by` 1) or smaller (−1) value of a setting of this kind (kinds as in
    `algorithm_cards`); for a choice, the next one. None if there is none and it must be typed."""
    words = kind.removesuffix(" or none").split(" | ")
    if words == ["yes", "no"]:
        return not value
    if len(words) > 1:
        at = words.index(str(value)) if str(value) in words else 0
        found = words[(at + by) % len(words)]
        return type(value)(found) if isinstance(value, int) else found
    if value is None:
        return default if default is not None else 0.2 if kind.startswith("number") else 1
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value + by
    if "≤ 1" in kind:
        steps: Sequence[float] = SHARES
    else:
        steps = (0.0, *(x for x in LADDER if x >= (min(1e-3, value / 10) or 1e-3)))
    near = 1e-9 * max(1.0, abs(value))
    if by > 0:
        return next((x for x in steps if x > value + near), None)
    return next((x for x in reversed(steps) if x < value - near), None)


@dataclass(frozen=True)
class Scored:
    """The numbers of one plan. Lists are by group, answer and token."""

    loss: float
    terms: dict[str, float]
    metrics: dict[str, float]
    aggregation: str
    gradient: Gradient
    advantages: list[list[list[float]]]
    rewards: list[list[float]]
    cosine: float | None
    notes: list[str]

    @property
    def weight(self) -> float:
        """Σ|gradient|."""
        return math.fsum(abs(x) for group in self.gradient for row in group for x in row)

    def without_noise(self, scale: float) -> Scored:
        """The same with gradients below 1e-6 of `scale` set to 0."""
        return replace(self, gradient=without_noise(self.gradient, scale))

    def push(self, group: int, answer: int) -> list[float]:
        """−gradient of an answer's tokens; empty if the plan does not use the answer."""
        rows = self.gradient[group] if group < len(self.gradient) else []
        return [-x for x in rows[answer]] if answer < len(rows) else []

    def limit(self, group: int) -> float:
        rows = self.gradient[group] if group < len(self.gradient) else []
        return max((abs(x) for row in rows for x in row), default=0.0)

    def advantage(self, group: int, answer: int) -> float | None:
        """Mean advantage over an answer's tokens."""
        rows = self.advantages[group] if group < len(self.advantages) else []
        row = rows[answer] if answer < len(rows) else []
        return math.fsum(row) / len(row) if row else None


def scored(raw: Mapping[str, Any]) -> Scored:
    """An answer of the process as data. Raises ValueError with its error line."""
    if "error" in raw:
        raise ValueError(visible(str(raw["error"])))
    groups = [group["samples"] for group in raw["groups"]]
    return Scored(
        loss=float(raw["loss"]),
        terms=dict(raw["terms"]),
        metrics=dict(raw["metrics"]),
        aggregation=str(raw["aggregation"]),
        gradient=[[s["gradient"] for s in g] for g in groups],
        advantages=[[s["advantages"] for s in g] for g in groups],
        rewards=[[float(s["reward"]) for s in g] for g in groups],
        cosine=raw.get("cosine"),
        notes=[str(x) for x in raw.get("notes", ())],
    )


def known_already(basis: Basis, raw: Mapping[str, Any]) -> Scored | None:
    """The current plan's numbers out of the lens's JSON object `raw`, so that they can be shown at
    once. None if the lens was computed with other settings."""
    plan = basis.plan
    found = raw.get("algorithms", {}).get(plan.algorithm)
    if found is None or found.get("preset", plan.preset) != plan.preset:
        return None
    given = found.get("settings", {})
    other = any(given.get(key, value) != value for key, value in plan.settings.items())
    if other or (given.get("entropy_bonus") or 0) > 0 or given.get("baseline") == "moving":
        return None
    rewards = [[sample["reward"] for sample in group["samples"]] for group in raw["groups"]]
    groups = [
        {"samples": [s | {"reward": r} for s, r in zip(group["samples"], of, strict=True)]}
        for group, of in zip(found["groups"], rewards, strict=True)
    ]
    return scored(found | {"groups": groups, "cosine": 1.0})


class Scorer:
    """The process that scores plans, one request at a time."""

    def __init__(self, run_dir: Path, step: int, lane: str, file: str = "") -> None:
        self.place = {"run": str(run_dir), "step": step, "lane": lane, "file": file}
        self.process: asyncio.subprocess.Process | None = None
        self.asked = 0

    async def ask(self, request: Mapping[str, Any]) -> Scored:
        """Raises ValueError with one readable line."""
        if self.process is None:
            await self._start()
        self.asked += 1
        return scored(await self._say(dict(request) | {"id": self.asked}))

    async def _start(self) -> None:
        try:
            self.process = await asyncio.create_subprocess_exec(
                *python("-m", "grpolab.lens.whatif"), stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
                env=environment(), start_new_session=True, limit=LONGEST_ANSWER,
            )  # fmt: skip
        except OSError as error:
            raise ValueError(f"the what-if process cannot be started: {error}") from None
        answer = await self._say(self.place)
        if "error" in answer:
            await self.close()
            raise ValueError(visible(str(answer["error"])))

    async def _say(self, request: Mapping[str, Any]) -> dict[str, Any]:
        process = self.process
        gone = "the what-if process has ended; reopen this screen to start another"
        if process is None or process.stdin is None or process.stdout is None:
            raise ValueError(gone)
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
            return json.loads(line)
        except (OSError, ValueError):
            raise ValueError(gone) from None

    async def close(self) -> None:
        """End it now."""
        if self.process is not None:
            await source.end(self.process)
