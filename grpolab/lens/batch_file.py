"""A rollout as JSON: what `grpolab lens` reads. No torch here.

{"format": "grpolab.batch/1", "max_tokens": 64, "groups": [{"prompt": "…", "greedy_reward": 0.0,
  "samples": [{"tokens": ["…"], "reward": 1.0, "step_rewards": [{"end": 7, "reward": 1.0}],
    "logprobs": [], "old_logprobs": [], "ref_logprobs": [], "values": [],
    "sampler_logprobs": [], "entropies": []}]}]}

All but `reward`, `logprobs` and `old_logprobs` may be missing from samples, and `null` counts as
missing; what one sample lacks, no algorithm can use. Natural logarithms; all arrays of a sample
have the same length.
What is wrong is told in one line with the place:

batch.json: groups[0].samples[1].logprobs[3]: NaN is not a log-probability
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from grpolab.problems import RequestError, nearest

FORMAT = "grpolab.batch/1"
ROUNDING = 1e-6
"""An entropy may be below 0 by this much."""
LARGEST = 1e100
"""Larger numbers would overflow somewhere in an algorithm."""
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
"""A sample's arrays of numbers, one for each token, and what one of them is."""

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
            raise ValueError(f"key {key!r} stands twice in one object")
        found[key] = value
    return found


def checked(data: object, where: str = "batch") -> dict[str, Any]:
    """`data` if it is a batch. Raises RequestError for the first thing that is wrong; `where` is
    what the line begins with."""
    return _Checked(where).batch(data)


def samples(batch: Mapping[str, Any]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(group, sample, the sample) in order."""
    for g, group in enumerate(batch["groups"]):
        for s, sample in enumerate(group["samples"]):
            yield g, s, sample


def missing(batch: Mapping[str, Any], key: str) -> str | None:
    """Who lacks an optional key, as the end of a sentence; None where nobody does."""
    if key in GROUP:
        parts = [(f"groups[{g}]", group) for g, group in enumerate(batch["groups"])]
    else:
        parts = [(f"groups[{g}].samples[{s}]", sample) for g, s, sample in samples(batch)]
    lacking = [place for place, part in parts if part.get(key) is None]
    if not lacking:
        return None
    return "the batch has none" if len(lacking) == len(parts) else f"{lacking[0]} has none"


class _Checked:
    """One pass over a batch; `place` is the path of keys to where it is."""

    def __init__(self, where: str) -> None:
        self.where = where

    def wrong(self, place: str, message: str) -> NoReturn:
        at = f"{place}: " if place else ""
        raise RequestError(f"{self.where}: {at}{message}")

    # --- the parts of a batch ---

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
                self.wrong(f"{here}.end", f"token {end} is none of the answer's 0 to {length - 1}")
            if end < before:
                self.wrong(f"{here}.end", f"{end} is before the end of the previous step, {before}")
            before = end

    # --- what they consist of ---

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
