"""What the lens has seen, read from the JSON object of `grpolab lens --json`: one rollout under
every algorithm.
"""

from __future__ import annotations

import asyncio
import json
import math
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpolab.launch import environment, python
from grpolab.tui import source
from grpolab.tui.widgets.text import visible

Table = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Look:
    """One algorithm's look at the rollout. Lists are by group, answer and token."""

    name: str
    loss: float
    terms: dict[str, float]
    clipped: float  # share of the tokens
    weight: float  # Σ|gradient|
    norm: float  # √Σ gradient²
    settings: dict[str, Any]
    gradient: list[list[list[float]]]  # ∂loss/∂log π
    advantages: list[list[list[float]]]
    returns: list[list[list[float] | None]]

    def push(self, group: int, answer: int) -> list[float]:
        """−gradient of an answer's tokens: above 0 a token is pushed up."""
        return [-x for x in self.gradient[group][answer]]

    def limit(self, group: int) -> float:
        """The largest push in a group, without its sign."""
        sizes = (abs(x) for answer in self.gradient[group] for x in answer)
        return max(sizes, default=0.0)


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
    current: str  # the algorithm under which the step was computed
    looks: dict[str, Look]
    left_out: dict[str, str]
    cosine: Table
    parameters: Table | None  # the same of the gradients on the adapter's parameters
    prompts: list[str]
    pieces: list[list[list[str]]]  # by group and answer
    raw: dict[str, Any] = field(repr=False)
    _apart: dict[tuple[str, str], list[Apart]] = field(default_factory=dict, repr=False)

    @property
    def anchor(self) -> str:
        """What the cosines compare with: the lane's algorithm, or the first one where that could
        not look."""
        return self.current if self.current in self.looks else next(iter(self.looks))

    @property
    def names(self) -> list[str]:
        """Those that looked, then those that could not."""
        return [*self.looks, *self.left_out]

    @property
    def no_loss(self) -> bool:
        return all(abs(look.loss) < 5e-7 for look in self.looks.values())

    @property
    def no_gradient(self) -> bool:
        return all(look.weight == 0 for look in self.looks.values())

    def cancelled(self) -> list[str]:
        """Algorithms whose loss is 0 next to a gradient that is not."""
        found = self.looks.values()
        return [x.name for x in found if abs(x.loss) < 1e-4 * x.weight and x.weight > 0]

    def apart(self, a: str, b: str) -> list[Apart]:
        """The tokens on which two of them disagree most, the largest first."""
        if (a, b) not in self._apart:
            from grpolab.lens.show import disagreements

            self._apart[a, b] = [
                Apart(
                    x["group"], x["sample"], x["token"],
                    self.pieces[x["group"]][x["sample"]][x["token"]], -x["a"], -x["b"],
                )
                for x in disagreements(self.raw, a, b)
                if x["a"] != x["b"]
            ]  # fmt: skip
        return self._apart[a, b]


def parse(text: str | bytes, step: int, lane: str, current: str) -> Lens:
    """The object as data; `step`, `lane` and `current` where it does not say them itself. Raises
    ValueError with one line if it is none."""
    try:
        raw = json.loads(text)
        groups = raw["groups"]
        looks = {name: _look(name, x) for name, x in raw["algorithms"].items()}
        pieces = [[[str(t) for t in s["tokens"]] for s in g["samples"]] for g in groups]
        shape = [[len(answer) for answer in group] for group in pieces]
        for look in looks.values():
            if [[len(answer) for answer in group] for group in look.gradient] != shape:
                raise ValueError(f"{look.name} has other tokens")
        if not looks:
            raise ValueError("no algorithm could look")
        return Lens(
            int(raw.get("step", step)), str(raw.get("lane", lane)),
            str(raw.get("current", current)), looks,
            {str(k): str(v) for k, v in raw["left_out"].items()}, raw["cosine"],
            raw.get("parameter_cosine"), [str(g["prompt"]) for g in groups], pieces, raw,
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what a lens writes: {type(error).__name__} {error}") from None


def load(run_dir: Path, path: str, step: int, lane: str, current: str) -> Lens:
    """A lens that the engine wrote into the run directory. Raises OSError, or ValueError with one
    line."""
    file = (run_dir / path).resolve()
    if run_dir.resolve() not in file.parents:
        raise ValueError(f"{path} lies outside of the run")
    return parse(file.read_bytes(), step, lane, current)


def _look(name: str, x: dict[str, Any]) -> Look:
    samples = [group["samples"] for group in x["groups"]]
    gradient = [[[float(v) for v in s["gradient"]] for s in group] for group in samples]
    flat = [abs(v) for group in gradient for answer in group for v in answer]
    clipped = float(x["metrics"].get("clip_fraction", math.nan))
    return Look(
        name, float(x["loss"]), {k: float(v) for k, v in x["terms"].items()},
        clipped, math.fsum(flat), math.hypot(*flat), x["settings"],
        gradient, [[s["advantages"] for s in group] for group in samples],
        [[s["returns"] for s in group] for group in samples],
    )  # fmt: skip


# --- looking ---
# The lens without an engine: a process of its own computes it from the run file.


def command(run_dir: Path, step: int, lane: str) -> list[str]:
    """The command line of that process."""
    return python("-m", "grpolab.lens", f"--step={step}", f"--lane={lane}", "--json", "--",
                  str(run_dir))  # fmt: skip


async def compute(run_dir: Path, step: int, lane: str) -> bytes:
    """The JSON object of a recorded step. Raises ValueError with one line on what went wrong; the
    process is gone in any case."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command(run_dir, step, lane), stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
            env=environment(), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"the lens cannot be started: {error}") from None
    try:
        out, told = await process.communicate()
    finally:
        await source.end(process)
    if process.returncode:
        lines = [x for x in told.decode("utf-8", "replace").splitlines() if x.strip()]
        ended = f"the lens ended with exit code {process.returncode}"
        raise ValueError(visible(lines[-1].strip()) if lines else ended)
    return out
