"""Identities of the family: which algorithm is which other one, where, and which gradients are
exactly nothing. Float64, by the formulas of the papers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Algorithm, Batch
from tests.algorithms.batches import (
    CRITIC,
    GROUP_BASELINE,
    NAMES,
    Tape,
    advantage,
    current,
    loss_and_gradient,
    make,
    make_batch,
    make_groupwise,
    steps_of,
    takes,
    whole_of,
    with_equal_steps,
)

EIGHT = [1.0, 0, 0, 1.0, 0, 0, 0, 0]
TINY = 1e-12


def assert_same(found: Tensor, wanted: Tensor, atol: float = TINY) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


def two_groups(seed: int = 0) -> Batch:
    return make_batch([5, 3, 7, 2, 4, 6], [0, 0, 0, 1, 1, 1], [1.0, 0.2, 0, 0.7, 0, 1], seed=seed)


def group_of_eight(reward: list[float]) -> Batch:
    """Its steps are the outcome alone, so that process rewards are outcome rewards."""
    lengths = [5, 3, 7, 1, 4, 6, 2, 5]
    batch = make_batch(lengths, [0] * 8, reward)
    ends = [[(n - 1, r)] for n, r in zip(lengths, reward, strict=True)]
    return replace(batch, steps=steps_of(ends))


def alike(
    left: Algorithm, right: Algorithm, *, drift: float, atol: float = TINY, value: bool = True
) -> None:
    """Both have the same advantage, gradient and, unless told otherwise, loss."""
    batch = two_groups(3)
    now = current(batch, drift=drift)
    assert_same(left.credit(batch).advantage, right.credit(batch).advantage, atol)
    (a, mine), (b, theirs) = (loss_and_gradient(x, batch, now) for x in (left, right))
    assert_same(mine, theirs, atol)
    assert mine.abs().max() > 1e-3
    if value:
        assert a == pytest.approx(b, abs=atol)


# ---------------------------------------------------------------- numbers of other frameworks

TABLE = {"trl-1.16": (1.61984, -0.53995), "verl": (1.62018, -0.54006)}
TABLE["openrlhf"] = (1.62019, -0.54006)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        (name, preset)
        for name in NAMES
        for preset in TABLE
        if preset in ALGORITHMS[name].presets and "std_epsilon" in ALGORITHMS[name].presets[preset]
    ],
)
def test_presets_compute_what_those_frameworks_compute(name, preset):
    algorithm = make(name, **ALGORITHMS[name].presets[preset])
    found = advantage(algorithm, group_of_eight(EIGHT))
    wanted = [TABLE[preset][0] if r else TABLE[preset][1] for r in EIGHT]
    assert found == pytest.approx(wanted, abs=6e-6)


def test_enough_presets_were_compared():
    assert len(ALGORITHMS["grpo"].presets) == 4
    assert all("std_epsilon" in s for p, s in ALGORITHMS["grpo"].presets.items() if p in TABLE)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_made_of_settings_that_the_algorithm_has(name):
    assert "paper" in ALGORITHMS[name].presets
    for settings in ALGORITHMS[name].presets.values():
        make(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "right", "wrong"),
    [
        ("grpo", {"std_epsilon": 0.0}, 1.7320508, -0.5773503),
        ("grpo-process", {"std_epsilon": 0.0}, 1.7320508, -0.5773503),
        ("grpo-iterative", {"std_epsilon": 0.0}, 1.7320508, -0.5773503),
        ("dapo", {"std_epsilon": 0.0}, 1.7320508, -0.5773503),
        ("gspo", {"std_epsilon": 0.0}, 1.7320508, -0.5773503),
        ("grpo", {"scale": "none"}, 0.75, -0.25),
        ("dr-grpo", {}, 0.75, -0.25),
        ("kimi-md", {}, 0.75, -0.25),
        ("rloo", {}, 6 / 7, -2 / 7),
        ("maxrl", {}, 3.0, -1.0),
        ("raft", {}, 1.0, 0.0),
    ],
)
def test_the_table_of_one_group_of_eight(name, settings, right, wrong):
    found = advantage(make(name, **settings), group_of_eight(EIGHT))
    assert found == pytest.approx([right if r else wrong for r in EIGHT], abs=1e-7)


def test_a_near_tie_shows_what_epsilon_alone_does():
    batch = make_batch([2, 2, 2, 2], [0] * 4, [0.5, 0.5, 0.5, 0.5001])
    found = {
        preset: advantage(make("grpo", **settings), batch)[3]
        for preset, settings in ALGORITHMS["grpo"].presets.items()
    }
    assert found["trl-1.16"] == pytest.approx(0.50, abs=0.005)
    assert found["verl"] == pytest.approx(1.47, abs=0.01)
    assert found["openrlhf"] == pytest.approx(1.50, abs=0.01)


# ---------------------------------------------------------------- exactly nothing


@pytest.mark.parametrize("reward", [0.0, 0.1, 0.7, -3.3])
@pytest.mark.parametrize("name", [*GROUP_BASELINE, "reinforce", "is-pg", "reinforce++"])
def test_equal_rewards_in_a_group_give_exactly_no_gradient(name, reward):
    batch = make_batch([5, 3, 7, 2, 4], [0, 0, 0, 1, 1], [reward] * 5)
    batch = with_equal_steps(batch, reward)
    settings = {"tau": 0.0} if name == "kimi-md" else {}
    algorithm = make_groupwise(name, **settings)
    _, gradient = loss_and_gradient(algorithm, batch, current(batch, drift=0.3))
    assert gradient.abs().max().item() == 0.0


@pytest.mark.parametrize("name", sorted({*GROUP_BASELINE} - {"reinforce++-baseline"}))
def test_one_group_of_equal_rewards_gives_none_whatever_the_others_do(name):
    batch = make_batch([5, 3, 7, 2, 4], [0, 0, 0, 1, 1], [0.7, 0.7, 0.7, 1.0, 0.0])
    steps = [[(0, 0.1)], [(1, 0.1), (2, 0.1)], [(6, 0.1)], [(1, 1.0)], [(0, 0.0), (3, 0.5)]]
    batch = replace(batch, steps=steps_of(steps))
    algorithm = make_groupwise(name, **({"tau": 0.0} if name == "kimi-md" else {}))
    _, gradient = loss_and_gradient(algorithm, batch, current(batch, drift=1e-5))
    assert gradient[:3].abs().max().item() == 0.0 < gradient[3:].abs().max().item()


@pytest.mark.parametrize("name", GROUP_BASELINE)
def test_a_group_of_one_teaches_nothing_and_breaks_nothing(name):
    batch = make_batch([3, 2], [0, 1], [1.0, 0.0])
    batch = replace(batch, steps=steps_of([[(2, 1.0)], [(1, 0.0)]]))
    if name == "reinforce++-baseline":  # whitening compares with the other group
        batch = replace(batch, reward=batch.reward * 0)
    assert make_groupwise(name).credit(batch).advantage.abs().max().item() == 0.0


def test_steps_of_a_group_of_one_are_compared_with_each_other():
    batch = replace(make_batch([4], [0], [1.0]), steps=steps_of([[(1, 0.0), (3, 1.0)]]))
    found = make("grpo-process", std_epsilon=0.0).credit(batch).advantage
    assert found.tolist() == [[0.0, 0.0, 1.0, 1.0]]  # normalised: −1 and 1


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        (name, estimator)
        for name in NAMES
        for estimator in ("k2", "k3", "unbiased")
        if takes(name, {"kl_estimator": estimator})
    ],
)
def test_the_kl_pushes_nowhere_where_policy_is_reference(name, estimator):
    """Far from the policy that sampled, but for those whose KL is to just that one."""
    drift = 0.0 if name in ("ppo-kl", "ppo-adaptive-kl") else 0.4
    batch = two_groups()
    now = current(batch, drift=drift)
    batch = replace(batch, ref_logp=now.logp.detach())
    found = []
    for place in ("loss", "none"):
        algorithm = make(name, beta=0.5, kl_place=place, kl_estimator=estimator)
        found.append(loss_and_gradient(algorithm, batch, now))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
    elsewhere = current(batch, drift=0.4, seed=8)
    apart = [
        loss_and_gradient(
            make(name, beta=0.5, kl_place=p, kl_estimator=estimator), batch, elsewhere
        )
        for p in ("loss", "none")
    ]
    assert (apart[0][1] - apart[1][1]).abs().max() > 1e-3


def test_the_loss_is_zero_at_ratio_one_but_the_gradient_is_not():
    for name in ("grpo", "dr-grpo", "gspo", "rloo", "is-pg", "gmpo", "maxrl"):
        batch = make_batch([4, 4], [0, 0], [1.0, 0.0])
        algorithm = make(name, beta=0.0)
        loss, gradient = loss_and_gradient(algorithm, batch, current(batch))
        assert loss == pytest.approx(0.0, abs=TINY), name
        assert gradient.abs().sum() > 0.1, name


# ---------------------------------------------------------------- one is the other


def test_grpo_on_policy_without_kl_is_reinforce_with_standardised_reward():
    grpo = make("grpo", beta=0.0)
    batch = two_groups()
    standardised = replace(batch, reward=grpo.credit(batch).advantage[:, 0])
    reinforce = make("reinforce", baseline="none", aggregation="seq-mean-token-mean")
    _, mine = loss_and_gradient(grpo, batch, current(batch))
    _, theirs = loss_and_gradient(reinforce, standardised, current(batch))
    assert_same(mine, theirs)


def test_cispo_on_policy_is_reinforce_with_standardised_reward_as_a_token_mean():
    cispo = make("cispo")
    batch = two_groups()
    standardised = replace(batch, reward=cispo.credit(batch).advantage[:, 0])
    reinforce = make("reinforce", baseline="none", aggregation="token-mean")
    mine = loss_and_gradient(cispo, batch, current(batch))
    theirs = loss_and_gradient(reinforce, standardised, current(batch))
    assert mine[0] == pytest.approx(theirs[0], abs=TINY)
    assert_same(mine[1], theirs[1])


def test_cispo_pushes_also_the_tokens_whose_weight_is_bounded():
    batch = two_groups()
    now = current(batch, drift=1.0)
    algorithm = make("cispo", clip_high=0.2)
    _, gradient = loss_and_gradient(algorithm, batch, now)
    ratio = (now.logp - batch.old_logp).exp().detach()
    weight = ratio.clamp(max=1.2)
    assert (ratio > 1.2).any()
    found = algorithm.credit(batch).advantage
    assert_same(gradient, -weight * found / batch.mask.sum() * batch.mask)


@pytest.mark.parametrize(
    ("name", "aggregation"),
    [
        ("sapo", "seq-mean-token-mean"),
        ("gmpo", "seq-mean-token-mean"),
        ("gspo", "seq-mean-token-mean"),
        ("gspo-token", "seq-mean-token-mean"),
        ("grpo-iterative", "seq-mean-token-mean"),
        ("cispo", "token-mean"),
        ("dapo", "token-mean"),
    ],
)
def test_on_policy_its_gradient_is_grpo_s(name, aggregation):
    settings = {"beta": 0.0} | ({"overlong_buffer": 0.0} if name == "dapo" else {})
    grpo = make("grpo", beta=0.0, aggregation=aggregation)
    alike(make(name, **settings), grpo, drift=0.0, value=False)


@pytest.mark.parametrize("name", ["sapo", "gmpo", "gspo", "gspo-token", "cispo"])
def test_off_policy_it_is_not(name):
    how = "token-mean" if name == "cispo" else "seq-mean-token-mean"
    grpo = make("grpo", beta=0.0, aggregation=how)
    with pytest.raises(AssertionError):
        alike(make(name, beta=0.0), grpo, drift=0.5, value=False)


CLIPPING = [name for name in NAMES if "clip_low" in ALGORITHMS[name].Settings.model_fields]


@pytest.mark.parametrize("name", CLIPPING)
def test_on_policy_no_clip_makes_a_difference(name):
    tight = {"clip_low": 0.01, "clip_high": 0.01}
    alike(make(name, **tight), make(name, clip_low=None, clip_high=None), drift=0.0)
    with pytest.raises(AssertionError):
        alike(make(name, **tight), make(name, clip_low=None, clip_high=None), drift=0.5)


@pytest.mark.parametrize("drift", [0.0, 3e-4, 0.3])
def test_gspo_token_with_one_advantage_an_answer_is_gspo(drift):
    alike(make("gspo-token"), make("gspo"), drift=drift)
    wide = {"clip_low": 0.1, "clip_high": 0.2, "dual_clip": 1.1}
    alike(make("gspo-token", **wide), make("gspo", **wide), drift=drift)


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_dr_grpo_is_grpo_without_std_and_without_one_over_length(drift):
    plain = make("grpo", beta=0.0, scale="none", aggregation="seq-mean-token-sum-norm")
    alike(make("dr-grpo"), plain, drift=drift)
    batch = two_groups()
    centred = torch.tensor([0.6, -0.2, -0.4, 2 / 15, -17 / 30, 13 / 30], dtype=torch.float64)
    _, gradient = loss_and_gradient(make("dr-grpo"), batch, current(batch))
    assert_same(gradient, -centred[:, None] * batch.mask / (6 * batch.max_tokens))


def test_rloo_is_the_centred_reward_times_g_over_g_minus_one():
    batch = two_groups()
    rloo, centred = (make(name).credit(batch).advantage for name in ("rloo", "dr-grpo"))
    assert_same(rloo, 3 / 2 * centred)
    others = [1.0 - 0.1, 0.2 - 0.5, 0 - 0.6]  # r − the mean of the other two
    assert rloo[:3, 0].tolist() == pytest.approx(others, abs=TINY)


def test_rloo_gradient_is_the_paper_s_on_policy_and_weighted_by_the_sequence_ratio_off_it():
    batch = make_batch([4, 2, 3, 5], [0, 0, 1, 1], [1.0, 0.0, 0.5, 0.4], seed=7)
    rloo = make("rloo")
    found = rloo.credit(batch).advantage
    _, gradient = loss_and_gradient(rloo, batch, current(batch))
    assert_same(gradient, -found / 4)
    now = current(batch, drift=0.2)
    ratio = ((now.logp - batch.old_logp) * batch.mask).sum(1, keepdim=True).exp().detach()
    _, gradient = loss_and_gradient(rloo, batch, now)
    assert_same(gradient, -found * ratio / 4, 1e-10)


@pytest.mark.parametrize("settings", [{}, {"ddof": 1, "std_epsilon": 0.1}, {"scale": "none"}])
@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_grpo_process_with_one_step_at_the_end_is_grpo_outcome(settings, drift):
    batch = two_groups(5)
    ends = (batch.mask.sum(1).long() - 1).tolist()
    outcome = steps_of([[(e, r)] for e, r in zip(ends, batch.reward.tolist(), strict=True)])
    batch = replace(batch, steps=outcome)
    process, grpo = make("grpo-process", **settings), make("grpo", **settings)
    assert_same(process.credit(batch).advantage, grpo.credit(batch).advantage)
    now = current(batch, drift=drift)
    (a, mine), (b, theirs) = (loss_and_gradient(x, batch, now) for x in (process, grpo))
    assert a == pytest.approx(b, abs=TINY)
    assert_same(mine, theirs)


def test_a_token_answers_for_its_own_and_later_steps():
    steps = steps_of([[(0, 1.0), (2, 0.0)], [(1, 1.0), (2, 1.0)]])
    batch = replace(make_batch([4, 3], [0, 0], [0.0, 0.0]), steps=steps)
    found = make("grpo-process", scale="none").credit(batch).advantage  # m = ¾
    assert found.tolist() == [[-0.5, -0.75, -0.75, 0.0], [0.5, 0.5, 0.25, 0.0]]


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_reinforce_with_importance_is_is_pg(drift):
    alike(make("reinforce", importance=True), make("is-pg"), drift=drift)


def test_remax_whose_greedy_answer_is_the_mean_is_reinforce():
    batch = two_groups()
    batch = replace(batch, greedy_reward=batch.reward * 0 + batch.reward.mean())
    now = current(batch, drift=0.2)
    mine, theirs = (loss_and_gradient(make(x), batch, now) for x in ("remax", "reinforce"))
    assert mine[0] == pytest.approx(theirs[0], abs=TINY)
    assert_same(mine[1], theirs[1])


def test_opo_with_answers_of_one_length_centres_and_otherwise_weighs_by_length():
    batch = make_batch([4] * 4, [0] * 4, [1.0, 0, 0, 0])
    assert advantage(make("opo"), batch) == pytest.approx([0.75, -0.25, -0.25, -0.25], abs=TINY)
    batch = make_batch([6, 2], [0, 0], [1.0, 0.0])
    assert advantage(make("opo"), batch) == pytest.approx([0.25, -0.75], abs=TINY)


def test_maxrl_divides_by_the_mean_and_is_silent_where_nothing_is_right():
    batch = make_batch([2] * 4, [0, 0, 1, 1], [1.0, 0.5, 0.0, 0.0])
    assert advantage(make("maxrl"), batch) == pytest.approx([1 / 3, -1 / 3, 0, 0], abs=TINY)


def test_raft_imitates_every_best_answer():
    batch = make_batch([2, 3, 1, 2], [0, 0, 1, 1], [0.5, 0.2, 0.1, 0.1])
    assert advantage(make("raft"), batch) == [1.0, 0.0, 1.0, 1.0]
    _, gradient = loss_and_gradient(make("raft"), batch, current(batch, drift=0.5))
    assert_same(gradient, -torch.tensor([1, 0, 1, 1.0])[:, None] * batch.mask / 8)


def test_kimi_pulls_the_answer_s_log_ratio_back_to_zero():
    batch = two_groups()
    now = current(batch, drift=0.3)
    total = ((now.logp - batch.old_logp) * batch.mask).sum(1).detach()
    _, gradient = loss_and_gradient(make("kimi-md", tau=0.4), batch, now)
    _, without = loss_and_gradient(make("kimi-md", tau=0.0), batch, now)
    assert_same(gradient - without, 0.4 * total[:, None] * batch.mask / 6)
    found = make("kimi-md").credit(batch).advantage
    assert_same(without, -found / 6)


def test_gmpo_is_a_geometric_mean_clipped_where_the_advantage_pushes():
    """A praised token counts up to e^ε_high however far below 1 it is, a blamed one down to
    e^−ε_low however far above."""
    batch = make_batch([3, 2], [0, 0], [1.0, 0.0])
    log_rho = torch.tensor([[0.5, -0.9, 0.1], [0.9, -0.6, 0.0]], dtype=torch.float64)
    now = current(batch)
    now = replace(now, logp=(batch.old_logp + log_rho).detach().requires_grad_())
    loss, gradient = loss_and_gradient(make("gmpo", std_epsilon=0.0), batch, now)
    praised, blamed = math.exp((0.4 - 0.9 + 0.1) / 3), math.exp((0.9 - 0.4) / 2)
    assert loss == pytest.approx(-(praised - blamed) / 2, abs=TINY)
    slopes = [[0, -praised / 6, -praised / 6], [blamed / 4, 0, 0]]
    assert_same(gradient, torch.tensor(slopes, dtype=torch.float64))


def test_sapo_is_a_gate_of_slope_one_at_ratio_one():
    batch = two_groups()
    now = current(batch, drift=0.5)
    sapo = make("sapo", tau_positive=2.0, tau_negative=3.0)
    a = sapo.credit(batch).advantage
    ratio = (now.logp - batch.old_logp).exp().detach()
    tau = (a > 0) * 2.0 + (a <= 0) * 3.0
    gate = (tau * (ratio - 1)).sigmoid()
    each = 4 * gate * (1 - gate) * ratio * a
    _, gradient = loss_and_gradient(sapo, batch, now)
    assert_same(gradient, -each * batch.mask / batch.mask.sum(1, keepdim=True) / 6)


# ---------------------------------------------------------------- those with a critic


@pytest.mark.parametrize("name", CRITIC)
def test_gae_with_gamma_and_lambda_one_telescopes(name):
    batch = two_groups()
    assert batch.value is not None
    algorithm = make(name, beta=0.0, gamma=1.0, gae_lambda=1.0, whiten=False)
    credit, whole = algorithm.credit(batch), batch.reward[:, None] * batch.mask
    assert credit.returns is not None
    assert_same(credit.advantage, whole - batch.value, 1e-9)
    assert_same(credit.returns, whole, 1e-9)
    blind = algorithm.credit(replace(batch, value=batch.value * 0))
    assert_same(blind.advantage, whole, 1e-9)


def test_ppo_of_one_epoch_is_reinforce_with_the_critic_as_baseline():
    """γ = λ = 1, no whitening, and no clip is active at ratio 1. Through the update."""
    batch = two_groups()
    assert batch.value is not None
    ppo = make("ppo", beta=0.0, gae_lambda=1.0, whiten=False, value_weight=0.0)
    tape = Tape(batch, current(batch), [[[0, 1, 2, 3, 4, 5]]])
    ppo.update(tape, batch, ppo.credit(batch), 1)  # pyright: ignore[reportArgumentType]
    expected = -(batch.reward[:, None] - batch.value) * batch.mask / batch.mask.sum()
    assert_same(tape.gradients[0][0], expected)


def test_vc_ppo_with_one_lambda_is_ppo():
    one = {"gae_lambda": 0.8, "beta": 0.0}
    alike(make("vc-ppo", critic_lambda=0.8, **one), make("ppo", **one), drift=0.3)
    with pytest.raises(AssertionError):  # its critic learns other returns otherwise
        alike(make("vc-ppo", critic_lambda=1.0, **one), make("ppo", **one), drift=0.3)


def test_without_penalty_and_clip_ppo_kl_trpo_and_ppo_are_one_surrogate():
    free = make("ppo", beta=0.0, clip_low=None, clip_high=None)
    alike(make("ppo-kl", beta=0.0), free, drift=0.3)
    alike(make("trpo"), free, drift=0.3)


def test_vapo_takes_lambda_from_the_length():
    """λ = 1 − 1/(α·|o|), not below 0: 0, 0 (where the formula says −1) and ½ at α = ¼."""
    batch = make_batch([4, 2, 8], [0, 0, 0], [1.0, 0.0, 0.5])
    vapo = make("vapo", length_alpha=0.25, whiten=False)
    found = vapo.credit(batch)
    for row, lam in enumerate((0.0, 0.0, 0.5)):
        as_ppo = make("vc-ppo", gae_lambda=lam, whiten=False).credit(batch)
        assert_same(found.advantage[row], as_ppo.advantage[row])
        assert as_ppo.returns is not None and found.returns is not None
        assert_same(found.returns, as_ppo.returns)  # the critic's λ stays
        fixed = make("vapo", gae_lambda=lam, whiten=False).credit(batch)
        assert_same(fixed.advantage, as_ppo.advantage)


def test_vapo_imitates_what_was_graded_right():
    """By the reward as graded: neither the length's price nor the KL makes it wrong."""
    batch = make_batch([4, 2, 3], [0, 0, 0], [1.0, 0.0, 1.0], max_tokens=4)
    costly = {"overlong_buffer": 1.0, "overlong_penalty": 0.9, "beta": 0.5}
    for settings in ({}, costly):
        vapo = make("vapo", imitation_weight=0.3, **settings)
        now = current(batch)
        credit = vapo.credit(batch)
        without = make("vapo", imitation_weight=0.0, **settings)
        (_, with_it), (_, base) = (
            loss_and_gradient(x, batch, now, credit) for x in (vapo, without)
        )
        right = torch.tensor([1.0, 0, 1])[:, None] * batch.mask
        assert_same(with_it - base, -0.3 * right / 7)


