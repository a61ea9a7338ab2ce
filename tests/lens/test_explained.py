"""What --explain says in words and plain floats is what the tensors do."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from grpolab.algorithms import ALGORITHMS, explain
from grpolab.algorithms.base import Algorithm
from grpolab.lens.ask import choose
from grpolab.lens.compute import from_json, lens, look, token_facts
from tests.algorithms.lens_batches import FEW, batches, random_batch

VARIANTS: list[tuple[str, dict]] = [
    *((name, {}) for name in ALGORITHMS),
    ("reinforce", {"importance": True}),
    ("rloo", {"clip_low": 0.2, "clip_high": 0.3}),
    ("ppo", {"dual_clip": 1.05}),
    ("grpo", {"dual_clip": 1.05, "clip_low": None}),
    ("grpo", {"clip_high": None, "clip_low": 0.05, "kl_place": "reward"}),
    ("cispo", {"clip_low": 0.05, "clip_high": 0.05}),
    ("gmpo", {"clip_low": 0.05, "clip_high": 0.1}),
    ("gspo-token", {"clip_low": 0.05, "clip_high": 0.05}),
    ("trpo", {"advantage": "group"}),
    ("sapo", {"tau_positive": 3.0, "tau_negative": 5.0}),
]

SUMS = {"kimi-md"}
"""Objectives of an answer that are a sum over its tokens."""


def check(algorithm: Algorithm, data: dict, tolerance: float = 1e-12) -> set[bool]:
    """Compare every token of a batch; which answers to "clipped?" occurred."""
    batch, now = from_json(data)
    found = look(batch, now, {"it": algorithm})["it"]
    logp = now.logp.clone().requires_grad_()
    aim = algorithm.objective(batch, found.credit, type(now)(logp, now.entropy, now.value))
    (slopes,) = torch.autograd.grad(aim.surrogate.sum(), [logp])
    gains = aim.surrogate.detach().expand(logp.shape)
    clipped = torch.zeros(logp.shape, dtype=torch.bool)
    if aim.clipped is not None:
        clipped = aim.clipped.expand(logp.shape)
    if algorithm.name in SUMS:  # a token's branch is its share
        gains = found.credit.advantage * now.logp
        assert torch.allclose((gains * batch.mask).sum(1, keepdim=True), aim.surrogate.detach())
    seen: set[bool] = set()
    for i, t in batch.mask.nonzero().tolist():
        facts = token_facts(algorithm, found, batch, now, i, t)
        branch = algorithm.branch(facts)
        place = f"row {i}, token {t}: {facts}"
        assert branch.gain == pytest.approx(float(gains[i, t]), rel=tolerance, abs=1e-12), place
        assert branch.slope == pytest.approx(float(slopes[i, t]), rel=tolerance, abs=1e-12), place
        assert branch.clipped == bool(clipped[i, t]), place
        seen.add(branch.clipped)
        if branch.candidates and not branch.clipped:
            assert branch.gain in [x for _, x in branch.candidates], place
    return seen


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_the_branch_is_the_tensors_branch(name: str, settings: dict) -> None:
    algorithm = choose([name], "paper", settings)[0][name]
    seen: set[bool] = set()
    for seed, noise in ((0, 0.3), (1, 1.0), (2, 3e-4), (3, 0.0)):
        seen |= check(algorithm, random_batch(seed, noise=noise, max_tokens=20))
    bounded = {"clip_low", "clip_high"} & {
        key for key, value in algorithm.settings.model_dump().items() if value is not None
    }
    if bounded and not (name == "cispo" and not settings):
        assert seen == {True, False}


@pytest.mark.slow
@hypothesis_settings(max_examples=FEW)
@given(batches())
def test_the_branch_is_the_tensors_branch_on_odd_batches(data: dict) -> None:
    for algorithm in choose(None)[0].values():
        check(algorithm, data, 1e-9)


def test_terms_have_the_numbers_of_the_token() -> None:
    data = random_batch(4)
    group, sample, token = 1, 2, 0
    result = lens(data, explain=(group, sample, token))
    row = data["groups"][group]["samples"][sample]
    told = result["algorithms"]["grpo"]["explain"]
    values = {term["symbol"]: term["value"] for term in told["terms"]}
    rewards = [s["reward"] for s in data["groups"][group]["samples"]]
    mean = math.fsum(rewards) / len(rewards)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / len(rewards))
    assert values["m"] == pytest.approx(mean)
    assert values["s"] == pytest.approx(std)
    assert values["Â"] == pytest.approx((row["reward"] - mean) / std)
    assert values["ρ"] == pytest.approx(math.exp(row["logprobs"][0] - row["old_logprobs"][0]))
    assert values["|o|"] == len(row["logprobs"])
    assert all(term["meaning"] for term in told["terms"])
    assert told["push"] in ("up", "down", "nowhere")
    assert set(told["branch"]) == {"gain", "slope", "why", "clipped", "candidates"}


WORDS = {
    "mean", "rows", "tokens", "group", "others", "right", "over", "std", "all", "rewards",
    "step", "steps", "of", "the", "greedy", "answer", "if", "is", "highest", "else", "at",
    "last", "token", "and", "subject", "to", "min", "max", "clip", "log", "exp", "sigmoid",
    "const", "every", "few", "with", "gradient", "later", "t", "L", "Σ", "½",
}  # fmt: skip
"""What a reader knows without being told."""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_symbol_of_a_formula_is_without_its_meaning(name: str) -> None:
    told = {term.symbol for term in explain.terms(ALGORITHMS[name])}
    formula = ALGORITHMS[name].formula.replace("xᵀ", "x")
    for word in re.findall(r"[^\W\d]\w*′?(?:_\w+)?", formula):
        if word not in told:
            parts = {part for part in word.split("_") if part and not part.isdigit()}
            assert parts <= WORDS or (word == "o" and "|o|" in told), word


def test_numbers_that_depend_on_the_token_or_its_answer() -> None:
    data = random_batch(6, groups=1, lengths=(21, 60), max_tokens=400)  # no price of length
    found = lens(data, ["sapo", "vapo"], explain=(0, 0, 0))["algorithms"]
    lengths = [len(s["logprobs"]) for s in data["groups"][0]["samples"]]
    praised = [s["advantages"][0] > 0 for s in found["sapo"]["groups"][0]["samples"]]
    assert set(praised) == {True, False}
    for s, (n, good) in enumerate(zip(lengths, praised, strict=True)):
        found = lens(data, ["sapo", "vapo"], explain=(0, s, 0))["algorithms"]
        told = {
            name: {term["symbol"]: term["value"] for term in one["explain"]["terms"]}
            for name, one in found.items()
        }
        assert told["sapo"]["τ"] == (1.0 if good else 1.05)
        assert told["vapo"]["λ_policy"] == pytest.approx(1 - 1 / (0.05 * n))
    fixed = lens(data, ["vapo"], settings={"gae_lambda": 0.9}, explain=(0, 0, 0))
    terms = fixed["algorithms"]["vapo"]["explain"]["terms"]
    assert {t["symbol"]: t["value"] for t in terms}["λ_policy"] == 0.9


def test_the_formulas_r_m_and_s_give_its_advantage() -> None:
    """Also where the price of length is in r, and where m and s are over steps."""
    data = random_batch(5, lengths=(3, 8), max_tokens=8)
    for name, of in {
        "dapo": lambda v: (v["r"] - v["m"]) / v["s"],
        "grpo-iterative": lambda v: (v["r"] - v["m"]) / v["s"],
        "dr-grpo": lambda v: v["r"] - v["m"],
        "maxrl": lambda v: (v["r"] - v["m"]) / v["m"] if v["m"] > 0 else 0.0,
    }.items():
        for s in range(4):
            told = lens(data, [name], explain=(0, s, 1))["algorithms"][name]["explain"]
            values = {term["symbol"]: term["value"] for term in told["terms"]}
            assert values["Â"] == pytest.approx(of(values)), (name, s)
    steps = [x["reward"] for s in data["groups"][0]["samples"] for x in s["step_rewards"]]
    told = lens(data, ["grpo-process"], explain=(0, 0, 0))["algorithms"]["grpo-process"]["explain"]
    values = {term["symbol"]: term["value"] for term in told["terms"]}
    assert values["m"] == pytest.approx(math.fsum(steps) / len(steps))
