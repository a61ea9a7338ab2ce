"""Every algorithm of the package, through the lens, against the oracle: settings by settings.

A failure says which algorithm, under which settings, and which quantity of which token.
"""

from __future__ import annotations

import copy
import json
import math

import hypothesis
import pytest
from hypothesis import given

from grpolab.algorithms import ALGORITHMS
from grpolab.lens.compute import lens
from tests.algorithms.batches import TELLING
from tests.algorithms.lens_batches import FEW, batches, make_batch, random_batch
from tests.algorithms.oracle import DEFAULTS, OWN, SEQUENCE, oracle

NAMES = list(DEFAULTS)
TOLERANCE = 1e-10


# ---------------------------------------------------------------- comparing


def assert_close(what: str, got: float, want: float, scale: float = 1.0) -> None:
    allowed = TOLERANCE * max(1.0, abs(want), scale)
    assert abs(got - want) <= allowed, f"{what}: {got!r}, the oracle says {want!r}"


def assert_agrees(got: dict, want: dict, scale: float = 1.0) -> None:
    """`scale`: how large the numbers are whose sum the loss is."""
    for term in {*got["terms"], *want["terms"]}:
        pair = got["terms"].get(term, 0.0), want["terms"].get(term, 0.0)
        assert_close(f"the term {term}", *pair, scale)
    largest = max(map(abs, want["terms"].values()))
    assert_close("the loss", got["loss"], want["loss"], max(scale, largest))

    for quantity in ("advantages", "returns", "gradient"):
        if want[quantity] is None:
            continue
        for i, (group, rows) in enumerate(zip(got["groups"], want[quantity], strict=True)):
            for j, (sample, row) in enumerate(zip(group["samples"], rows, strict=True)):
                assert len(sample[quantity]) == len(row), f"{quantity} of group {i}, sample {j}"
                for t, (x, y) in enumerate(zip(sample[quantity], row, strict=True)):
                    assert_close(f"{quantity} of group {i}, sample {j}, token {t}", x, y)

    # An advantage that is zero but for rounding may fall on either branch.
    A = [a for group in want["advantages"] for row in group for a in row]
    unsure = sum(abs(a) < 1e-9 for a in A) / len(A)
    off = abs(got["metrics"]["clip_fraction"] - want["metrics"]["clip_fraction"])
    assert off <= unsure + TOLERANCE, f"clip_fraction: {got['metrics']} {want['metrics']}"
    assert got["metrics"]["zero_std_groups"] == want["metrics"]["zero_std_groups"]
    if "kl_ref" in want["metrics"]:
        assert_close("kl_ref", got["metrics"]["kl_ref"], want["metrics"]["kl_ref"])


def of_package(name: str, batch: dict, settings: dict, preset: str = "paper") -> dict:
    return lens(batch, names=[name], preset=preset, settings=settings)["algorithms"][name]


def compare(name: str, batch: dict, settings: dict) -> None:
    assert_agrees(of_package(name, batch, settings), oracle(name, batch, settings))


# ---------------------------------------------------------------- which settings

COMMON = [
    {},
    {"beta": 0.0},
    {"beta": 0.2, "kl_place": "none"},
    *({"beta": 0.2, "kl_place": "loss", "kl_estimator": k} for k in ("k1", "k2", "k3", "unbiased")),
    *({"beta": 0.2, "kl_place": "reward", "kl_estimator": k} for k in ("k1", "k2", "k3")),
    {"overlong_buffer": 0.5, "overlong_penalty": 0.7},
    {"tis_cap": 1.2},
    {"top_entropy": 0.3},
    {"beta": 0.3, "kl_estimator": "unbiased", "tis_cap": 1.5, "top_entropy": 0.5}
    | {"kl_place": "loss", "overlong_buffer": 0.4},
]
AGGREGATIONS = sorted({how for how, _ in OWN.values()} - {SEQUENCE})
CLIPS = [
    {"clip_low": 0.1, "clip_high": 0.3},
    {"clip_low": None},
    {"clip_high": None},
]
DUAL_CLIP = {"dual_clip": 1.1}
GROUP_STD = [{"ddof": 1, "std_epsilon": 1e-4}, {"ddof": 1}]
GAE = [
    {"gamma": 0.9, "gae_lambda": 0.7},
    {"gamma": 1.0, "gae_lambda": 1.0, "whiten": False},
    {"gae_lambda": 0.0},
    {"ddof": 0},
]
PPO = [*CLIPS, DUAL_CLIP, *GAE, {"value_weight": 0.3, "clip_value": 0.1}]
REINFORCE = [{"baseline": "none"}, {"baseline": "moving"}]
GRPO = [*CLIPS, DUAL_CLIP, *GROUP_STD, {"scale": "none"}]
GSPO = [
    {"clip_low": 0.1, "clip_high": 0.3},
    {"clip_low": None, "clip_high": None},
    {"dual_clip": 1.0001},
    *GROUP_STD,
]