def test_ppo_loss_by_direct_summation():
    batch = make_batch([4, 2, 3], [0, 0, 0], [1.0, 0.0, 0.5], seed=3)
    clips = {"clip_low": 0.2, "clip_high": 0.2, "clip_value": 0.1, "value_weight": 0.7}
    ppo = make("ppo", beta=0.1, **clips)
    credit, now = ppo.credit(batch), current(batch, drift=0.4)
    assert now.value is not None and batch.value is not None and credit.returns is not None
    policy = value = 0.0
    clipped = near_wins = 0
    for i in range(3):
        for t in range(int(batch.mask[i].sum())):
            ratio = math.exp(now.logp[i, t].item() - batch.old_logp[i, t].item())
            a = credit.advantage[i, t].item()
            free, held = ratio * a, min(max(ratio, 0.8), 1.2) * a
            policy += min(free, held)
            clipped += held < free
            v, old, r = (x[i, t].item() for x in (now.value, batch.value, credit.returns))
            near = old + min(max(v - old, -0.1), 0.1)
            value += 0.5 * max((v - r) ** 2, (near - r) ** 2)
            near_wins += (near - r) ** 2 > (v - r) ** 2
    loss = ppo.loss(batch, credit, now, whole_of(batch))
    assert loss.terms["policy"].item() == pytest.approx(-policy / 9, abs=TINY)
    assert loss.terms["value"].item() == pytest.approx(0.7 * value / 9, abs=TINY)
    assert loss.clipped is not None
    assert int((loss.clipped & batch.mask.bool()).sum()) == clipped > 0 < near_wins


@pytest.mark.parametrize("name", ["ppo", "vc-ppo", "vapo", "trpo", "ppo-kl", "ppo-adaptive-kl"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_in_the_critic_s_warm_up_the_policy_waits(name, warmup):
    batch = replace(two_groups(), critic_age=2)
    now = current(batch, drift=0.2)
    algorithm = make(name, critic_warmup=warmup, entropy_bonus=0.1)
    loss = algorithm.loss(batch, algorithm.credit(batch), now, whole_of(batch)).total
    leaves = [now.logp, now.entropy, now.value]
    slopes = torch.autograd.grad(loss, leaves, allow_unused=True)  # pyright: ignore
    assert (slopes[0] is None and slopes[1] is None) == (warmup == 3)
    assert slopes[2] is not None and slopes[2].abs().max() > 0
