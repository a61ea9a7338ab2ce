"""The process behind the screen's what-if: holds one rollout and scores it again and again.

`python -m grpolab.lens.whatif` speaks JSON lines. The first names the rollout, `{"run": DIR,
"step": N, "lane": NAME, "file": "lens/…json" or ""}`; the file is what the engine wrote for its own
lens and has exact numbers, without it the run file is read. Every other line is a request,

{"id": 1, "base": true, "algorithm": NAME, "preset": NAME, "settings": {…}, "kl_scale": 1.0,
 "answers": G or null, "rewards": [of every row] or null}

(`leash` is what older requests call `kl_scale`, the factor of an adaptive controller on β)

and is answered by one line with the same id: {"id", "error": LINE} or {"id", "loss", "terms",
"metrics", "settings", "aggregation", "groups": [{"samples": [{"advantages", "returns", "gradient",
"reward"}]}], "cosine": to the base or null, "notes": [LINE]}. It ends with its stdin.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpolab.algorithms import ALGORITHMS
from grpolab.errors import RequestError
from grpolab.lens.ask import choose
from grpolab.lens.batch_file import FORMAT, checked

NO_BONUS = "the entropy bonus is left out: it needs the whole distribution of every token"
FRESH = "a moving baseline begins anew here: it has seen this rollout only"
GREEDY = "the greedy answer's reward, the baseline, keeps the weights of the run"
GRADED = "scores of single steps keep the weights of the run"


def altered(
    batch: Mapping[str, Any], answers: int | None = None, rewards: Sequence[float] | None = None
) -> dict[str, Any]:
    """The batch with the first `answers` of each group, and with other rewards by row. Raises
    RequestError where the numbers do not fit it."""
    rows = sum(len(group["samples"]) for group in batch["groups"])
    if rewards is not None and len(rewards) != rows:
        raise RequestError(f"{len(rewards)} rewards for {rows} answers")
    if answers is not None and answers < 1:
        raise RequestError("a group needs at least one answer")
    given, groups = iter(rewards or ()), []
    for group in batch["groups"]:
        samples = group["samples"]
        if rewards is not None:
            samples = [sample | {"reward": next(given)} for sample in samples]
        groups.append(group | {"samples": samples[:answers]})
    return dict(batch) | {"groups": groups}


def alike(a: Sequence[Any], b: Sequence[Any]) -> float | None:
    """Cosine of two gradients, lists by group, answer and token, over the answers that both have;
    None where one of them is 0."""
    dot = left = right = 0.0
    for ours, theirs in zip(a, b, strict=True):
        for x, y in zip(ours, theirs, strict=False):
            dot += math.sumprod(x, y) if sys.version_info >= (3, 12) else _product(x, y)
            left, right = math.hypot(left, *x), math.hypot(right, *y)
    if left == 0 or right == 0:
        return None
    return max(-1.0, min(1.0, dot / left / right))


def _product(x: Sequence[float], y: Sequence[float]) -> float:
    return math.fsum(p * q for p, q in zip(x, y, strict=True))


class Session:
    """One rollout, and what its base made of it."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = checked(batch)
        self.base: list[list[list[float]]] | None = None

    def score(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises RequestError."""
        from grpolab.lens.compute import lens

        name, preset = str(request["algorithm"]), str(request.get("preset") or "paper")
        settings = dict(request.get("settings") or {})
        notes = self._notes(settings, request)
        if name not in ALGORITHMS:
            raise RequestError(f"there is no algorithm {name!r} here")
        preset = preset if preset in ALGORITHMS[name].presets else "paper"
        made = choose([name], preset, settings)[0][name]
        made.kl_scale = float(request.get("kl_scale") or request.get("leash") or 1.0)
        if made.needs_greedy and request.get("rewards") is not None:
            notes.append(GREEDY)
        if made.needs_steps and request.get("rewards") is not None:
            notes.append(GRADED)
        batch = altered(self.batch, request.get("answers"), request.get("rewards"))
        out = lens(batch, [name], where="what-if", own=made, own_preset=preset)
        found = out["algorithms"][name]
        for group, given in zip(found["groups"], batch["groups"], strict=True):
            for sample, was in zip(group["samples"], given["samples"], strict=True):
                sample["reward"] = float(was["reward"])
        gradient = [[s["gradient"] for s in group["samples"]] for group in found["groups"]]
        if request.get("base"):
            self.base = gradient
        cosine = None if self.base is None else alike(gradient, self.base)
        return found | {"cosine": cosine, "notes": notes}

    def _notes(self, settings: dict[str, Any], request: Mapping[str, Any]) -> list[str]:
        notes = []
        if (settings.get("entropy_bonus") or 0) > 0:
            settings["entropy_bonus"] = 0.0
            notes.append(NO_BONUS)
        if settings.get("baseline") == "moving":
            notes.append(FRESH)
        return notes


def held(run: Path, step: int, lane: str, file: str) -> dict[str, Any]:
    """The rollout of a step: as the engine wrote it beside its lens, or from the run file. Raises
    RequestError."""
    if file:
        try:
            batch = json.loads((run / file).read_text(encoding="utf-8")).get("batch")
        except (OSError, ValueError):
            batch = None
        if isinstance(batch, dict) and batch.get("format") == FORMAT:
            return batch
    from grpolab.lens.batch_file import from_run

    return from_run(run, step, lane)


def main() -> int:
    """Serve until stdin ends."""
    import torch

    torch.set_num_threads(1)
    session: Session | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if session is None:
                place = (int(request["step"]), str(request["lane"]), str(request.get("file") or ""))
                session = Session(held(Path(request["run"]), *place))
                answer: dict[str, Any] = {"id": 0, "open": True}
            else:
                answer = {"id": request["id"]} | session.score(request)
        except RequestError as error:
            answer = {"id": request.get("id", 0), "error": str(error).removeprefix("what-if: ")}
        sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
        sys.stdout.flush()
        if session is None:
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
