"""One rollout under every algorithm, as data: parsed from the JSON of `grpolab lens --json`, which
the engine wrote or a process of its own computes from the run file.
"""

from __future__ import annotations

import asyncio
import json
import math
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from grpolab.launch import environment, python
from grpolab.tui import source
from grpolab.tui.widgets.signs import settled
from grpolab.tui.widgets.text import visible

Gradient = list[list[list[float]]]
"""∂loss/∂log π by group, answer and token."""

Table = dict[str, dict[str, float]]
"""A number for each pair of algorithms."""


@dataclass(frozen=True)
class Look:
    """One algorithm's loss and gradient on the rollout. Lists are by group, answer and token."""

    name: str
    loss: float
    terms: dict[str, float]
    clipped: float  # share of the tokens
    settings: dict[str, Any]
    gradient: Gradient
    advantages: list[list[list[float]]]
    returns: list[list[list[float] | None]]

    @cached_property
    def weight(self) -> float:
        """Σ|gradient|"""
        return math.fsum(abs(x) for group in self.gradient for row in group for x in row)

    @cached_property
    def norm(self) -> float:
        """√Σ gradient²"""
        return math.hypot(*(x for group in self.gradient for row in group for x in row))

    @cached_property
    def largest(self) -> float:
        return max((self.limit(group) for group in range(len(self.gradient))), default=0.0)

    def push(self, group: int, answer: int) -> list[float]:
        """−gradient of an answer's tokens: above 0 a token is reinforced, below 0 penalized."""
        return [-x for x in self.gradient[group][answer]]

    def limit(self, group: int) -> float:
        """The largest |gradient| in a group."""
        sizes = (abs(x) for answer in self.gradient[group] for x in answer)
        return max(sizes, default=0.0)


def without_noise(gradient: Gradient, scale: float) -> Gradient:
    """The gradient with rounding error, |x| below 1e-6 of `scale`, set to 0."""
    return [[[settled(x, scale) for x in row] for row in group] for group in gradient]


@dataclass(frozen=True)
class Apart:
    """A token on which two algorithms disagree: −gradient of each, divided by its norm."""

    group: int
    answer: int
    token: int
    text: str
    ours: float
    theirs: float


@dataclass(frozen=True)
class Lens:
    step: int
    lane: str
    current: str  # the algorithm that the step was computed with
    looks: dict[str, Look]
    left_out: dict[str, str]  # by algorithm, why it is not applicable
    cosine: Table
    parameters: Table | None  # cosines of the gradients on the adapter's parameters
    prompts: list[str]
    pieces: list[list[list[str]]]  # by group and answer
    raw: dict[str, Any] = field(repr=False)
    _apart: dict[tuple[str, str], list[Apart]] = field(default_factory=dict, repr=False)

    @property
    def anchor(self) -> str:
        """The algorithm that cosines compare with: the lane's, or the first if that is missing."""
        return self.current if self.current in self.looks else next(iter(self.looks))

    @property
    def names(self) -> list[str]:
        """Applicable algorithms, then those that are not."""
        return [*self.looks, *self.left_out]

    @property
    def scale(self) -> float:
        """The largest |gradient| that any algorithm gives to any token."""
        return max((look.largest for look in self.looks.values()), default=0.0)

    @property
    def no_loss(self) -> bool:
        return all(abs(look.loss) < 5e-7 for look in self.looks.values())

    @property
    def no_gradient(self) -> bool:
        return all(look.weight == 0 for look in self.looks.values())

    def cancelled(self) -> list[str]:
        """Algorithms whose loss is 0 while their gradient is not."""
        found = self.looks.values()
        return [x.name for x in found if abs(x.loss) < 1e-4 * x.weight and x.weight > 0]

    def apart(self, a: str, b: str) -> list[Apart]:
        """The tokens on which two algorithms disagree most, largest difference first. None where
        one of them has no gradient, as its direction is then undefined."""
        if (a, b) not in self._apart:
            from grpolab.lens.show import disagreements

            both = self.looks[a].weight > 0 and self.looks[b].weight > 0
            pairs = disagreements(self.raw, a, b) if both else []
            self._apart[a, b] = [self._token(x) for x in pairs if settled(x["a"] - x["b"])]
        return self._apart[a, b]

    def _token(self, x: dict[str, Any]) -> Apart:
        group, answer, token = x["group"], x["sample"], x["token"]
        return Apart(
            group=group,
            answer=answer,
            token=token,
            text=self.pieces[group][answer][token],
            ours=settled(-x["a"]),
            theirs=settled(-x["b"]),
        )


