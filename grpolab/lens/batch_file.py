"""A batch of answers as JSON, what `grpolab lens` reads: from a file (`read`) or from a step of a
recorded run (`from_run`). No torch here.

{"format": "grpolab.batch/1", "max_tokens": 64, "groups": [{"prompt": "…", "greedy_reward": 0.0,
"samples": [{"tokens": ["…"], "reward": 1.0, "step_rewards": [{"end": 7, "reward": 1.0}],
"logprobs": [], "old_logprobs": [], "ref_logprobs": [], "values": [], "sampler_logprobs": [],
"entropies": []}]}]}

All but `reward`, `logprobs` and `old_logprobs` may be missing from samples, and `null` counts as
missing; an array that one sample lacks is not used at all. Natural logarithms; all arrays of a
sample have the same length. Errors are one line with the place:

batch.json: groups[0].samples[1].logprobs[3]: NaN is not a log-probability
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from grpolab.errors import RequestError, nearest
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.directory import EVENTS, opening
from grpolab.record.index import RunIndex
from grpolab.resources import lane_now

FORMAT = "grpolab.batch/1"
ROUNDING = 1e-6
"""An entropy may be below 0 by this much."""
LARGEST = 1e100
"""Larger numbers could overflow in an algorithm."""
LARGEST_COUNT = 2**53
"""Larger whole numbers are no longer exact in float64."""

ARRAYS = {
    "logprobs": "a log-probability",
    "old_logprobs": "a log-probability",
    "ref_logprobs": "a log-probability",
    "sampler_logprobs": "a log-probability",
    "values": "a value",
    "entropies": "an entropy",
}
"""A sample's arrays with one number per token, and what such a number is."""

REQUIRED = ("reward", "logprobs", "old_logprobs")
OPTIONAL = ("tokens", "step_rewards", "ref_logprobs", "sampler_logprobs", "values", "entropies")
SAMPLE = (*REQUIRED, *OPTIONAL)
GROUP = ("prompt", "greedy_reward", "samples")
BATCH = ("format", "max_tokens", "groups")


def read(source: str) -> dict[str, Any]:
    """The checked batch in a file (`-`: stdin). Raises RequestError."""
    shown = "stdin" if source == "-" else source
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{shown}: not a text file in UTF-8") from None
    except OSError as error:
        raise RequestError(f"{shown}: {(error.strerror or str(error)).lower()}") from None
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise RequestError(f"{shown}:{error.lineno}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{shown}: not valid JSON: {error}") from None
    return checked(data, shown)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice in one object")
        found[key] = value
    return found


def checked(data: object, where: str = "batch") -> dict[str, Any]:
    """`data` if it is a valid batch. Raises RequestError for the first error; `where` is what the
    message begins with."""
    return _Checked(where).batch(data)