OF_ITS_OWN: dict[str, list[dict]] = {
    "reinforce": [*REINFORCE, {"importance": True}, {"importance": True, "baseline": "none"}],
    "is-pg": REINFORCE,
    "rloo": [*CLIPS, {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 1.3}, DUAL_CLIP],
    "reinforce++": [*CLIPS, DUAL_CLIP, {"gamma": 0.9}, {"ddof": 0, "std_epsilon": 1e-3}],
    "reinforce++-baseline": [*CLIPS, DUAL_CLIP, {"ddof": 0, "std_epsilon": 1e-3}],
    "trpo": [*GAE, {"advantage": "group"}],
    "ppo-kl": GAE,
    "ppo-adaptive-kl": GAE,
    "ppo": PPO,
    "grpo": GRPO,
    "grpo-process": GRPO,
    "grpo-iterative": GRPO,
    "dr-grpo": [*CLIPS, DUAL_CLIP],
    "dapo": [*CLIPS, DUAL_CLIP, *GROUP_STD, {"overlong_buffer": 0.0}],
    "gspo": GSPO,
    "gspo-token": GSPO,
    "cispo": [*CLIPS, {"clip_low": None, "clip_high": None}, *GROUP_STD],
    "gmpo": [*CLIPS, *GROUP_STD],
    "sapo": [{"tau_positive": 2.0, "tau_negative": 5.0}, *GROUP_STD],
    "kimi-md": [{"tau": 0.7}, {"tau": 0.0}],
    "vc-ppo": [*PPO, {"critic_lambda": 0.8}],
    "vapo": [
        *(s for s in PPO if "gae_lambda" not in s or not s.get("whiten", True)),
        {"critic_lambda": 0.8, "gamma": 0.9},
        {"length_alpha": 0.5},
        {"imitation_weight": 0.4, "positive_at": 0.5},
        {"positive_at": 9.0},
    ],
    "maxrl": [*CLIPS, DUAL_CLIP],
}


def settings_of(name: str) -> tuple[list[dict], list[dict]]:
    """Those that show what the algorithm is, and those that do for it what they do for a telling
    one."""
    common = COMMON
    if name in ("ppo-kl", "ppo-adaptive-kl"):  # theirs is KL(old‖new), in the loss
        common = [
            s
            for s in common
            if s.get("kl_place") != "reward" and s.get("kl_estimator") != "unbiased"
        ]
    own = OF_ITS_OWN.get(name, [])
    if OWN[name][0] != SEQUENCE:
        common = [*common, *({"aggregation": how} for how in AGGREGATIONS)]
    if name in TELLING:
        return [*common, *own], []
    whole = [s for s in common if not s or len(s) > 4]
    return [*whole, *own], [s for s in common if s not in whole]


# ---------------------------------------------------------------- which batches


def some_alone(seed: int, **how) -> dict:
    """A batch with four groups more, of one answer of one token."""
    batch = random_batch(seed, **how)
    alone = random_batch(seed + 1, groups=4, size=1, lengths=(1, 1))["groups"]
    return batch | {"groups": alone[:2] + batch["groups"] + alone[2:]}


BATCHES = [
    some_alone(1, noise=0.4),
    some_alone(36, groups=3, size=3, rewards="binary", noise=1.0, max_tokens=10),
    some_alone(3, groups=1, size=6, lengths=(2, 6), noise=3e-4),
]


def spelled(settings: dict) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items()) or "defaults"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param(name, settings, id=f"{name}-{spelled(settings)}", marks=marks)
        for name in NAMES
        for some, marks in zip(settings_of(name), ([], [pytest.mark.slow]), strict=True)
        for settings in some
    ],
)
def test_it_computes_what_the_oracle_computes(name, settings):
    for batch in BATCHES:
        compare(name, batch, settings)


def test_the_batches_exercise_what_they_should():
    """Clipping on some tokens and not on others, ties, right and wrong answers, long ones."""
    for name in ("ppo", "grpo", "gspo", "cispo", "gmpo"):
        tight = {"clip_low": 0.1, "clip_high": 0.1} if name == "cispo" else {}
        shares = [oracle(name, b, tight)["metrics"]["clip_fraction"] for b in BATCHES]
        assert any(0 < share < 1 for share in shares), name
    assert oracle("grpo", BATCHES[1])["metrics"]["zero_std_groups"] > 4  # alone, or all alike
    assert any(oracle("vapo", b)["terms"]["imitation"] for b in BATCHES)
    assert oracle("dapo", BATCHES[0]) != oracle("dapo", BATCHES[0], {"overlong_buffer": 0.0})


NEEDS_NOTHING = ("rloo", "grpo", "dr-grpo", "dapo", "gspo", "gspo-token", "cispo", "gmpo", "sapo")


@pytest.mark.parametrize("name", [*NEEDS_NOTHING, "kimi-md", "opo", "maxrl", "raft", "reinforce"])
def test_without_the_optional_keys(name):
    optional = ("refs", "values", "greedy", "step_rewards", "sampler", "entropies")
    compare(name, random_batch(5, **dict.fromkeys(optional, False)), {"beta": 0.0})


