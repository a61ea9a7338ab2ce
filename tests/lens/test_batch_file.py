"""What is wrong with a batch is one line with the place; nothing that is wrong gets through."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from grpolab.errors import RequestError
from grpolab.lens.batch_file import checked, read
from tests.algorithms.lens_batches import batches, random_batch

Change = Callable[[dict[str, Any]], object]


def sample(batch: dict[str, Any], g: int = 0, s: int = 1) -> dict[str, Any]:
    return batch["groups"][g]["samples"][s]


def put(key: str, value: object) -> Change:
    return lambda b: sample(b).update({key: value})


def put_token(key: str, value: object, t: int = 3) -> Change:
    return lambda b: sample(b)[key].__setitem__(t, value)


AT = "groups[0].samples[1]"
WRONG: list[tuple[Change, str]] = [
    (put_token("logprobs", float("nan")), f"{AT}.logprobs[3]: NaN is not a log-probability"),
    (
        put_token("old_logprobs", float("-inf")),
        f"{AT}.old_logprobs[3]: -Infinity is not a log-probability",
    ),
    (
        put_token("ref_logprobs", float("inf")),
        f"{AT}.ref_logprobs[3]: Infinity is not a log-probability",
    ),
    (put_token("values", float("nan")), f"{AT}.values[3]: NaN is not a value"),
    (put_token("entropies", float("inf")), f"{AT}.entropies[3]: Infinity is not an entropy"),
    (put("reward", float("nan")), f"{AT}.reward: NaN is not a reward"),
    (
        lambda b: sample(b)["step_rewards"][0].update(reward=float("inf")),
        f"{AT}.step_rewards[0].reward: Infinity is not a reward",
    ),
    (
        lambda b: b["groups"][1].update(greedy_reward=float("nan")),
        "groups[1].greedy_reward: NaN is not a reward",
    ),
    (
        lambda b: b.update(max_tokens=float("nan")),
        "max_tokens: expected a whole number from 1, got",
    ),
    (put_token("entropies", -1.0), f"{AT}.entropies[3]: -1 is below 0"),
    (put_token("logprobs", "-1"), f"{AT}.logprobs[3]: expected a number, got '-1'"),
    (put_token("logprobs", None), f"{AT}.logprobs[3]: expected a number, got null"),
    (put_token("logprobs", True), f"{AT}.logprobs[3]: expected a number, got true"),
    (put_token("logprobs", [-1]), f"{AT}.logprobs[3]: expected a number, got a list"),
    (put_token("logprobs", -1e200), f"{AT}.logprobs[3]: -1e+200 is too large to compute with"),
    (put("reward", 10**400), f"{AT}.reward: a number of 401 digits is too large"),
    (put("reward", "1"), f"{AT}.reward: expected a number, got '1'"),
    (put("logprobs", 5), f"{AT}.logprobs: expected a list, got 5"),
    (put("logprobs", []), f"{AT}.logprobs: is empty; expected at least one token"),
    (put("values", []), f"{AT}.values: has length 0, and logprobs of the same sample 6"),
    (
        lambda b: sample(b)["old_logprobs"].pop(),
        f"{AT}.old_logprobs: has length 5, and logprobs of the same sample 6",
    ),
    (lambda b: sample(b)["tokens"].append("x"), f"{AT}.tokens: has length 7"),
    (put_token("tokens", 3), f"{AT}.tokens[3]: expected a text, got 3"),
    (lambda b: sample(b).pop("reward"), f"{AT}.reward: key 'reward' is missing"),
    (lambda b: sample(b).pop("logprobs"), f"{AT}.logprobs: key 'logprobs' is missing"),
    (put("old_logprobs", None), f"{AT}.old_logprobs: expected a list, got null"),
    (
        put("logprob", []),
        f"{AT}.logprob: unknown key 'logprob'; did you mean 'logprobs'?",
    ),
    (
        lambda b: b["groups"][0].update(gredy_reward=1),
        "groups[0].gredy_reward: unknown key 'gredy_reward'; did you mean 'greedy_reward'?",
    ),
    (lambda b: b.update(max_token=3), "max_token: unknown key 'max_token'; did you mean"),
    (lambda b: b.update({"a\nb": 3}), "unknown key 'a\\nb'; valid: format, max_tokens, groups"),
    (
        lambda b: sample(b).update(step_rewards=[{"end": 0, "reward": 0, "x": 1}]),
        f"{AT}.step_rewards[0].x: unknown key 'x'",
    ),
    (
        lambda b: sample(b).update(step_rewards=[{"end": 6, "reward": 0}]),
        f"{AT}.step_rewards[0].end: the answer has no token 6; valid: 0 to 5",
    ),
    (
        lambda b: sample(b).update(step_rewards=[{"end": -1, "reward": 0}]),
        f"{AT}.step_rewards[0].end: expected a whole number from 0, got -1",
    ),
    (
        lambda b: sample(b).update(step_rewards=[{"end": 1.0, "reward": 0}]),
        f"{AT}.step_rewards[0].end: expected a whole number from 0, got 1.0",
    ),
    (
        lambda b: sample(b).update(step_rewards=[{"end": 3, "reward": 0}, {"end": 2, "reward": 0}]),
        f"{AT}.step_rewards[1].end: 2 is before the end of the previous step, 3",
    ),
    (
        lambda b: sample(b).update(step_rewards=[{"end": 3}]),
        f"{AT}.step_rewards[0].reward: key 'reward' is missing",
    ),
    (lambda b: b.update(groups=[]), "groups: is empty; expected at least one group"),
    (lambda b: b.update(groups={}), "groups: expected a list, got a mapping"),
    (
        lambda b: b["groups"][1].update(samples=[]),
        "groups[1].samples: is empty; expected at least one sample",
    ),
    (lambda b: b["groups"][1].pop("samples"), "groups[1].samples: key 'samples' is missing"),
    (
        lambda b: b["groups"].append(3),
        "groups[2]: expected a group, a mapping, got 3",
    ),
    (lambda b: b["groups"][0].update(prompt=3), "groups[0].prompt: expected a text, got 3"),
    (lambda b: b.update(max_tokens=5), f"max_tokens: 5 is less than the 6 tokens of {AT}"),
    (lambda b: b.update(max_tokens=64.0), "max_tokens: expected a whole number from 1, got 64.0"),
    (lambda b: b.update(max_tokens=10**30), "max_tokens: a number of 31 digits is too large"),
    (lambda b: b.pop("max_tokens"), "max_tokens: key 'max_tokens' is missing"),
    (
        lambda b: b.update(format="grpolab.batch/2"),
        "format: expected 'grpolab.batch/1', got 'grpolab.batch/2'",
    ),
    (lambda b: b.pop("format"), "format: expected 'grpolab.batch/1', the key is missing"),
]


def good() -> dict[str, Any]:
    batch = random_batch(1, lengths=(4, 4))
    longer = sample(batch)
    for key in ("tokens", "logprobs", "old_logprobs", "ref_logprobs", "values", "entropies"):
        longer[key] += longer[key][:2]
    longer["sampler_logprobs"] += [-1.0, -1.0]
    return batch | {"max_tokens": 6}


@pytest.mark.parametrize(("change", "line"), WRONG, ids=[line for _, line in WRONG])
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, change: Change, line: str) -> None:
    batch = good()
    change(batch)
    with pytest.raises(RequestError) as told:
        checked(batch, "batch.json")
    assert str(told.value).startswith(f"batch.json: {line}")
    assert "\n" not in str(told.value)
    file = tmp_path / "x.json"
    file.write_text(json.dumps(batch))  # writes NaN and Infinity as Python's json does
    with pytest.raises(RequestError) as again:
        read(str(file))
    assert str(again.value) == str(told.value).replace("batch.json", str(file), 1)


def test_what_is_right_stays_as_it_is(tmp_path: Path) -> None:
    batch = good()
    before = copy.deepcopy(batch)
    assert checked(batch) is batch
    assert batch == before
    file = tmp_path / "b.json"
    file.write_text("\ufeff" + json.dumps(batch), encoding="utf-8")
    assert read(str(file)) == batch


@given(batches(wild=True))
def test_every_batch_of_the_generator_is_accepted(batch: dict[str, Any]) -> None:
    checked(batch)


@pytest.mark.parametrize(
    "change",
    [
        put_token("logprobs", 1e-7),
        put_token("logprobs", 0),
        put_token("logprobs", -0.0),
        put("step_rewards", []),
        put("step_rewards", [{"end": 5, "reward": 1}, {"end": 5, "reward": 0.5}]),
        lambda b: [s.pop("tokens") for g in b["groups"] for s in g["samples"]],
        lambda b: [s.update(values=None) for g in b["groups"] for s in g["samples"]],
        lambda b: [g.pop("prompt") for g in b["groups"]],
        lambda b: sample(b).pop("values"),
        lambda b: sample(b, 0, 0).pop("tokens"),
        lambda b: b["groups"][1].pop("greedy_reward"),
    ],
)
def test_what_is_odd_and_right_is_accepted(change: Change) -> None:
    batch = good()
    change(batch)
    checked(batch)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{\n\n", ":3: not valid JSON: Expecting property name"),
        ("", ":1: not valid JSON: Expecting value"),
        ('{"max_tokens": 1, "max_tokens": 2}', ": not valid JSON: key 'max_tokens' is given twice"),
        ("[" * 100_000, ": not valid JSON: "),
        ("[]", ": expected a batch, a mapping, got a list"),
        ("7", ": expected a batch, a mapping, got 7"),
        ("1" * 5000, ": not valid JSON: "),
    ],
)
def test_no_batch_at_all(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "b.json"
    file.write_text(text)
    with pytest.raises(RequestError) as told:
        read(str(file))
    assert str(told.value).startswith(f"{file}{line}")
    assert "\n" not in str(told.value)


def test_no_file(tmp_path: Path) -> None:
    for path, why in [(tmp_path / "no.json", "no such file"), (tmp_path, "is a directory")]:
        with pytest.raises(RequestError, match=why):
            read(str(path))
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="not a text file in UTF-8"):
        read(str(tmp_path / "x.json"))
