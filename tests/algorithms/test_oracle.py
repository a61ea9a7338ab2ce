"""The oracle against itself, the papers' numbers and worked examples; none of the package."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given

from tests.algorithms.lens_batches import batches, make_batch, random_batch, token_count
from tests.algorithms.oracle import DEFAULTS, OWN, SEQUENCE, kl_estimate, oracle

NAMES = list(DEFAULTS)
PLAIN = {"kl_place": "none"}  # nothing but the policy (and value) terms


def rows(batch: dict) -> list[dict]:
    return [row for group in batch["groups"] for row in group["samples"]]


def flat(by_group: list) -> list[float]:
    return [x for group in by_group for row in group for x in row]


def changed(batch: dict, change: Callable[[dict], None]) -> dict:
    """A copy with every sample changed."""
    batch = copy.deepcopy(batch)
    for row in rows(batch):
        change(row)
    return batch


def on_policy(batch: dict) -> dict:
    return changed(batch, lambda row: row.update(logprobs=list(row["old_logprobs"])))


def one_token_each(rewards: list[float]) -> dict:
    samples = [{"reward": r, "logprobs": [-1.0], "old_logprobs": [-1.0]} for r in rewards]
    return make_batch([{"prompt": "", "samples": samples}], 4)


def close(a: list[float], b: list[float], tolerance: float = 1e-12) -> None:
    assert a == pytest.approx(b, rel=tolerance, abs=tolerance)


# ---------------------------------------------------------------- gradients by differences


def numeric_gradient(name: str, batch: dict, settings: dict, h: float = 1e-5) -> Iterator:
    """(analytic, central difference) of every token that has no kink within h."""
    found = oracle(name, batch, settings)
    batch = copy.deepcopy(batch)
    for row, analytic in zip(rows(batch), (r for g in found["gradient"] for r in g), strict=True):
        for t, slope in enumerate(analytic):
            middle = row["logprobs"][t]
            sides = []
            for step in (-h, h):
                row["logprobs"][t] = middle + step
                sides.append(oracle(name, batch, settings))
            row["logprobs"][t] = middle
            if all(side["clipped"] == found["clipped"] for side in sides):
                yield slope, (sides[1]["loss"] - sides[0]["loss"]) / (2 * h)


# What holds a factor constant has no loss to difference; these are compared by identities below.
STOPS_GRADIENT = {"gspo-token", "cispo"}
# KL(old‖new) is sampled from old: nothing to weigh.
UNUSED = {("ppo-kl", "unbiased"), ("ppo-adaptive-kl", "unbiased")}
EVERYTHING = {"beta": 0.3, "kl_place": "loss", "tis_cap": 1.1, "overlong_buffer": 0.5}


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        (name, estimator)
        for name in NAMES
        for estimator in ("k1", "k2", "k3", "unbiased")
        if name not in STOPS_GRADIENT and (name, estimator) not in UNUSED
    ],
)
def test_the_gradient_is_that_of_the_loss(name, estimator):
    compared = 0
    for seed, noise in [(0, 0.3), (1, 0.01)]:
        batch = random_batch(seed, groups=1, size=5, lengths=(1, 5), noise=noise)
        for analytic, numeric in numeric_gradient(
            name, batch, EVERYTHING | {"kl_estimator": estimator}
        ):
            assert analytic == pytest.approx(numeric, rel=1e-6, abs=1e-8)
            compared += 1
    assert compared > 15


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("reinforce", {"importance": True, "baseline": "none"}),
        ("rloo", {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 1.3}),
        ("ppo", {"dual_clip": 1.3}),
        ("grpo", {"dual_clip": 1.3, "clip_low": None, "scale": "none"}),
        ("gmpo", {"clip_low": 0.1, "clip_high": 0.1}),
        ("trpo", {"advantage": "group"}),
        ("sapo", {"tau_positive": 3.0, "tau_negative": 4.0}),
    ],
)
def test_the_gradient_is_that_of_the_loss_also_with_own_settings(name, settings):
    batch = random_batch(3, size=4, lengths=(1, 6), noise=0.4)
    clip_fraction = oracle(name, batch, settings)["metrics"]["clip_fraction"]
    if "clip_low" in DEFAULTS[name]:
        assert 0 < clip_fraction < 1
    pairs = list(numeric_gradient(name, batch, settings))
    close(*map(list, zip(*pairs, strict=True)), tolerance=1e-7)


def test_cispo_is_a_weighted_likelihood():
    batch = random_batch(4, noise=0.8)
    everywhere = {"clip_low": -9.0, "clip_high": 9.0}  # the weight is 10 on every token
    for analytic, numeric in numeric_gradient("cispo", batch, everywhere):
        assert analytic == pytest.approx(numeric, rel=1e-6, abs=1e-8)

    found = oracle("cispo", batch, {"clip_low": 0.2, "clip_high": 0.3})
    A, gradient = flat(found["advantages"]), flat(found["gradient"])
    new, old = ([x for row in rows(batch) for x in row[k]] for k in ("logprobs", "old_logprobs"))
    rho = [math.exp(p - q) for p, q in zip(new, old, strict=True)]
    T = token_count(batch)
    close(gradient, [-min(max(x, 0.8), 1.3) * a / T for x, a in zip(rho, A, strict=True)])
    assert found["metrics"]["clip_fraction"] == sum(not 0.8 <= x <= 1.3 for x in rho) / T


@pytest.mark.parametrize("noise", [1e-4, 0.3])
def test_gspo_token_has_the_loss_and_gradient_of_gspo(noise):
    batch = random_batch(5, noise=noise)
    token, sequence = oracle("gspo-token", batch), oracle("gspo", batch)
    close([token["loss"]], [sequence["loss"]])
    close(flat(token["gradient"]), flat(sequence["gradient"]))
    assert token["clipped"] == sequence["clipped"]
    assert any(flat(sequence["gradient"]))


@pytest.mark.parametrize("name", NAMES)
def test_top_entropy_closes_the_policy_gradient_and_nothing_else(name):
    batch = random_batch(6, lengths=(4, 4))
    masked, free = oracle(name, batch, {"top_entropy": 0.25}), oracle(name, batch)
    assert masked["terms"] == free["terms"]
    entropies = [x for row in rows(batch) for x in row["entropies"]]
    kept = sorted(entropies)[-8:]
    without_policy = oracle(name, batch, {"tis_cap": 0.0})
    pairs = zip(flat(free["gradient"]), flat(without_policy["gradient"]), strict=True)
    wanted = [a if x in kept else b for x, (a, b) in zip(entropies, pairs, strict=True)]
    close(flat(masked["gradient"]), wanted)


# ---------------------------------------------------------------- the presets' numbers

EIGHT = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
NEAR_TIE = [0.5, 0.5, 0.5, 0.5001]


@pytest.mark.parametrize(
    ("name", "settings", "right", "wrong"),
    [
        ("grpo", {"ddof": 1, "std_epsilon": 1e-4}, 1.61984, -0.53995),
        ("grpo", {"ddof": 1, "std_epsilon": 1e-6}, 1.62018, -0.54006),
        ("grpo", {"ddof": 1, "std_epsilon": 1e-9}, 1.62019, -0.54006),
        ("grpo", {}, 1.73205, -0.57735),
        ("dr-grpo", {}, 0.75, -0.25),
        ("rloo", {}, 0.85714, -0.28571),
        ("maxrl", {}, 3.0, -1.0),
    ],
)
def test_the_table_of_presets(name, settings, right, wrong):
    A = flat(oracle(name, one_token_each(EIGHT), PLAIN | settings)["advantages"])
    assert pytest.approx([right if r else wrong for r in EIGHT], abs=6e-6) == A


@pytest.mark.parametrize(("eps", "odd"), [(1e-4, 0.50), (1e-6, 1.47), (1e-9, 1.50)])
def test_epsilon_alone_changes_a_near_tie_threefold(eps, odd):
    settings = PLAIN | {"ddof": 1, "std_epsilon": eps}
    A = flat(oracle("grpo", one_token_each(NEAR_TIE), settings)["advantages"])
    assert A[-1] == pytest.approx(odd, abs=5e-3)


# ---------------------------------------------------------------- worked by hand


def test_gae_of_three_tokens():
    row = {"reward": 1.0, "logprobs": [-1.0] * 3, "old_logprobs": [-1.0] * 3}
    row["values"] = [0.5, 0.25, 0.75]
    batch = make_batch([{"prompt": "", "samples": [row]}], 4)
    # δ = 0.5·0.25 − 0.5, 0.5·0.75 − 0.25, 1 − 0.75 = −0.375, 0.125, 0.25; γλ = 0.25
    A = [-0.375 + 0.25 * 0.125 + 0.0625 * 0.25, 0.125 + 0.25 * 0.25, 0.25]
    found = oracle("ppo", batch, PLAIN | {"gamma": 0.5, "gae_lambda": 0.5, "whiten": False})
    close(flat(found["advantages"]), A)
    close(flat(found["returns"]), [a + v for a, v in zip(A, row["values"], strict=True)])
    close([found["terms"]["value"]], [sum(a * a for a in A) / 6])
    close([found["terms"]["policy"]], [-sum(A) / 3])
    close(flat(found["gradient"]), [-a / 3 for a in A])


@pytest.mark.parametrize(
    ("A", "rho", "dual_clip", "value", "slope"),
    [
        (1.0, 1.5, None, 1.2, 0.0),
        (1.0, 0.5, None, 0.5, 0.5),
        (-1.0, 1.5, None, -1.5, -1.5),
        (-1.0, 0.5, None, -0.8, 0.0),
        (-1.0, 4.0, 3.0, -3.0, 0.0),
        (-1.0, 2.0, 3.0, -2.0, -2.0),
        (1.0, 4.0, 3.0, 1.2, 0.0),
    ],
)
def test_clipping_one_token(A, rho, dual_clip, value, slope):
    row = {"reward": A, "logprobs": [math.log(rho)], "old_logprobs": [0.0], "values": [0.0]}
    batch = make_batch([{"prompt": "", "samples": [row]}], 4)
    found = oracle("ppo", batch, PLAIN | {"whiten": False, "dual_clip": dual_clip})
    close([found["terms"]["policy"]], [-value])
    close(flat(found["gradient"]), [-slope])
    assert found["metrics"]["clip_fraction"] == float(slope == 0.0)


def test_on_the_kink_the_free_branch_counts():
    batch = on_policy(random_batch(7))
    tight = oracle("grpo", batch, {"clip_low": 0.0, "clip_high": 0.0})
    assert tight == oracle("grpo", batch)
    assert tight["metrics"]["clip_fraction"] == 0.0


def test_overlong_answers_lose_reward_by_their_length():
    def punished(n: int) -> float:
        row = {"reward": 1.0, "logprobs": [-1.0] * n, "old_logprobs": [-1.0] * n}
        batch = make_batch([{"prompt": "", "samples": [row]}], 10)
        settings = {"overlong_buffer": 0.4, "overlong_penalty": 0.5, "baseline": "none"}
        return oracle("reinforce", batch, settings)["advantages"][0][0][0]

    close([punished(n) for n in (5, 6, 7, 8, 10)], [1.0, 1.0, 0.875, 0.75, 0.5])


def test_process_rewards_reach_their_own_and_earlier_tokens():
    def row(steps: list[tuple[int, float]]) -> dict:
        four = {"reward": 0.0, "logprobs": [-1.0] * 4, "old_logprobs": [-1.0] * 4}
        return four | {"step_rewards": [{"end": end, "reward": r} for end, r in steps]}

    samples = [row([(1, 1.0), (3, 0.0)]), row([(2, 1.0), (3, 0.0)])]
    batch = make_batch([{"prompt": "", "samples": samples}], 4)
    found = oracle("grpo-process", batch, PLAIN | {"std_epsilon": 0.0})
    assert found["advantages"] == [[[0.0, 0.0, -1.0, -1.0], [0.0, 0.0, 0.0, -1.0]]]


TWO = make_batch(  # a right answer of two tokens and a wrong one of one
    [
        {
            "prompt": "",
            "greedy_reward": 0.25,
            "samples": [
                {
                    "reward": 1.0,
                    "logprobs": [-1.0, -2.0],
                    "old_logprobs": [-2.0, -2.0],  # ρ = e, 1
                    "sampler_logprobs": [-2.5, -1.0],
                },
                {
                    "reward": 0.0,
                    "logprobs": [-3.0],
                    "old_logprobs": [-2.0],  # ρ = 1/e
                    "sampler_logprobs": [-1.5],
                },
            ],
        }
    ],
    max_tokens=4,
)
E = math.e


@pytest.mark.parametrize(
    ("name", "settings", "advantages", "policy"),
    [
        ("reinforce", {}, [0.5, 0.5, -0.5], -(0.5 * -3 + -0.5 * -3) / 2),
        ("reinforce", {"baseline": "none"}, [1, 1, 0], 3 / 2),
        ("is-pg", {}, [0.5, 0.5, -0.5], -(0.5 * (E + 1) - 0.5 / E) / 2),
        ("remax", {}, [0.75, 0.75, -0.25], -(0.75 * -3 + -0.25 * -3) / 2),
        ("rloo", {}, [1, 1, -1], -(E - 1 / E) / 2),
        ("rloo", {"clip_low": 0.2, "clip_high": 0.2}, [1, 1, -1], -(1.2 - 0.8) / 2),
        ("dr-grpo", {}, [0.5, 0.5, -0.5], -(0.5 * 1.2 + 0.5 - 0.5 * 0.8) / (2 * 4)),
        ("dr-grpo", {"aggregation": "token-mean"}, [0.5, 0.5, -0.5], -(1.1 - 0.4) / 3),
        ("dr-grpo", {"aggregation": "seq-mean-token-sum"}, [0.5, 0.5, -0.5], -(1.1 - 0.4) / 2),
        ("dr-grpo", {"aggregation": "seq-mean-token-mean"}, [0.5, 0.5, -0.5], -(0.55 - 0.4) / 2),
        (
            "dr-grpo",
            {"tis_cap": 1.2},  # old/sampler = e^.5 (capped), 1/e, e^-.5
            [0.5, 0.5, -0.5],
            -(0.6 * 1.2 + 0.5 / E - 0.4 * E**-0.5) / 8,
        ),
        ("rloo", {"tis_cap": 1.2}, [1, 1, -1], -(E * E**-0.5 - E**-1 * E**-0.5) / 2),
        ("gspo", {"std_epsilon": 0.0}, [1, 1, -1], -(1.0004 - 0.9997) / 2),
        (
            "gspo-token",
            {"std_epsilon": 0.0, "clip_low": None, "clip_high": None},
            [1, 1, -1],
            -(E**0.5 - 1 / E) / 2,
        ),
        ("cispo", {"std_epsilon": 0.0, "clip_high": 1.0}, [1, 1, -1], -(-2 - 2 + 3 / E) / 3),
        ("gmpo", {"std_epsilon": 0.0}, [1, 1, -1], -(math.exp(0.2) - math.exp(-0.4)) / 2),
        (
            "sapo",
            {"std_epsilon": 0.0, "tau_positive": 2.0, "tau_negative": 4.0},
            [1, 1, -1],
            -((2 / (1 + math.exp(-2 * (E - 1))) + 1) / 2 - 1 / (1 + math.exp(-4 * (1 / E - 1))))
            / 2,
        ),
        ("kimi-md", {}, [0.5, 0.5, -0.5], -(0.5 * -3 + -0.5 * -3) / 2),
        ("maxrl", {}, [1, 1, -1], -(1.2 + 1 - 0.8) / 3),
        ("raft", {}, [1, 1, 0], 3 / 3),
        ("trpo", {"advantage": "group"}, [1, 1, -1], -(E + 1 - 1 / E) / 3),
    ],
)
def test_two_answers_by_hand(name, settings, advantages, policy):
    found = oracle(name, TWO, settings | {"beta": 0.0})
    # trpo's ε of 1e-6 is not a setting
    tolerance = 1e-5 if name == "trpo" else 1e-12
    close(flat(found["advantages"]), advantages, tolerance)
    close([found["terms"]["policy"]], [policy], tolerance)


def test_whitening_by_hand():
    # tokens' returns 1, 1, 0: mean 2/3, variance 1/3 with ddof 1 and 2/9 with ddof 0
    for ddof, variance in [(1, 1 / 3), (0, 2 / 9)]:
        settings = {"beta": 0.0, "ddof": ddof, "std_epsilon": 0.25}
        A = flat(oracle("reinforce++", TWO, settings)["advantages"])
        close(A, [x / math.sqrt(variance + 0.25) for x in (1 / 3, 1 / 3, -2 / 3)])
        # r − m = ½, ½, −½: the same after taking off their mean over tokens
        close(flat(oracle("reinforce++-baseline", TWO, settings)["advantages"]), A)

    discounted = {"beta": 0.0, "gamma": 0.5, "std_epsilon": 0.25}
    A = flat(oracle("reinforce++", TWO, discounted)["advantages"])  # returns ½, 1, 0
    close(A, [x / math.sqrt(0.5) for x in (0.0, 0.5, -0.5)])


def test_the_two_lambdas_of_vc_ppo():
    batch = changed(TWO, lambda row: row.update(values=[0.5] * len(row["logprobs"])))
    settings = {"gae_lambda": 0.0, "critic_lambda": 1.0, "whiten": False}
    found = oracle("vc-ppo", batch, settings)
    close(flat(found["advantages"]), [0.0, 0.5, -0.5])
    close(flat(found["returns"]), [1.0, 1.0, 0.0])
    close([found["terms"]["value"]], [0.125])


def test_opo_weighs_the_baseline_by_length():
    batch = one_token_each([1.0, 0.0])
    batch["groups"][0]["samples"][1] |= {"logprobs": [-1.0] * 3, "old_logprobs": [-1.0] * 3}
    assert oracle("opo", batch)["advantages"] == [[[0.75], [-0.25] * 3]]


def test_vapo_shortens_lambda_and_imitates_the_right_answers():
    batch = random_batch(8, lengths=(5, 5), rewards="binary")
    settings = {"length_alpha": 0.4, "whiten": False}  # λ = 1 − 1/(0.4 · 5) = 0.5
    found = oracle("vapo", batch, settings)
    as_ppo = oracle("ppo", batch, {"beta": 0.0, "gae_lambda": 0.5, "whiten": False})
    close(flat(found["advantages"]), flat(as_ppo["advantages"]))
    right = [row for row in rows(batch) if row["reward"] == 1.0]
    assert right
    wanted = -0.1 * sum(sum(row["logprobs"]) for row in right) / (5 * len(right))
    close([found["terms"]["imitation"]], [wanted])


# ---------------------------------------------------------------- identities


def test_on_policy_grpo_is_reinforce_with_standardised_reward():
    batch = on_policy(random_batch(10, groups=1))
    found = oracle("grpo", batch, {"beta": 0.0})
    standardised = copy.deepcopy(batch)
    for row, A in zip(rows(standardised), found["advantages"][0], strict=True):
        row["reward"] = A[0]
    settings = {"baseline": "none", "aggregation": "seq-mean-token-mean"}
    close(flat(found["gradient"]), flat(oracle("reinforce", standardised, settings)["gradient"]))


def test_the_loss_is_zero_on_policy_although_the_gradient_is_not():
    found = oracle("grpo", on_policy(random_batch(11)), {"beta": 0.0})
    assert abs(found["loss"]) < 1e-15
    assert max(map(abs, flat(found["gradient"]))) > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_k3_does_not_pull_where_policy_and_reference_agree(name):
    batch = random_batch(12)
    if name.startswith("ppo-"):  # theirs is to the rollout policy
        batch = on_policy(batch)
    batch = changed(batch, lambda row: row.update(ref_logprobs=list(row["logprobs"])))
    with_kl = oracle(name, batch, {"beta": 0.5, "kl_place": "loss", "kl_estimator": "k3"})
    without = oracle(name, batch, {"kl_place": "none"})
    close(flat(with_kl["gradient"]), flat(without["gradient"]), tolerance=1e-15)
    assert with_kl["metrics"]["kl_ref"] == 0.0


@pytest.mark.parametrize("name", ["ppo", "vc-ppo", "trpo", "ppo-kl", "ppo-adaptive-kl"])
def test_gae_with_gamma_and_lambda_one_telescopes(name):
    settings = PLAIN | {"gamma": 1.0, "gae_lambda": 1.0, "whiten": False}
    batch = random_batch(13)
    found = oracle(name, batch, settings)
    close(flat(found["advantages"]), [r["reward"] - V for r in rows(batch) for V in r["values"]])
    close(flat(found["returns"]), [row["reward"] for row in rows(batch) for _ in row["values"]])
    blind = changed(batch, lambda row: row.update(values=[0.0] * len(row["values"])))
    found = oracle(name, blind, settings)
    close(flat(found["advantages"]), [row["reward"] for row in rows(batch) for _ in row["values"]])


def test_ppo_of_one_epoch_is_reinforce_with_the_critic_as_baseline():
    batch = on_policy(random_batch(14))
    settings = PLAIN | {"gae_lambda": 1.0, "whiten": False}
    T = token_count(batch)
    wanted = [-(row["reward"] - V) / T for row in rows(batch) for V in row["values"]]
    close(flat(oracle("ppo", batch, settings)["gradient"]), wanted)


@pytest.mark.parametrize(
    "name",
    [
        *("rloo", "grpo", "grpo-iterative", "dr-grpo", "dapo", "gspo", "gspo-token", "cispo"),
        *("gmpo", "sapo", "kimi-md", "opo", "maxrl", "reinforce++-baseline"),
    ],
)
@pytest.mark.parametrize("reward", [0.0, 0.7, 0.1])
def test_a_group_of_equal_rewards_teaches_nothing(name, reward):
    batch = changed(random_batch(15, size=3), lambda row: row.update(reward=reward))
    settings = {"beta": 0.0, "overlong_buffer": 0.0}
    if name == "kimi-md":
        settings["tau"] = 0.0
    found = oracle(name, batch, settings)
    assert not any(flat(found["gradient"]))
    assert found["metrics"]["zero_std_groups"] == 2


def test_dr_grpo_is_grpo_without_the_std_and_without_one_over_length():
    batch = random_batch(16)
    plain = {"beta": 0.0, "scale": "none", "aggregation": "seq-mean-token-sum-norm"}
    a, b = oracle("dr-grpo", batch), oracle("grpo", batch, plain)
    assert a == b


def test_rloo_is_the_centred_reward_times_g_over_g_minus_one():
    batch = random_batch(17, size=5)
    centred = flat(oracle("dr-grpo", batch)["advantages"])
    close(flat(oracle("rloo", batch)["advantages"]), [5 / 4 * x for x in centred])


@pytest.mark.parametrize("ddof", [0, 1])
def test_process_rewards_of_one_step_at_the_end_are_outcome_rewards(ddof):
    def one_step(row: dict) -> None:
        row["step_rewards"] = [{"end": len(row["logprobs"]) - 1, "reward": row["reward"]}]

    batch = changed(random_batch(18), one_step)
    process, outcome = (oracle(name, batch, {"ddof": ddof}) for name in ("grpo-process", "grpo"))
    close(flat(process["advantages"]), flat(outcome["advantages"]))
    close(flat(process["gradient"]), flat(outcome["gradient"]))


def test_vc_ppo_with_one_lambda_is_ppo():
    batch = random_batch(19)
    one = oracle("vc-ppo", batch, {"gae_lambda": 0.8, "critic_lambda": 0.8})
    assert one == oracle("ppo", batch, {"gae_lambda": 0.8, "beta": 0.0})


def test_reinforce_with_importance_is_is_pg():
    batch = random_batch(20)
    assert oracle("reinforce", batch, {"importance": True}) == oracle("is-pg", batch)


def test_on_policy_no_clipping_variant_differs():
    batch = on_policy(random_batch(21))
    found = [
        oracle(name, batch, {"overlong_buffer": 0.0, "aggregation": "token-mean", "beta": 0.0})
        for name in ("grpo", "dapo", "cispo", "gspo-token", "sapo")
    ]
    for other in found[1:]:
        close(flat(found[0]["gradient"]), flat(other["gradient"]))


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_rows_nor_of_groups_matters(name):
    batch = random_batch(22, groups=3)
    back = copy.deepcopy(batch)
    back["groups"].reverse()
    for group in back["groups"]:
        group["samples"].reverse()
    a, b = oracle(name, batch), oracle(name, back)
    close([a["loss"]], [b["loss"]])
    turned = [list(reversed(group)) for group in reversed(b["gradient"])]
    close(flat(a["gradient"]), flat(turned))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("ppo-kl", "ppo-adaptive-kl")]
)
def test_in_the_reward_kl_acts_through_the_advantage_alone(name):
    batch = random_batch(23)
    settings = {"beta": 0.2, "kl_place": "reward", "kl_estimator": "k1"}
    found = oracle(name, batch, settings)

    def charge(row: dict) -> None:
        row["reward"] -= 0.2 * (math.fsum(row["old_logprobs"]) - math.fsum(row["ref_logprobs"]))

    pull = changed(batch, charge)
    if OWN[name][0] == SEQUENCE or name in ("grpo", "dr-grpo", "opo", "raft", "maxrl", "is-pg"):
        moved = oracle(name, pull, {"kl_place": "none"})
        close(flat(found["advantages"]), flat(moved["advantages"]))
        close(flat(found["gradient"]), flat(moved["gradient"]))
    plain = oracle(name, batch, {"kl_place": "none"})
    assert found["advantages"] != plain["advantages"] or name == "raft"


# ---------------------------------------------------------------- KL of small categoricals

P, Q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
EXACT = math.fsum(p * math.log(p / q) for p, q in zip(P, Q, strict=True))


def expected(estimator: str, p: list[float], q: list[float]) -> float:
    pairs = zip(p, q, strict=True)
    return math.fsum(a * kl_estimate(estimator, math.log(a), math.log(b))[0] for a, b in pairs)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator):
    close([expected(estimator, P, Q)], [EXACT])
    assert expected("k2", P, Q) != pytest.approx(EXACT, abs=1e-3)


def softmax(z: list[float]) -> list[float]:
    total = math.fsum(map(math.exp, z))
    return [math.exp(x) / total for x in z]


def categorical(logp: list[float], old: list[float], ref: list[float]) -> dict:
    """One single-token row a category."""
    keys = ("logprobs", "old_logprobs", "ref_logprobs")
    samples = [
        {"reward": 0.0} | dict(zip(keys, ([math.log(x)] for x in xs), strict=True))
        for xs in zip(logp, old, ref, strict=True)
    ]
    return make_batch([{"prompt": "", "samples": samples}], 4)


@pytest.mark.parametrize(
    ("estimator", "old", "right"),
    [
        ("k2", P, True),  # on-policy its gradient is the KL's
        ("unbiased", P, True),
        ("unbiased", [0.3, 0.3, 0.4], True),  # off-policy it alone stays right
        ("k1", P, False),
        ("k3", P, False),
    ],
)
def test_which_estimators_have_the_gradient_of_the_kl_when_in_the_loss(estimator, old, right):
    z = [math.log(x) for x in P]
    settings = {"beta": 1.0, "kl_estimator": estimator}
    by_row = [row[0] * 3 for row in oracle("grpo", categorical(P, old, Q), settings)["gradient"][0]]
    # chain through log softmax, in expectation under the rollout policy
    gradient = [
        math.fsum(old[i] * by_row[i] * ((i == j) - P[j]) for i in range(3)) for j in range(3)
    ]

    def kl(logits: list[float]) -> float:
        pairs = zip(softmax(logits), Q, strict=True)
        return math.fsum(p * math.log(p / q) for p, q in pairs)

    h = 1e-5
    numeric = []
    for j in range(3):
        up, down = ([x + d * (k == j) for k, x in enumerate(z)] for d in (h, -h))
        numeric.append((kl(up) - kl(down)) / (2 * h))
    assert (gradient == pytest.approx(numeric, abs=1e-8)) is right


def test_the_penalty_of_ppo_kl_is_kl_of_old_to_new():
    def estimate(p: float, q: float, estimator: str) -> float:
        batch = changed(
            categorical([q], [p], [0.5]), lambda row: row.update(reward=0.0, values=[0.0])
        )
        return oracle("ppo-kl", batch, {"kl_estimator": estimator})["terms"]["kl"]

    for estimator in ("k1", "k3"):
        parts = [p * estimate(p, q, estimator) for p, q in zip(P, Q, strict=True)]
        close([math.fsum(parts)], [EXACT])


# ---------------------------------------------------------------- whatever the batch


@given(batches(wild=True))
def test_no_batch_makes_it_fail(batch):
    for name in NAMES:
        found = oracle(name, batch)
        numbers = [found["loss"], *flat(found["advantages"]), *flat(found["gradient"])]
        assert all(map(math.isfinite, numbers)), name
        assert math.isclose(found["loss"], math.fsum(found["terms"].values())), name
        assert 0 <= found["metrics"]["clip_fraction"] <= 1, name


def test_a_misspelt_setting_is_refused():
    with pytest.raises(KeyError, match="bta"):
        oracle("grpo", random_batch(0), {"bta": 1.0})