def samples(batch: Mapping[str, Any]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(group, sample, the sample) in order."""
    for g, group in enumerate(batch["groups"]):
        for s, sample in enumerate(group["samples"]):
            yield g, s, sample


def missing(batch: Mapping[str, Any], key: str) -> str | None:
    """Which part lacks an optional key, as the end of a sentence; None if none does."""
    if key in GROUP:
        parts = [(f"groups[{g}]", group) for g, group in enumerate(batch["groups"])]
    else:
        parts = [(f"groups[{g}].samples[{s}]", sample) for g, s, sample in samples(batch)]
    lacking = [place for place, part in parts if part.get(key) is None]
    if not lacking:
        return None
    return "the batch has none" if len(lacking) == len(parts) else f"{lacking[0]} has none"


class _Checked:
    """Checks a batch in one pass; `place` is the path of keys to a part of it."""

    def __init__(self, where: str) -> None:
        self.where = where

    def wrong(self, place: str, message: str) -> NoReturn:
        at = f"{place}: " if place else ""
        raise RequestError(f"{self.where}: {at}{message}")

    # --- parts of a batch ---

    def batch(self, data: object) -> dict[str, Any]:
        batch = self.mapping(data, "", "a batch", BATCH)
        if batch.get("format") != FORMAT:
            got = f"got {_short(batch['format'])}" if "format" in batch else "the key is missing"
            self.wrong("format", f"expected {FORMAT!r}, {got}")
        self.needed(batch, "", BATCH)
        limit = self.whole(batch["max_tokens"], "max_tokens", 1)
        groups = self.items(batch["groups"], "groups", "group")
        for g, group in enumerate(groups):
            self.group(group, f"groups[{g}]")
        rows = [(f"groups[{g}].samples[{s}]", sample) for g, s, sample in samples(batch)]
        place, longest = max(rows, key=lambda row: len(row[1]["logprobs"]))
        length = len(longest["logprobs"])
        if length > limit:
            self.wrong("max_tokens", f"{limit} is less than the {length} tokens of {place}")
        return batch

    def group(self, data: object, place: str) -> None:
        group = self.mapping(data, place, "a group", GROUP)
        self.needed(group, place, ("samples",))
        if not isinstance(group.get("prompt", ""), str):
            self.wrong(f"{place}.prompt", f"expected a text, got {_short(group['prompt'])}")
        if group.get("greedy_reward") is not None:
            self.number(group["greedy_reward"], f"{place}.greedy_reward", "a reward")
        for s, sample in enumerate(self.items(group["samples"], f"{place}.samples", "sample")):
            self.sample(sample, f"{place}.samples[{s}]")

    def sample(self, data: object, place: str) -> None:
        sample = self.mapping(data, place, "a sample", SAMPLE)
        self.needed(sample, place, REQUIRED)
        self.number(sample["reward"], f"{place}.reward", "a reward")
        length = len(self.items(sample["logprobs"], f"{place}.logprobs", "token"))
        for name, what in ARRAYS.items():
            if sample.get(name) is not None or name in REQUIRED:
                self.array(sample[name], f"{place}.{name}", what, length)
        if sample.get("tokens") is not None:
            tokens = self.listed(sample["tokens"], f"{place}.tokens")
            for t, token in enumerate(tokens):
                if not isinstance(token, str):
                    self.wrong(f"{place}.tokens[{t}]", f"expected a text, got {_short(token)}")
            self.same_length(tokens, f"{place}.tokens", length)
        if sample.get("step_rewards") is not None:
            self.steps(sample["step_rewards"], f"{place}.step_rewards", length)

    def array(self, data: object, place: str, what: str, length: int) -> None:
        numbers = self.listed(data, place)
        for t, x in enumerate(numbers):
            self.number(x, f"{place}[{t}]", what)
            if what == "an entropy" and x < -ROUNDING:
                self.wrong(f"{place}[{t}]", f"{x:g} is below 0, and an entropy never is")
        self.same_length(numbers, place, length)

    def steps(self, data: object, place: str, length: int) -> None:
        before = 0
        for j, item in enumerate(self.listed(data, place)):
            here = f"{place}[{j}]"
            step = self.mapping(item, here, "a step", ("end", "reward"))
            self.needed(step, here, ("end", "reward"))
            self.number(step["reward"], f"{here}.reward", "a reward")
            end = self.whole(step["end"], f"{here}.end", 0)
            if end >= length:
                self.wrong(
                    f"{here}.end", f"the answer has no token {end}; valid: 0 to {length - 1}"
                )
            if end < before:
                self.wrong(f"{here}.end", f"{end} is before the end of the previous step, {before}")
            before = end

    # --- values ---

    def mapping(self, data: object, place: str, what: str, valid: Sequence[str]) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.wrong(place, f"expected {what}, a mapping, got {_short(data)}")
        for key in data:
            if key not in valid:
                self.wrong(_below(place, key), f"unknown key {_short(key)}{nearest(key, valid)}")
        return data

    def needed(self, data: Mapping[str, Any], place: str, keys: Sequence[str]) -> None:
        for key in keys:
            if key not in data:
                self.wrong(_below(place, key), f"key {key!r} is missing")

    def listed(self, data: object, place: str) -> list[Any]:
        if not isinstance(data, list):
            self.wrong(place, f"expected a list, got {_short(data)}")
        return data

    def items(self, data: object, place: str, what: str) -> list[Any]:
        found = self.listed(data, place)
        if not found:
            self.wrong(place, f"is empty; expected at least one {what}")
        return found

    def same_length(self, data: Sequence[object], place: str, length: int) -> None:
        if len(data) != length:
            self.wrong(place, f"has length {len(data)}, and logprobs of the same sample {length}")

    def number(self, x: object, place: str, what: str) -> None:
        if isinstance(x, bool) or not isinstance(x, int | float):
            self.wrong(place, f"expected a number, got {_short(x)}")
        if x != x:
            self.wrong(place, f"NaN is not {what}")
        if x in (math.inf, -math.inf):
            self.wrong(place, f"{'-' if x < 0 else ''}Infinity is not {what}")
        if abs(x) > LARGEST:
            self.wrong(place, f"{_short(x)} is too large to compute with")

    def whole(self, x: object, place: str, least: int) -> int:
        if isinstance(x, bool) or not isinstance(x, int) or x < least:
            self.wrong(place, f"expected a whole number from {least}, got {_short(x)}")
        if x > LARGEST_COUNT:
            self.wrong(place, f"{_short(x)} is too large to compute with")
        return x


def _below(place: str, key: str) -> str:
    return f"{place}.{key}".removeprefix(".") if key.isidentifier() else place


def _short(x: object) -> str:
    """A value for an error's one line."""
    if isinstance(x, list | dict):
        return "a list" if isinstance(x, list) else "a mapping"
    if x is None:
        return "null"
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if x != x else "Infinity" if x > 0 else "-Infinity"
    if isinstance(x, int) and abs(x) >= 10**20:
        return f"a number of {len(str(x))} digits"
    text = repr(x)
    return text if len(text) <= 40 else text[:37] + "…"


def from_run(run_dir: Path, step: int | None = None, lane: str | None = None) -> dict[str, Any]:
    """The rollout of a step (default: the newest that is complete) of a lane (default: the first).

    Rewards, step rewards, greedy rewards, tokens and lengths are exact. Per-token numbers are
    float16 in the run file, 11 significant bits: an old log-probability of −5 is known to ±0.002,
    one near 0 to about ±3e-8. The differences to the current policy and to the reference are
    recorded on their own, so a log-ratio of 0.01 is known to ±4e-6. In a run without those channels
    the ratio is used, known to ±5e-4, and there is no reference. `logprobs` and `entropies` are of
    the policy that the step's last update saw, `values` of the critic before the step. The lens
    takes the whole rollout as one minibatch and a new algorithm: a moving baseline or an adaptive β
    starts anew.

    Raises RequestError where the run has no such lane or step, or did not record its tokens.
    """
    path = run_dir / EVENTS
    log = RunIndex(path)
    try:
        path.stat()
        while log.read():
            pass
    except OSError as error:
        raise RequestError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    lanes = {name: log.rollouts(of, log.lines) for name, of in log.lanes.items()}
    lanes = {name: found for name, found in lanes.items() if found}
    if lane is None:
        lane = next(iter(lanes), "")
    if lane not in lanes and (begun := opening(run_dir)) is not None:
        lane = lane_now(begun.scenario.get("name"), lane, lanes)
    if lane not in lanes:
        hint = nearest(lane, lanes) if lanes else "; nothing is recorded yet"
        raise RequestError(f"{run_dir}: no lane {lane!r}{hint}")
    of = log.lanes[lane]
    kinds = "graded", "tokens"
    complete = [s for s, at in lanes[lane].items() if all(of.parts[kind][at] for kind in kinds)]
    if not complete:
        raise RequestError(
            f"{run_dir}: lane {lane} has no step with its tokens; record.tokens must be true"
        )
    if step is None:
        step = complete[-1]
    if step not in complete:
        raise RequestError(
            f"{run_dir}: no step {step} in lane {lane}; recorded: {_spans(complete)}"
        )
    at = lanes[lane][step]
    lines = of.rollout_line[at], *(of.parts[kind][at] for kind in kinds)
    started, graded, tokens = (timed and timed[1] for timed in map(log.event, lines))
    log.close()
    try:
        if not (
            isinstance(started, ev.RolloutStarted)
            and isinstance(graded, ev.Graded)
            and isinstance(tokens, ev.Tokens)
        ):
            raise ValueError("its events are damaged")
        return _batch(started, graded, tokens)
    except (ValueError, IndexError, KeyError) as error:
        raise RequestError(f"{path}: step {step} of lane {lane}: {error}") from None


def _batch(started: ev.RolloutStarted, graded: ev.Graded, tokens: ev.Tokens) -> dict[str, Any]:
    lengths = [len(pieces) for pieces in tokens.pieces]
    rows, size = len(lengths), started.group_size
    if not rows == len(graded.reward) == len(started.prompts) * size:
        raise ValueError(f"{rows} rows of tokens, {len(graded.reward)} of rewards")

    def channel(name: str) -> list[list[float]] | None:
        packed = tokens.channels.get(name)
        return None if packed is None else codec.unpack(packed, lengths)

    old, drift, gap = channel("logprob"), channel("log_ratio"), channel("ref_gap")
    if drift is None and (ratios := channel("ratio")) is not None:
        drift = [[math.log(max(r, 1e-8)) for r in row] for row in ratios]
    if old is None or drift is None:
        raise ValueError("its log-probabilities are not recorded")
    value, entropy = channel("value"), channel("entropy")
    samples = []
    for i, pieces in enumerate(tokens.pieces):
        sample: dict[str, Any] = {"tokens": pieces, "reward": graded.reward[i]}
        if graded.steps:
            sample["step_rewards"] = [{"end": e, "reward": r} for e, r in graded.steps[i]]
        sample |= logprobs(old[i], drift[i], None if gap is None else gap[i])
        if value is not None:
            sample["values"] = value[i]
        if entropy is not None:
            sample["entropies"] = [max(x, 0.0) for x in entropy[i]]
        samples.append(sample)
    groups: list[dict[str, Any]] = []
    for p, prompt in enumerate(started.prompts):
        group: dict[str, Any] = {"prompt": prompt, "samples": samples[p * size : (p + 1) * size]}
        if graded.greedy_reward:
            group["greedy_reward"] = graded.greedy_reward[p]
        groups.append(group)
    return {"format": FORMAT, "max_tokens": max(started.max_tokens, *lengths), "groups": groups}


def logprobs(
    old: Sequence[float], drift: Sequence[float], gap: Sequence[float] | None
) -> dict[str, list[float]]:
    """The three log-probabilities of one answer's tokens. Where rounding would make one positive,
    all three of that token are lowered together: their differences are the most precise."""
    gaps = gap or [0.0] * len(old)
    found: dict[str, list[float]] = {"logprobs": [], "old_logprobs": []}
    if gap is not None:
        found["ref_logprobs"] = []
    for was, moved, away in zip(old, drift, gaps, strict=True):
        base = min(was, -moved, away, 0.0)
        found["logprobs"].append(min(base + moved, 0.0))
        found["old_logprobs"].append(base)
        if gap is not None:
            found["ref_logprobs"].append(min(base - away, 0.0))
    return found


def _spans(steps: Sequence[int]) -> str:
    """1, 2, 3, 7 as `1 to 3, 7`."""
    out: list[list[int]] = []
    for step in steps:
        if out and step == out[-1][1] + 1:
            out[-1][1] = step
        else:
            out.append([step, step])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in out)
