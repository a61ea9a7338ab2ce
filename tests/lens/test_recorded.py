"""A recorded rollout, read back: what the engine packed is what the lens computes with."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from front.synthetic import run_events, started, write

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Report
from grpolab.engine.record import channels
from grpolab.errors import RequestError
from grpolab.lens.batch_file import checked, from_run
from grpolab.lens.compute import from_json, lens
from grpolab.record import codec
from grpolab.record import events as ev
from tests.algorithms.lens_batches import random_batch
from tests.tui.fake_run import FakeRun

NEVER_RECORDED = {"sampler_logprobs"}


def step_of(batch: dict[str, Any], step: int = 1, lane: str = "main") -> list[ev.Event]:
    """The events of a step whose rollout is `batch`, as the engine would write them."""
    tensors, now = from_json(batch)
    tensors = replace(tensors, critic_age=0)
    report = Report(logp=now.logp, ratio=(now.logp - tensors.old_logp).exp(), entropy=now.entropy)
    credit = ALGORITHMS["ppo"](ALGORITHMS["ppo"].Settings()).credit(tensors)
    rows = [s for g in batch["groups"] for s in g["samples"]]
    pieces = [row["tokens"] for row in rows]
    size = len(batch["groups"][0]["samples"])
    prompts = [g["prompt"] for g in batch["groups"]]
    return [
        ev.RolloutStarted(
            step, lane, "ppo", prompts, ["easy"] * len(prompts), size, batch["max_tokens"]
        ),
        ev.Graded(
            step, lane, ["".join(p) for p in pieces], [row["reward"] for row in rows],
            [{} for _ in rows], [False] * len(rows), [None] * len(rows), [len(p) for p in pieces],
            [True] * len(rows),
            steps=[[(x["end"], x["reward"]) for x in row["step_rewards"]] for row in rows],
            greedy_reward=[g["greedy_reward"] for g in batch["groups"]],
        ),
        ev.Tokens(step, lane, pieces, channels(tensors, credit, report)),
    ]  # fmt: skip


def test_a_lane_of_a_shipped_scenario_by_its_former_name(tmp_path: Path) -> None:
    batch = random_batch(1, noise=0.01, groups=1)

    def recorded(name: str) -> Path:
        begun = replace(started(), scenario=started().scenario | {"name": name})
        return write(tmp_path / name, [begun, *step_of(batch, lane="strong")])

    run = recorded("kl-penalty")
    assert from_run(run, 1, "short") == from_run(run, 1, "strong")
    with pytest.raises(RequestError, match="no lane 'short'"):
        from_run(recorded("mine"), 1, "short")


def test_a_recorded_rollout_is_the_rollout(tmp_path: Path) -> None:
    batch = random_batch(1, noise=0.01, groups=3)
    run = write(tmp_path / "run", [started(), *step_of(batch)])
    found = checked(from_run(run, 1, "main"))
    assert found["max_tokens"] == batch["max_tokens"]
    for group, recorded in zip(batch["groups"], found["groups"], strict=True):
        assert recorded["prompt"] == group["prompt"]
        assert recorded["greedy_reward"] == group["greedy_reward"]
        for sample, again in zip(group["samples"], recorded["samples"], strict=True):
            assert set(again) == set(sample) - NEVER_RECORDED
            for key in ("tokens", "reward", "step_rewards"):
                assert again[key] == sample[key]
            for key in ("values", "entropies", "old_logprobs"):
                assert again[key] == pytest.approx(sample[key], rel=2**-11, abs=1e-7)
            for a, b in (("logprobs", "old_logprobs"), ("old_logprobs", "ref_logprobs")):
                gap = [x - y for x, y in zip(again[a], again[b], strict=True)]
                true = [x - y for x, y in zip(sample[a], sample[b], strict=True)]
                assert gap == pytest.approx(true, rel=2**-10, abs=1e-7)


def test_every_algorithm_sees_nearly_the_same(tmp_path: Path) -> None:
    batch = random_batch(2, noise=0.02, groups=3)
    recorded = from_run(write(tmp_path / "run", [started(), *step_of(batch)]))
    exact, rounded = (lens(b)["algorithms"] for b in (batch, recorded))
    assert set(rounded) == set(exact)
    for name, entry in exact.items():
        assert rounded[name]["terms"] == pytest.approx(entry["terms"], rel=2e-3, abs=2e-3)
        if name.startswith("gspo"):
            continue  # with ε of 3e-4 rounding decides about clipping
        for group, other in zip(entry["groups"], rounded[name]["groups"], strict=True):
            for sample, again in zip(group["samples"], other["samples"], strict=True):
                assert again["gradient"] == pytest.approx(sample["gradient"], rel=1e-2, abs=1e-3)


def test_rounding_lifts_nothing_above_0(tmp_path: Path) -> None:
    """Log-probs so near 0 that the rounded old one and the rounded difference add up to more."""
    batch = random_batch(3, groups=1, size=1, lengths=(8, 8), noise=0.01)
    row = batch["groups"][0]["samples"][0]
    row["logprobs"] = [-1e-9] * 8
    row["old_logprobs"] = [-0.01 * (t + 1.01) for t in range(8)]
    row["ref_logprobs"] = [-1e-8] * 8
    found = checked(from_run(write(tmp_path / "run", [started(), *step_of(batch)])))
    again = found["groups"][0]["samples"][0]
    assert max(again["logprobs"]) <= 0
    gap = [x - y for x, y in zip(again["logprobs"], again["old_logprobs"], strict=True)]
    true = [x - y for x, y in zip(row["logprobs"], row["old_logprobs"], strict=True)]
    assert gap == pytest.approx(true, rel=2**-10)
    assert again["old_logprobs"] == pytest.approx(row["old_logprobs"], rel=2**-10)


def test_an_old_run_without_the_newer_channels(tmp_path: Path) -> None:
    batch = random_batch(4, noise=0.05)
    events = step_of(batch)
    tokens = events[-1]
    assert isinstance(tokens, ev.Tokens)
    kept = {k: v for k, v in tokens.channels.items() if k not in ev.FOR_THE_LENS}
    events[-1] = replace(tokens, channels=kept)
    graded = events[1]
    assert isinstance(graded, ev.Graded)
    events[1] = replace(graded, steps=[], greedy_reward=[])
    found = checked(from_run(write(tmp_path / "run", [started(), *events])))
    sample, again = batch["groups"][0]["samples"][0], found["groups"][0]["samples"][0]
    assert not {"ref_logprobs", "step_rewards"} & set(again)
    assert "greedy_reward" not in found["groups"][0]
    gap = [x - y for x, y in zip(again["logprobs"], again["old_logprobs"], strict=True)]
    true = [x - y for x, y in zip(sample["logprobs"], sample["old_logprobs"], strict=True)]
    assert gap == pytest.approx(true, abs=1e-3)
    answer = lens(found)
    assert answer["left_out"]["grpo"].startswith("needs ref_logprobs")
    assert "dr-grpo" in answer["algorithms"]


def test_which_step_and_lane(tmp_path: Path) -> None:
    one, two = random_batch(5), random_batch(6)
    events = [
        started(), *step_of(one, 1, "a"), *step_of(two, 1, "b"), *step_of(two, 2, "a"),
        *step_of(one, 4, "a"), *step_of(one, 5, "a")[:2],
    ]  # fmt: skip
    run = write(tmp_path / "run", events)

    def rewards(*where: Any) -> list[float]:
        return [s["reward"] for g in from_run(run, *where)["groups"] for s in g["samples"]]

    of_one, of_two = ([s["reward"] for g in b["groups"] for s in g["samples"]] for b in (one, two))
    assert of_one != of_two
    assert rewards() == rewards(4, "a") == rewards(1) == of_one
    assert rewards(2) == rewards(None, "b") == of_two
    for where, line in [
        ((3, "a"), "no step 3 in lane a; recorded: 1 to 2, 4"),
        ((5, "a"), "no step 5 in lane a"),
        ((1, "c"), "no lane 'c'; valid: a, b"),
    ]:
        with pytest.raises(RequestError) as told:
            from_run(run, *where)
        assert str(told.value).startswith(f"{run}: {line}")


def test_what_a_resume_made_void_is_not_read(tmp_path: Path) -> None:
    kept, void = random_batch(7), random_batch(8)
    events = [
        started(), *step_of(kept, 1), ev.Checkpointed(1, "checkpoints/step-000001"),
        *step_of(void, 2), ev.Resumed(1),
    ]  # fmt: skip
    found = from_run(write(tmp_path / "run", events))
    assert found["groups"][0]["samples"][0]["reward"] == kept["groups"][0]["samples"][0]["reward"]


def test_a_run_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="lane main has no step with its tokens"):
        events = [e for e in run_events(2) if not isinstance(e, ev.Tokens)]
        from_run(write(tmp_path / "a", events))
    with pytest.raises(RequestError, match="no lane 'main'; nothing is recorded yet"):
        from_run(write(tmp_path / "b", [started()]), lane="main")
    with pytest.raises(RequestError, match="its log-probabilities are not recorded"):
        from_run(write(tmp_path / "c", run_events(2)))
    with pytest.raises(RequestError, match=r"events\.jsonl: "):
        from_run(tmp_path / "nothing")


def test_a_diverged_run_is_refused_by_name(tmp_path: Path) -> None:
    batch = random_batch(9)
    events = step_of(batch)
    tokens = events[-1]
    assert isinstance(tokens, ev.Tokens)
    count = sum(map(len, tokens.pieces))
    bad = codec.pack(struct.pack(f"<{count}e", *([float("nan")] * count)))
    events[-1] = replace(tokens, channels=tokens.channels | {"log_ratio": bad})
    run = write(tmp_path / "run", [started(), *events])
    with pytest.raises(RequestError, match=r"groups\[0\].samples\[0\].\w*logprobs\[0\]: NaN"):
        lens(from_run(run), where=str(run))


def test_the_screens_made_up_run_can_be_looked_at(tmp_path: Path) -> None:
    FakeRun(steps=3, switches={1: "ppo"}).write(tmp_path / "run")
    answer = lens(from_run(tmp_path / "run", 3), settings={"beta": 0.0})
    assert {"grpo", "ppo"} <= set(answer["algorithms"])
    assert torch.tensor(list(answer["cosine"]["grpo"].values())).isfinite().all()
