"""What shared definitions promise exactly, in float64 and by direct summation written for the
test."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Whole
from grpolab.algorithms.pieces import (
    aggregate,
    gae,
    group_mean,
    group_std,
    kl_estimate,
    terminal_reward,
    whiten,
)
from tests.algorithms.batches import current, loss_and_gradient, make, make_batch, whole_of

EIGHT = [1.0, 0, 0, 1.0, 0, 0, 0, 0]
TINY = 1e-12


def group_of_eight(reward: list[float]):
    return make_batch([5, 3, 7, 1, 4, 6, 2, 5], [0] * 8, reward)


@pytest.mark.parametrize(
    ("preset", "right", "wrong"),
    [("trl-1.16", 1.61984, -0.53995), ("verl", 1.62018, -0.54006), ("openrlhf", 1.62019, -0.54006)],
)
def test_grpo_presets_compute_what_those_frameworks_compute(preset, right, wrong):
    cls = ALGORITHMS["grpo"]
    algorithm = cls(cls.Settings(**cls.presets[preset]))
    batch = group_of_eight(EIGHT)
    advantage = algorithm.credit(batch).advantage[:, 0]
    assert advantage[0].item() == pytest.approx(right, abs=1e-5)
    assert advantage[1].item() == pytest.approx(wrong, abs=1e-5)


def test_population_std_centred_and_leave_one_out():
    batch = group_of_eight(EIGHT)
    population = make("grpo", std_epsilon=0.0).credit(batch).advantage[:, 0]
    assert population[:2].tolist() == pytest.approx([1.7320508, -0.5773503], abs=1e-6)
    centred = make("grpo", scale="none").credit(batch).advantage[:, 0]
    assert centred[:2].tolist() == pytest.approx([0.75, -0.25], abs=TINY)
    rloo = make("rloo").credit(batch).advantage[:, 0]
    assert rloo[:2].tolist() == pytest.approx([6 / 7, -2 / 7], abs=TINY)
    torch.testing.assert_close(rloo, centred * 8 / 7, rtol=0, atol=TINY)


def test_a_near_tie_shows_what_epsilon_alone_does():
    batch = make_batch([2, 2, 2, 2], [0] * 4, [0.5, 0.5, 0.5, 0.5001])
    found = {}
    for preset, settings_ in ALGORITHMS["grpo"].presets.items():
        found[preset] = make("grpo", **settings_).credit(batch).advantage[3, 0].item()
    assert found["trl-1.16"] == pytest.approx(0.50, abs=0.01)
    assert found["verl"] == pytest.approx(1.47, abs=0.01)
    assert found["openrlhf"] == pytest.approx(1.50, abs=0.01)


def test_grpo_on_policy_without_kl_is_reinforce_with_standardised_reward():
    batch = make_batch([5, 3, 7, 2], [0, 0, 1, 1], [1.0, 0.2, 0.0, 0.7])
    grpo = make("grpo", beta=0.0)
    reinforce = make("reinforce", aggregation="seq-mean-token-mean")
    credit = grpo.credit(batch)
    _, left = loss_and_gradient(grpo, batch, current(batch), credit)
    _, right = loss_and_gradient(reinforce, batch, current(batch), credit)
    torch.testing.assert_close(left, right, rtol=0, atol=TINY)


def test_the_loss_is_zero_at_ratio_one_but_the_gradient_is_not():
    batch = make_batch([4, 4], [0, 0], [1.0, 0.0])
    loss, gradient = loss_and_gradient(make("grpo", beta=0.0), batch, current(batch))
    assert loss == pytest.approx(0.0, abs=TINY)
    assert gradient.abs().sum() > 0.1


@pytest.mark.parametrize("name", ["grpo", "rloo", "reinforce"])
def test_equal_rewards_in_a_group_give_exactly_no_gradient(name):
    batch = make_batch([5, 3, 7, 2], [0, 0, 0, 0], [0.5] * 4)
    settings_ = {} if name == "rloo" else {"beta": 0.0}
    _, gradient = loss_and_gradient(make(name, **settings_), batch, current(batch, drift=0.1))
    assert gradient.abs().max().item() == 0.0


def test_k3_pushes_nowhere_where_policy_is_reference():
    logp = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    k3 = kl_estimate(logp, logp.detach(), "k3")
    (gradient,) = torch.autograd.grad(k3.sum(), [logp])
    assert k3.abs().max() == 0 and gradient.abs().max() == 0


def test_kl_estimators_against_the_exact_kl_of_small_categoricals():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    exact = (p * (p / q).log()).sum()
    for estimator in ("k1", "k3"):  # unbiased: their mean under p is the KL itself
        mean = (p * kl_estimate(p.log(), q.log(), estimator)).sum()
        assert mean.item() == pytest.approx(exact.item(), abs=TINY)
    assert (kl_estimate(p.log(), q.log(), "k3") >= 0).all()
    assert (
        kl_estimate(p.log(), q.log(), "k1")[0] > 0
    )  # likelier under the policy than under the reference


def test_gae_with_gamma_and_lambda_one_telescopes():
    batch = make_batch([5, 3, 1], [0, 1, 2], [1.0, -0.5, 2.0])
    assert batch.value is not None
    reward = terminal_reward(batch.reward, batch.mask)
    advantage, returns = gae(reward, batch.value, batch.mask, 1.0, 1.0)
    whole = batch.reward[:, None] * batch.mask
    torch.testing.assert_close(advantage, whole - batch.value * batch.mask, rtol=0, atol=TINY)
    torch.testing.assert_close(returns, whole, rtol=0, atol=TINY)
    alone, _ = gae(reward, torch.zeros_like(batch.value), batch.mask, 1.0, 1.0)
    torch.testing.assert_close(alone, whole, rtol=0, atol=TINY)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_gae_is_the_sum_it_is_defined_as(lengths, gamma, lam, seed):
    batch = make_batch(lengths, list(range(len(lengths))), [1.0] * len(lengths), seed=seed)
    assert batch.value is not None
    rewards = torch.randn(batch.mask.shape, dtype=torch.float64) * batch.mask
    advantage, returns = gae(rewards, batch.value, batch.mask, gamma, lam)
    for i, n in enumerate(lengths):
        v = [*batch.value[i, :n].tolist(), 0.0]
        delta = [rewards[i, t].item() + gamma * v[t + 1] - v[t] for t in range(n)]
        for t in range(n):
            direct = math.fsum((gamma * lam) ** (s - t) * delta[s] for s in range(t, n))
            assert advantage[i, t].item() == pytest.approx(direct, abs=1e-10)
            assert returns[i, t].item() == pytest.approx(direct + v[t], abs=1e-10)
        assert advantage[i, n:].abs().sum() == 0


def test_ppo_without_clip_or_whitening_is_reinforce_with_the_critic_as_baseline():
    batch = make_batch([5, 3, 7, 2], [0, 0, 1, 1], [1.0, 0.2, 0.0, 0.7])
    assert batch.value is not None
    ppo = make("ppo", beta=0.0, gae_lambda=1.0, whiten=False, value_weight=0.0)
    _, gradient = loss_and_gradient(ppo, batch, current(batch))
    expected = -(batch.reward[:, None] - batch.value) * batch.mask / batch.mask.sum()
    torch.testing.assert_close(gradient, expected, rtol=0, atol=TINY)


def test_ppo_loss_by_direct_summation():
    batch = make_batch([4, 2, 3], [0, 0, 0], [1.0, 0.0, 0.5], seed=3)
    ppo = make("ppo", beta=0.1)
    credit, now = ppo.credit(batch), current(batch, drift=0.4)
    assert now.value is not None and batch.value is not None and credit.returns is not None
    policy = value = 0.0
    clipped = 0
    for i in range(3):
        for t in range(int(batch.mask[i].sum())):
            ratio = math.exp(now.logp[i, t].item() - batch.old_logp[i, t].item())
            a = credit.advantage[i, t].item()
            free, held = ratio * a, min(max(ratio, 0.8), 1.2) * a
            policy += min(free, held)
            clipped += held < free
            v, old, r = (
                now.value[i, t].item(),
                batch.value[i, t].item(),
                credit.returns[i, t].item(),
            )
            near = old + min(max(v - old, -0.2), 0.2)
            value += 0.5 * max((v - r) ** 2, (near - r) ** 2)
    loss = ppo.loss(batch, credit, now, whole_of(batch))
    assert loss.terms["policy"].item() == pytest.approx(-policy / 9, abs=TINY)
    assert loss.terms["value"].item() == pytest.approx(0.5 * value / 9, abs=TINY)
    assert loss.clipped is not None and int((loss.clipped & batch.mask.bool()).sum()) == clipped > 0


def test_ppo_reward_carries_the_kl_and_advantages_are_white():
    batch = make_batch([4, 2, 3], [0, 0, 0], [1.0, 0.0, 0.5], seed=5)
    advantage = make("ppo", beta=0.2).credit(batch).advantage
    on = batch.mask.bool()
    assert advantage[on].mean().item() == pytest.approx(0, abs=1e-9)
    assert advantage[on].std().item() == pytest.approx(1, abs=1e-6)
    plain = make("ppo", beta=0.0, whiten=False, gae_lambda=1.0).credit(batch).returns
    leashed = make("ppo", beta=0.2, whiten=False, gae_lambda=1.0).credit(batch).returns
    assert plain is not None and leashed is not None and batch.ref_logp is not None
    k1 = (batch.old_logp - batch.ref_logp) * batch.mask
    later = k1.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(leashed, (plain - 0.2 * later) * batch.mask, rtol=0, atol=TINY)


def test_rloo_gradient_is_the_paper_s_on_policy_and_weighted_by_the_sequence_ratio_off_it():
    batch = make_batch([4, 2, 3, 5], [0, 0, 1, 1], [1.0, 0.0, 0.5, 0.4], seed=7)
    rloo = make("rloo")
    advantage = rloo.credit(batch).advantage
    _, gradient = loss_and_gradient(rloo, batch, current(batch))
    torch.testing.assert_close(gradient, -advantage / 4, rtol=0, atol=TINY)
    now = current(batch, drift=0.2)
    ratio = ((now.logp - batch.old_logp) * batch.mask).sum(1, keepdim=True).exp().detach()
    _, gradient = loss_and_gradient(rloo, batch, now)
    torch.testing.assert_close(gradient, -advantage * ratio / 4, rtol=0, atol=1e-10)


def test_rloo_puts_the_kl_into_the_reward():
    batch = make_batch([4, 2], [0, 0], [1.0, 0.0], seed=7)
    assert batch.ref_logp is not None
    k1 = ((batch.old_logp - batch.ref_logp) * batch.mask).sum(1)
    shaped = batch.reward - 0.3 * k1
    advantage = make("rloo", beta=0.3).credit(batch).advantage[:, 0]
    assert advantage[0].item() == pytest.approx((shaped[0] - shaped[1]).item(), abs=TINY)


def test_reinforce_baselines():
    batch = make_batch([4, 2], [0, 0], [1.0, 0.5])
    assert make("reinforce", baseline="none").credit(batch).advantage[:, 0].tolist() == [1.0, 0.5]
    assert make("reinforce").credit(batch).advantage[:, 0].tolist() == [0.25, -0.25]
    moving = make("reinforce", baseline="moving", decay=0.5)
    assert moving.credit(batch).advantage[:, 0].tolist() == [
        0.25,
        -0.25,
    ]  # starts at the first mean
    moving.observe(batch, None)  # pyright: ignore[reportArgumentType]
    moving.observe(make_batch([1, 1], [0, 0], [0.0, 0.0]), None)  # pyright: ignore[reportArgumentType]
    assert moving.state() == {"moving": 0.375}
    again = make("reinforce", baseline="moving", decay=0.5)
    again.load_state(moving.state())
    assert again.credit(batch).advantage[0, 0].item() == 0.625


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("token-mean", (1 + 2 + 3 + 10) / 4),
        ("seq-mean-token-mean", (2 + 10) / 2),
        ("seq-mean-token-sum", (6 + 10) / 2),
        ("seq-mean-token-sum-norm", (6 + 10) / (2 * 8)),
    ],
)
def test_aggregations_by_hand(how, expected):
    x = torch.tensor([[1.0, 2, 3], [10, 99, 99]], dtype=torch.float64)
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]], dtype=torch.float64)
    assert aggregate(x, mask, how, Whole(2, 4, 8)).item() == pytest.approx(expected, abs=TINY)


NAMES = sorted(ALGORITHMS)


@given(
    name=st.sampled_from(NAMES),
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    seed=st.integers(0, 999),
    drift=st.sampled_from([0.0, 0.05, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_padding_order_and_microbatches_change_nothing(name, lengths, seed, drift):
    rows = len(lengths)
    group = [i // 2 for i in range(rows)]
    reward = torch.randn(
        rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).tolist()
    algorithm = make(name)
    batch = make_batch(lengths, group, reward, seed=seed)
    loss, gradient = loss_and_gradient(algorithm, batch, current(batch, drift=drift))
    assert math.isfinite(loss) and gradient.isfinite().all()

    wide = make_batch(lengths, group, reward, seed=seed, width=max(lengths) + 7)
    wider, padded = loss_and_gradient(algorithm, wide, current(wide, drift=drift))
    assert wider == pytest.approx(loss, abs=1e-10)
    torch.testing.assert_close(padded[:, : gradient.shape[1]], gradient, rtol=0, atol=1e-10)
    assert padded[:, gradient.shape[1] :].abs().sum() == 0

    credit, now = algorithm.credit(batch), current(batch, drift=drift)
    whole, total = whole_of(batch), 0.0
    for at in range(rows):  # one row at a time: shares must add up
        index = torch.tensor([at])
        width = lengths[at]
        piece = type(now)(
            now.logp[index, :width], now.entropy[index, :width],
            None if now.value is None else now.value[index, :width],
        )  # fmt: skip
        total += float(
            algorithm.loss(batch.rows(index, width), credit.rows(index, width), piece, whole).total
        )
    assert total == pytest.approx(loss, abs=1e-9)


@given(rewards=st.lists(st.floats(-5, 5), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_group_statistics_against_direct_sums(rewards):
    x = torch.tensor(rewards, dtype=torch.float64)
    group = torch.zeros(len(rewards), dtype=torch.long)
    mean = math.fsum(rewards) / len(rewards)
    assert group_mean(x, group)[0].item() == pytest.approx(mean, abs=1e-9)
    for ddof in (0, 1):
        below = max(len(rewards) - ddof, 1)
        std = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / below)
        assert group_std(x, group, ddof)[0].item() == pytest.approx(std, abs=1e-7)


def test_a_group_of_one_teaches_nothing_and_breaks_nothing():
    batch = make_batch([3, 2], [0, 1], [1.0, 0.0])
    for name in ("grpo", "rloo"):
        assert make(name).credit(batch).advantage.abs().max().item() == 0.0


def test_whitening_leaves_padding_at_zero():
    batch = make_batch([3, 1], [0, 0], [1.0, 0.0])
    white = whiten(torch.ones_like(batch.mask) + torch.arange(3).double(), batch.mask)
    assert (white * (1 - batch.mask)).abs().sum() == 0