def parse(text: str | bytes, step: int, lane: str, current: str) -> Lens:
    """The JSON object as data. `step`, `lane` and `current` are used where it lacks them. Raises
    ValueError with one line if it is not a lens."""
    try:
        raw = json.loads(text)
        groups = raw["groups"]
        looks = _settled_looks(_look(name, x) for name, x in raw["algorithms"].items())
        pieces = [[[str(t) for t in s["tokens"]] for s in g["samples"]] for g in groups]
        shape = [[len(answer) for answer in group] for group in pieces]
        for look in looks.values():
            if [[len(answer) for answer in group] for group in look.gradient] != shape:
                raise ValueError(f"{look.name} has a gradient for other tokens")
        if not looks:
            raise ValueError("no algorithm is applicable to this rollout")
        return Lens(
            step=int(raw.get("step", step)),
            lane=str(raw.get("lane", lane)),
            current=str(raw.get("current", current)),
            looks=looks,
            left_out={str(k): str(v) for k, v in raw["left_out"].items()},
            cosine=raw["cosine"],
            parameters=raw.get("parameter_cosine"),
            prompts=[str(g["prompt"]) for g in groups],
            pieces=pieces,
            raw=raw,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what a lens writes: {type(error).__name__} {error}") from None


def load(run_dir: Path, path: str, step: int, lane: str, current: str) -> Lens:
    """Read a lens that the engine wrote into the run directory. Raises OSError, or ValueError with
    one line."""
    file = (run_dir / path).resolve()
    if run_dir.resolve() not in file.parents:
        raise ValueError(f"{path} lies outside of the run")
    return parse(file.read_bytes(), step, lane, current)


def _look(name: str, x: dict[str, Any]) -> Look:
    samples = [group["samples"] for group in x["groups"]]
    gradient = [[[float(v) for v in s["gradient"]] for s in group] for group in samples]
    return Look(
        name=name,
        loss=float(x["loss"]),
        terms={k: float(v) for k, v in x["terms"].items()},
        clipped=float(x["metrics"].get("clip_fraction", math.nan)),
        settings=x["settings"],
        gradient=gradient,
        advantages=[[s["advantages"] for s in group] for group in samples],
        returns=[[s["returns"] for s in group] for group in samples],
    )


def _settled_looks(looks: Iterable[Look]) -> dict[str, Look]:
    """By name, with rounding error set to 0. Its scale is the largest gradient of all algorithms:
    an algorithm whose advantages all cancel has nothing but rounding error."""
    found = {look.name: look for look in looks}
    scale = max((look.largest for look in found.values()), default=0.0)
    return {
        name: replace(look, gradient=without_noise(look.gradient, scale))
        for name, look in found.items()
    }


def command(run_dir: Path, step: int, lane: str) -> list[str]:
    """Command line of the process that computes a lens from a run file."""
    return python("-m", "grpolab.lens", f"--step={step}", f"--lane={lane}", "--json", "--",
                  str(run_dir))  # fmt: skip


async def compute(run_dir: Path, step: int, lane: str) -> bytes:
    """The lens of a recorded step as JSON, computed by a process of its own, which is ended in any
    case. Raises ValueError with one line on what went wrong."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command(run_dir, step, lane), stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
            env=environment(), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"the lens cannot be started: {error}") from None
    try:
        out, errors = await process.communicate()
    finally:
        await source.end(process)
    if process.returncode:
        lines = [x for x in errors.decode("utf-8", "replace").splitlines() if x.strip()]
        ended = f"the lens ended with exit code {process.returncode}"
        raise ValueError(visible(lines[-1].strip()) if lines else ended)
    return out