# ---------------------------------------------------------------- particular batches


def test_steps_of_a_group_of_one_are_normalised_over_themselves():
    batch = random_batch(9, size=1, lengths=(6, 8))
    compare("grpo-process", batch, {})
    found = of_package("grpo-process", batch, {})["groups"]
    assert any(any(s["advantages"]) for group in found for s in group["samples"])


@pytest.mark.parametrize("name", ["rloo", "gspo", "gspo-token", "gmpo", "kimi-md"])
def test_only_what_is_exponentiated_is_bounded(name):
    """Not the log ratio of each token before it enters a row's sum or mean."""
    batch = random_batch(10, lengths=(4, 4))
    for group in batch["groups"]:
        for sample in group["samples"]:
            sample["logprobs"][:2] = [-1.0, -200.0]
            sample["old_logprobs"][:2] = [-200.0, -1.5]
    compare(name, batch, {"beta": 0.0})


# ---------------------------------------------------------------- whatever the batch


def loss_scale(batch: dict, want: dict) -> float:
    """The largest A·ρ or A·logp that may stand in a sum of which little remains."""
    reach = size = 0.0
    for group in batch["groups"]:
        for row in group["samples"]:
            pairs = zip(row["logprobs"], row["old_logprobs"], strict=True)
            log_rho = [new - old for new, old in pairs]
            reach = max(reach, abs(math.fsum(log_rho)), *map(abs, log_rho))
            size = max(size, -math.fsum(row["logprobs"]))
    A = max(abs(a) for group in want["advantages"] for row in group for a in row)
    return A * max(math.exp(min(reach, 300.0)), size)


def all_agree(batch: dict, names: list[str]) -> None:
    got = lens(batch, names=names, preset="paper", settings={})["algorithms"]
    for name in names:
        want = oracle(name, batch)
        try:
            assert_agrees(got[name], want, loss_scale(batch, want))
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@hypothesis.settings(max_examples=FEW)
@given(batches())
def test_all_agree_on_odd_batches(batch):
    all_agree(batch, NAMES)


@hypothesis.settings(max_examples=FEW)
@given(batches(wild=True))
def test_all_agree_where_policies_are_hundreds_of_nats_apart(batch):
    all_agree(batch, NAMES)


# ---------------------------------------------------------------- the answer as a whole


def test_the_oracle_knows_the_whole_family():
    assert sorted(NAMES) == sorted(ALGORITHMS)


def test_the_answer_is_plain_json_and_the_batch_is_left_alone():
    batch = random_batch(6)
    before = copy.deepcopy(batch)
    answer = lens(batch, names=NAMES, preset="paper", settings={})
    assert batch == before
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert list(answer["algorithms"]) == NAMES
    assert {entry["preset"] for entry in answer["algorithms"].values()} == {"paper"}


def test_cosine_compares_the_gradients():
    batch = random_batch(7)
    answer = lens(batch, names=["grpo", "ppo"], preset="paper", settings={})
    a, b = (
        [x for group in oracle(name, batch)["gradient"] for row in group for x in row]
        for name in ("grpo", "ppo")
    )
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    assert_close("cosine", answer["cosine"]["grpo"]["ppo"], dot / math.hypot(*a) / math.hypot(*b))


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.7, 0.1])
@pytest.mark.parametrize("name", [*NEEDS_NOTHING, "opo", "maxrl"])
def test_a_group_of_equal_rewards_has_exactly_no_gradient(name, reward):
    batch = random_batch(8, size=3)
    for group in batch["groups"]:
        for sample in group["samples"]:
            sample["reward"] = reward
    found = of_package(name, batch, {"beta": 0.0, "overlong_buffer": 0.0})
    for group in found["groups"]:
        for sample in group["samples"]:
            assert not any(sample["gradient"])


@pytest.mark.parametrize(
    ("preset", "right", "wrong", "odd"),
    [
        ("trl-1.16", 1.61984, -0.53995, 0.50),
        ("verl", 1.62018, -0.54006, 1.47),
        ("openrlhf", 1.62019, -0.54006, 1.50),
    ],
)
def test_presets_give_the_advantages_of_those_frameworks(preset, right, wrong, odd):
    def advantages(rewards: list[float]) -> list[float]:
        keys = ("logprobs", "old_logprobs", "ref_logprobs")
        samples = [{"reward": r} | {key: [-1.0] for key in keys} for r in rewards]
        batch = make_batch([{"prompt": "", "samples": samples}], 4)
        settings = {"kl_place": "none"}
        groups = of_package("grpo", batch, settings, preset)["groups"]
        return [sample["advantages"][0] for sample in groups[0]["samples"]]

    eight = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert advantages(eight) == pytest.approx([right if r else wrong for r in eight], abs=6e-6)
    assert advantages([0.5, 0.5, 0.5, 0.5001])[-1] == pytest.approx(odd, abs=5e-3)
