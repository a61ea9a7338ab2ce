"""The lens's JSON object: its shape, its numbers where they can be said in advance, and who is left
out of it. (That every algorithm computes what it should is `tests/algorithms`' affair.)"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from grpolab.algorithms import ALGORITHMS
from grpolab.errors import RequestError
from grpolab.lens.compute import from_json, lens, look
from grpolab.lens.show import disagreements
from tests.algorithms.lens_batches import make_batch, random_batch, token_count

EIGHT = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
BARE = dict.fromkeys(("refs", "values", "greedy", "step_rewards", "sampler", "entropies"), False)


def one_token_each(rewards: list[float], **more: Any) -> dict[str, Any]:
    logprobs = {"logprobs": [-1.0], "old_logprobs": [-1.0], "ref_logprobs": [-1.0]}
    samples = [{"reward": r} | logprobs | more for r in rewards]
    return make_batch([{"prompt": "", "samples": samples}], 4)


def each(entry: dict[str, Any], what: str) -> Iterator[float]:
    return (x for g in entry["groups"] for s in g["samples"] for x in s[what])


# ---------------------------------------------------------------- the shape


def test_the_shape_of_the_answer() -> None:
    batch = random_batch(1, groups=3)
    answer = lens(batch)
    assert set(answer) == {"algorithms", "cosine", "left_out", "groups"}
    assert list(answer["algorithms"]) == list(ALGORITHMS)
    assert answer["left_out"] == {}
    for name, entry in answer["algorithms"].items():
        assert set(entry) == {
            "preset", "settings", "aggregation", "loss", "terms", "metrics", "groups",
        }  # fmt: skip
        assert entry["preset"] == "paper"
        assert set(entry["settings"]) == set(ALGORITHMS[name].Settings.model_fields)
        assert {"policy", "kl", "value"} <= set(entry["terms"])
        assert entry["loss"] == pytest.approx(math.fsum(entry["terms"].values()))
        metrics = entry["metrics"]
        assert {
            "clip_fraction", "kl_ref", "kl_old", "ratio_max", "ratio_min", "zero_std_groups",
            "advantage_std",
        } <= set(metrics)  # fmt: skip
        assert type(metrics["zero_std_groups"]) is int
        with_critic = ALGORITHMS[name](ALGORITHMS[name].Settings()).needs_critic
        assert ("explained_variance" in metrics) == with_critic
        assert len(entry["groups"]) == len(batch["groups"])
        for group, asked in zip(entry["groups"], batch["groups"], strict=True):
            for sample, given in zip(group["samples"], asked["samples"], strict=True):
                assert set(sample) == {"advantages", "returns", "gradient"}
                assert len(sample["gradient"]) == len(given["logprobs"])
                assert len(sample["advantages"]) == len(given["logprobs"])
                assert (sample["returns"] is not None) == with_critic
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_the_cosines() -> None:
    answer = lens(random_batch(2))
    cosine = answer["cosine"]
    assert list(cosine) == list(ALGORITHMS)
    for a in cosine:
        assert list(cosine[a]) == list(ALGORITHMS)
        assert cosine[a][a] == float(any(each(answer["algorithms"][a], "gradient")))
        for b in cosine:
            assert cosine[a][b] == cosine[b][a]
            assert -1 <= cosine[a][b] <= 1
    assert cosine["grpo"]["grpo-iterative"] == pytest.approx(1.0)


def test_a_gradient_of_zero_is_like_no_other() -> None:
    answer = lens(one_token_each([1.0, 1.0]), ["reinforce", "dr-grpo", "raft"])
    assert set(each(answer["algorithms"]["dr-grpo"], "gradient")) == {0.0}
    assert answer["cosine"]["dr-grpo"] == {"reinforce": 0.0, "dr-grpo": 0.0, "raft": 0.0}
    assert answer["cosine"]["raft"]["raft"] == 1.0
    assert answer["algorithms"]["dr-grpo"]["metrics"]["zero_std_groups"] == 1


def test_a_tiny_gradient_still_has_a_direction() -> None:
    answer = lens(one_token_each([1e-90, -1e-90]), ["dr-grpo", "rloo"])
    assert answer["cosine"]["rloo"]["dr-grpo"] == pytest.approx(1.0)


def test_float64_and_nothing_written_to_the_batch() -> None:
    batch = random_batch(3)
    before = json.dumps(batch)
    torch.set_default_dtype(torch.float32)
    samples = lens(batch, ["dr-grpo"])["algorithms"]["dr-grpo"]["groups"][0]["samples"]
    assert json.dumps(batch) == before
    rewards = [s["reward"] for s in batch["groups"][0]["samples"]]
    mean = math.fsum(rewards) / len(rewards)
    assert samples[0]["advantages"][0] == pytest.approx(rewards[0] - mean, rel=1e-14)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("name", "preset", "right", "wrong"),
    [
        ("grpo", "trl-1.16", 1.61984, -0.53995),
        ("grpo", "verl", 1.62018, -0.54006),
        ("grpo", "openrlhf", 1.62019, -0.54006),
        ("grpo", "paper", 1.73205, -0.57735),
        ("dr-grpo", "paper", 0.75, -0.25),
        ("rloo", "paper", 0.85714, -0.28571),
        ("maxrl", "paper", 3.0, -1.0),
    ],
)
def test_the_table_of_presets(name: str, preset: str, right: float, wrong: float) -> None:
    entry = lens(one_token_each(EIGHT), [name], preset)["algorithms"][name]
    expected = [right if r else wrong for r in EIGHT]
    assert list(each(entry, "advantages")) == pytest.approx(expected, abs=6e-6)
    assert entry["preset"] == preset
    # the loss is 0 where the ratio is 1, the gradient is not
    assert entry["loss"] == pytest.approx(0, abs=1e-5)
    total = 8 * 4 if name == "dr-grpo" else 8  # it divides by max_tokens too
    assert list(each(entry, "gradient")) == pytest.approx([-a / total for a in expected], abs=1e-5)


def test_the_gradient_is_of_the_whole_loss() -> None:
    """Central differences, KL, value and imitation included."""
    batch, h = random_batch(4, groups=2, size=2, lengths=(2, 3), noise=0.05), 1e-6
    names = ["grpo", "vapo", "reinforce++-baseline", "kimi-md", "ppo-kl"]
    found = lens(batch, names)["algorithms"]
    logprobs = batch["groups"][1]["samples"][0]["logprobs"]
    before, sides = logprobs[1], []
    for step in (h, -h):
        logprobs[1] = before + step
        sides.append(lens(batch, names)["algorithms"])
    for name in names:
        slope = (sides[0][name]["loss"] - sides[1][name]["loss"]) / (2 * h)
        gradient = found[name]["groups"][1]["samples"][0]["gradient"][1]
        assert gradient == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_clip_fraction_counts_tokens_also_where_answers_are_clipped() -> None:
    def sample(reward: float, drift: float, n: int) -> dict[str, Any]:
        return {"reward": reward, "logprobs": [-1.0] * n, "old_logprobs": [-1.0 - drift] * n}

    batch = make_batch([{"samples": [sample(1.0, 0.1, 3), sample(0.0, 0.0, 5)]}], 5)
    metrics = lens(batch, ["gspo"])["algorithms"]["gspo"]["metrics"]
    assert metrics["clip_fraction"] == 3 / 8
    assert metrics["ratio_max"] == pytest.approx(math.exp(0.1))
    assert metrics["ratio_min"] == 1.0
    assert metrics["kl_old"] == pytest.approx(3 / 8 * (math.expm1(0.1) - 0.1))
    assert "kl_ref" not in metrics


def test_kl_ref_is_k3_of_the_policy_now() -> None:
    batch = random_batch(5)
    rows = [s for g in batch["groups"] for s in g["samples"]]
    d = [q - p for s in rows for p, q in zip(s["logprobs"], s["ref_logprobs"], strict=True)]
    k3 = math.fsum(math.expm1(x) - x for x in d) / token_count(batch)
    assert lens(batch, ["ppo"])["algorithms"]["ppo"]["metrics"]["kl_ref"] == pytest.approx(k3)


def test_a_critics_warm_up_is_over_in_a_batch() -> None:
    cold = lens(random_batch(6), ["ppo"], settings={"critic_warmup": 9})["algorithms"]["ppo"]
    warm = lens(random_batch(6), ["ppo"])["algorithms"]["ppo"]
    assert cold["groups"] == warm["groups"]
    assert cold["terms"] == warm["terms"]


def test_the_engine_may_look_too() -> None:
    """Tensors of another type, attached to a graph."""
    batch, now = from_json(random_batch(7))
    single = {
        name: x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for name, x in vars(batch).items()
    }
    scale = torch.ones((), requires_grad=True)
    attached = type(now)(now.logp.float() * scale, now.entropy.float(), single["value"])
    algorithms = {"it": ALGORITHMS["grpo"](ALGORITHMS["grpo"].Settings())}
    with torch.no_grad():
        found = look(type(batch)(**(single | {"steps": None})), attached, algorithms)["it"]
    exact = look(batch, now, algorithms)["it"]
    assert found.gradient.dtype == torch.float32
    assert not found.gradient.requires_grad
    assert torch.allclose(found.gradient.double(), exact.gradient, atol=1e-6)
    assert scale.grad is None


def test_an_algorithm_whose_policy_waits_has_no_gradient() -> None:
    from dataclasses import replace

    batch, now = from_json(random_batch(8))
    ppo = ALGORITHMS["ppo"]
    waiting = ppo(ppo.Settings(critic_warmup=3))
    found = look(replace(batch, critic_age=1), now, {"ppo": waiting})["ppo"]
    assert not found.gradient.any()
    assert set(found.loss.terms) == {"value"}


# ---------------------------------------------------------------- settings


def test_settings_are_given_as_they_were_used() -> None:
    settings = {"beta": 0.5, "clip_high": "none", "kl_estimator": "k1"}
    used = lens(random_batch(1), ["grpo"], "verl", settings)["algorithms"]["grpo"]["settings"]
    assert (used["beta"], used["clip_high"], used["kl_estimator"]) == (0.5, None, "k1")
    assert (used["ddof"], used["std_epsilon"], used["aggregation"]) == (1, 1e-6, "token-mean")


@pytest.mark.parametrize("word", ["none", None])
def test_none_is_whatever_the_setting_takes(word: str | None) -> None:
    def settings(name: str, key: str) -> Any:
        entry = lens(random_batch(1), [name], settings={key: word})["algorithms"][name]
        return entry["settings"][key]

    assert settings("reinforce", "baseline") == "none"
    assert settings("grpo", "scale") == "none"
    assert settings("grpo", "kl_place") == "none"
    assert settings("grpo", "clip_high") is None
    assert settings("ppo", "tis_cap") is None


def test_the_spellings_that_are_promised() -> None:
    promised = {
        "beta": 0.1, "baseline": "moving", "clip_low": 0.1, "clip_high": 0.1, "gamma": 0.9,
        "gae_lambda": 0.9, "kl_estimator": "k2", "kl_place": "loss", "aggregation": "token-mean",
    }  # fmt: skip
    for key, value in promised.items():
        found = lens(random_batch(1), settings={key: value})["algorithms"]
        assert found
        assert {entry["settings"][key] for entry in found.values()} == {value}


@pytest.mark.parametrize(
    ("names", "preset", "settings", "line"),
    [
        (["gpro"], "paper", {}, "unknown algorithm 'gpro'; did you mean"),
        (["grpo"], "paper", {"bata": 1}, "grpo has no setting 'bata'; did you mean 'beta'?"),
        (["gspo"], "paper", {"aggregation": "token-mean"}, "gspo has no setting 'aggregation'"),
        (
            ["grpo"],
            "paper",
            {"beta": -1.0},
            "grpo does not take beta=-1.0: expected a value greater than or equal to 0, got -1.0",
        ),
        (["grpo"], "paper", {"beta": "x"}, "grpo does not take beta=x: expected a number, got 'x'"),
        (["grpo"], "trl", {}, "grpo has no preset 'trl'"),
        (None, "paper", {"bata": 1}, "no algorithm has a setting 'bata'; did you mean 'beta'?"),
        (None, "trl-1.61", {}, "no algorithm has a preset 'trl-1.61'; did you mean 'trl-1.16'?"),
        (None, "paper", {"tau": -1}, "kimi-md does not take tau=-1: expected"),
        (None, "paper", {"beta": "x"}, "reinforce does not take beta=x: expected a number"),
        (
            None,
            "paper",
            {"tau": 1.0, "resample": 1},
            "no algorithm has all of these: tau, resample",
        ),
        (None, "paper", {"entropy_bonus": 0.1}, "here: an algorithm cannot have an entropy_bonus"),
        (["ppo"], "paper", {"entropy_bonus": 0.1}, "here: an algorithm cannot have an entropy_b"),
        (["grpo"], "paper", {"beta": float("inf")}, "here: grpo cannot be computed: it overflows"),
        (["grpo"], "paper", {"beta": float("nan")}, "grpo does not take beta=nan: expected"),
    ],
)
def test_a_wrong_request_is_one_line(
    names: list[str] | None, preset: str, settings: dict[str, Any], line: str
) -> None:
    with pytest.raises(RequestError) as told:
        lens(random_batch(1), names, preset, settings, where="here")
    assert str(told.value).startswith(line)
    assert "\n" not in str(told.value)


def test_who_does_not_take_a_setting_is_left_out() -> None:
    answer = lens(random_batch(1), settings={"clip_low": 0.1})
    assert answer["left_out"]["reinforce"] == "has no setting 'clip_low'"
    assert {"reinforce", "sapo", "trpo"} <= set(answer["left_out"])
    assert set(answer["algorithms"]) | set(answer["left_out"]) == set(ALGORITHMS)
    assert not set(answer["algorithms"]) & set(answer["left_out"])
    answer = lens(random_batch(1), preset="trl-1.16")
    assert answer["left_out"]["vapo"] == "has no preset 'trl-1.16'"
    assert "grpo" in answer["algorithms"]


# ---------------------------------------------------------------- what a batch lacks


@pytest.mark.parametrize(
    ("key", "name", "settings"),
    [
        ("values", "ppo", {}),
        ("ref_logprobs", "grpo", {}),
        ("ref_logprobs", "rloo", {"beta": 0.1}),
        ("greedy_reward", "remax", {}),
        ("step_rewards", "grpo-process", {}),
        ("entropies", "dapo", {"top_entropy": 0.5}),
        ("sampler_logprobs", "dapo", {"tis_cap": 2.0}),
    ],
)
def test_one_that_was_named_says_what_it_needs(
    key: str, name: str, settings: dict[str, Any]
) -> None:
    batch = random_batch(1)
    for group in batch["groups"]:
        group.pop(key, None)
        for sample in group["samples"]:
            sample.pop(key, None)
    with pytest.raises(RequestError) as told:
        lens(batch, [name], settings=settings, where="b.json")
    assert str(told.value).startswith(f"b.json: {name} needs {key} ")
    if not settings:
        answer = lens(batch)
        assert answer["left_out"][name].startswith(f"needs {key} ")
        assert name not in answer["algorithms"]


@pytest.mark.parametrize(
    ("key", "place", "name"),
    [
        ("values", "groups[1].samples[2]", "ppo"),
        ("ref_logprobs", "groups[0].samples[0]", "grpo"),
        ("step_rewards", "groups[1].samples[0]", "grpo-process"),
        ("greedy_reward", "groups[1]", "remax"),
    ],
)
def test_what_one_sample_lacks_nobody_can_use(key: str, place: str, name: str) -> None:
    batch = random_batch(1)
    numbers = [int(part.partition("]")[0]) for part in place.split("[")[1:]]
    part = batch["groups"][numbers[0]]
    part = part["samples"][numbers[1]] if numbers[1:] else part
    del part[key]
    answer = lens(batch)
    assert answer["left_out"][name].startswith(f"needs {key} (")
    assert answer["left_out"][name].endswith(f", and {place} has none")
    whole = random_batch(1)
    for other in whole["groups"]:
        other.pop(key, None)
        for sample in other["samples"]:
            sample.pop(key, None)
    assert answer["algorithms"] == lens(whole)["algorithms"]
    with pytest.raises(RequestError, match=f"b.json: {name} needs {key}"):
        lens(batch, [name], where="b.json")


def test_tokens_of_some_samples_are_enough() -> None:
    batch = random_batch(1)
    del batch["groups"][0]["samples"][1]["tokens"]
    answer = lens(batch)
    assert set(answer["algorithms"]) == set(ALGORITHMS)
    assert answer["groups"][0]["samples"][1]["tokens"] is None
    texts = [one["text"] for one in disagreements(answer, "grpo", "ppo", 10_000)]
    assert texts.count(None) == len(batch["groups"][0]["samples"][1]["logprobs"])


def test_who_overflows_is_left_out_and_the_others_are_not() -> None:
    batch = random_batch(1)
    batch["groups"][0]["samples"][0]["logprobs"][0] = -1e90  # its square, times a reward …
    batch["groups"][0]["samples"][0]["reward"] = 1e99
    answer = lens(batch, settings={"beta": 1e200})
    assert answer["left_out"]["grpo"].startswith("cannot be computed: ")
    assert {"raft", "opo"} <= set(answer["left_out"]) | set(answer["algorithms"])
    assert answer["algorithms"]
    with pytest.raises(RequestError, match=r"^here: grpo cannot be computed"):
        lens(batch, ["grpo"], settings={"beta": 1e200}, where="here")


def test_ratios_are_exact_up_to_hundreds_of_nats() -> None:
    sample = {"logprobs": [-1.0, -2.0], "old_logprobs": [-251.0, -2.0], "reward": 0.0}
    other = {"logprobs": [-1.0], "old_logprobs": [-1.0], "reward": 1.0}
    batch = {
        "format": "grpolab.batch/1", "max_tokens": 2, "groups": [{"samples": [sample, other]}],
    }  # fmt: skip
    found = lens(batch, ["dr-grpo"])["algorithms"]["dr-grpo"]
    gradient = found["groups"][0]["samples"][0]["gradient"]
    assert gradient == pytest.approx([0.5 * math.exp(250) / (2 * 2), 0.5 / (2 * 2)], rel=1e-12)


def test_a_bare_batch_is_enough_for_most() -> None:
    answer = lens(random_batch(1, **BARE), settings={"beta": 0.0})
    assert set(answer["left_out"]) == {
        "remax", "trpo", "ppo-kl", "ppo-adaptive-kl", "ppo", "vc-ppo", "vapo", "grpo-process",
    }  # fmt: skip
    assert "kl_ref" not in answer["algorithms"]["grpo"]["metrics"]


def test_nobody_can_look() -> None:
    with pytest.raises(RequestError, match="needs entropies"):
        lens(random_batch(1, **BARE), settings={"top_entropy": 0.5})


def test_whoever_calls_a_wrong_batch_is_refused() -> None:
    batch = random_batch(1)
    batch["groups"][0]["samples"][1]["logprobs"][0] = float("nan")
    with pytest.raises(RequestError, match=r"^batch: groups\[0\].samples\[1\].logprobs\[0\]: NaN"):
        lens(batch)


# ---------------------------------------------------------------- disagreements


def test_disagreements() -> None:
    batch = random_batch(9, groups=2, size=3)
    answer = lens(batch, ["grpo", "ppo"])
    found = disagreements(answer, "grpo", "ppo", 5)
    assert len(found) == 5
    norms = {n: math.hypot(*each(answer["algorithms"][n], "gradient")) for n in ("grpo", "ppo")}
    gaps = []
    for x in found:
        g, s, t = x["group"], x["sample"], x["token"]
        for side, name in (("a", "grpo"), ("b", "ppo")):
            gradient = answer["algorithms"][name]["groups"][g]["samples"][s]["gradient"][t]
            assert x[side] == pytest.approx(gradient / norms[name])
        assert x["text"] == batch["groups"][g]["samples"][s]["tokens"][t]
        gaps.append(abs(x["a"] - x["b"]))
    assert gaps == sorted(gaps, reverse=True)
    everywhere = disagreements(answer, "grpo", "ppo", 10_000)
    assert len(everywhere) == token_count(batch)
    assert max(abs(x["a"] - x["b"]) for x in everywhere) == gaps[0]
    with pytest.raises(RequestError, match="'dapo' was not computed"):
        disagreements(answer, "grpo", "dapo", 5)
    with pytest.raises(RequestError, match=r"^ppo needs values"):
        disagreements(lens(random_batch(1, values=False)), "grpo", "ppo", 5)


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((2, 0, 0), "no group 2 in the batch; valid: 0 to 1"),
        ((1, 4, 0), "no sample 4 in group 1; valid: 0 to 3"),
        ((0, 0, 99), "no token 99 in sample 0 of group 0; valid: 0 to"),
    ],
)
def test_explaining_what_is_not_there(place: tuple[int, int, int], line: str) -> None:
    with pytest.raises(RequestError) as told:
        lens(random_batch(1), explain=place)
    assert str(told.value).startswith(line)
