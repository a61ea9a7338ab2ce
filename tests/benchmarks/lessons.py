"""The tables of what was learnt, from the files in `results/learning` that `learning` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from grpolab.analysis.intervals import accuracy_half_width, half_width
from grpolab.resources import shipped_scenarios

FOLDER = Path(__file__).parent / "results" / "learning"
ENOUGH = 0.85
TASKS = "task-"


@dataclass(frozen=True)
class Lesson:
    """One lane of a scenario, or one algorithm in the default scenario, over its seeds."""

    scenario: str
    algorithm: str | None
    lane: str
    seeds: Sequence[dict[str, Any]]

    def accuracies(self, at: int = -1, greedy: bool = False) -> list[float]:
        """Of the evaluation `at`, by seed."""
        return [seed["evals"][at][2 if greedy else 1] for seed in self.seeds]

    def reached(self) -> list[int]:
        """The step of the first evaluation that is accurate enough, of seeds that have one."""
        found = (next((s for s, a, _ in x["evals"] if a >= ENOUGH), None) for x in self.seeds)
        return [step for step in found if step is not None]

    def mean(self, *keys: str) -> float | None:
        values: list[Any] = list(self.seeds)
        for key in keys:
            values = [value[key] for value in values if value.get(key) is not None]
        return fmean(values) if values else None

    def accuracy(self, at: int = -1) -> str:
        """Mean and 95 % interval, which holds the noise of the test prompts."""
        found = self.accuracies(at)
        half = accuracy_half_width(found, [seed["prompts"] for seed in self.seeds])
        return share(fmean(found)) + (f" ± {share(half)}" if half is not None else "")

    def area(self) -> str:
        """The mean over all evaluations: how early it learns."""
        return spread([fmean(e[1] for e in seed["evals"]) for seed in self.seeds])

    def first(self) -> str:
        """Steps to enough accuracy, and how many seeds got there."""
        found = self.reached()
        if not found:
            return "–"
        half = half_width(found)
        text = f"{fmean(found):.0f}" + (f" ± {half:.0f}" if half is not None else "")
        missing = len(found) < len(self.seeds)
        return text + (f" ({len(found)} of {len(self.seeds)} seeds)" if missing else "")

    def divergence(self) -> str:
        """KL to the reference over the last steps that measured it, nats a token."""
        found = [seed["kl"] for seed in self.seeds if seed["kl"] is not None]
        if not found:
            return "–"
        half = half_width(found)
        return f"{fmean(found):.4f}" + (f" ± {half:.4f}" if half is not None else "")


def share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.2f}"


def spread(found: Sequence[float]) -> str:
    half = half_width(found)
    return share(fmean(found)) + (f" ± {share(half)}" if half is not None else "")


def lessons(lanes: Iterable[dict[str, Any]]) -> list[Lesson]:
    """The lanes by configuration, in the order of the shipped scenarios."""
    by: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}
    for lane in lanes:
        by.setdefault((lane["scenario"], lane["algorithm"], lane["lane"]), []).append(lane)
    order = list(shipped_scenarios())
    found = [Lesson(*key, seeds=seeds) for key, seeds in by.items()]
    return sorted(found, key=lambda x: order.index(x.scenario))


def algorithms(found: Sequence[Lesson]) -> list[dict[str, str]]:
    """One line per algorithm in the default scenario, those that learn earliest first."""
    own = [x for x in found if x.algorithm is not None]
    own.sort(key=lambda x: -fmean(fmean(e[1] for e in seed["evals"]) for seed in x.seeds))
    return [
        {
            "algorithm": f"`{x.algorithm}`", "seeds": str(len(x.seeds)),
            "mean over the run": x.area(), "steps to .85": x.first(), "end": x.accuracy(),
            "worst seed": share(min(x.accuracies())),
            "greedy, end": share(fmean(x.accuracies(greedy=True))),
            "KL to reference": x.divergence(), "step": f"{x.mean('per_step'):.2f} s",
            "run": f"{x.mean('seconds'):.0f} s",
        }
        for x in own
    ]  # fmt: skip


def tasks(found: Sequence[Lesson]) -> list[dict[str, str]]:
    """One line per task's own scenario."""
    return [
        {
            "scenario": f"`{x.scenario}`", "seeds": str(len(x.seeds)), "start": x.accuracy(0),
            "end": x.accuracy(), "worst seed": share(min(x.accuracies())),
            "greedy": _pair(*(fmean(x.accuracies(at, greedy=True)) for at in (0, -1))),
            "worst greedy": share(min(x.accuracies(greedy=True))),
            "steps to .85": x.first(), "thought": _tokens(x), "format": _ends(x, "format"),
            "mixed": _ends(x, "mixed"), "run": f"{x.mean('seconds'):.0f} s",
        }
        for x in found
        if x.algorithm is None and (x.scenario.startswith(TASKS) or x.scenario == "default")
    ]  # fmt: skip


def scenarios(found: Sequence[Lesson]) -> list[dict[str, str]]:
    """One line per lane of the other scenarios."""
    return [
        {
            "scenario": f"`{x.scenario}`", "lane": x.lane, "seeds": str(len(x.seeds)),
            "start": x.accuracy(0), "end": x.accuracy(),
            "by seed": ", ".join(share(a) for a in x.accuracies()),
            "greedy, end": share(fmean(x.accuracies(greedy=True))),
            "KL to reference": x.divergence(), "thought": _tokens(x),
        }
        for x in found
        if x.algorithm is None and not x.scenario.startswith(TASKS) and x.scenario != "default"
    ]  # fmt: skip


def _pair(start: float, end: float) -> str:
    return f"{share(start)} → {share(end)}"


def _ends(x: Lesson, key: str) -> str:
    start, end = x.mean("start", key), x.mean("end", key)
    return "–" if start is None or end is None else _pair(start, end)


def _tokens(x: Lesson) -> str:
    start, end = x.mean("start", "thought"), x.mean("end", "thought")
    return "–" if start is None or end is None else f"{start:.1f} → {end:.1f}"


def read(folder: Path = FOLDER) -> list[tuple[dict[str, Any], list[Lesson]]]:
    """What was measured where, and its lessons, of every file."""
    files = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(folder.glob("*.json"))]
    return [(data["measured"], lessons(data["lanes"])) for data in files]
