"""What shared definitions promise, in float64 and by direct summation written for the test."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpolab.algorithms.base import BatchTotals
from grpolab.algorithms.functional import (
    above_min,
    aggregate,
    centred,
    clipped_surrogate,
    gae,
    group_mean,
    group_std,
    reward_to_go,
    standardised,
    terminal_reward,
    whiten,
)
from tests.algorithms.batches import make_batch

TINY = 1e-12


# ---------------------------------------------------------------- groups


@given(rewards=st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_group_statistics_against_direct_sums(rewards):
    x = torch.tensor([7.0, *rewards], dtype=torch.float64)  # another group stands before it
    group = torch.tensor([0] + [1] * len(rewards))
    mean = math.fsum(rewards) / len(rewards)
    assert group_mean(x, group)[1].item() == pytest.approx(mean, abs=1e-9)
    assert centred(x, group)[1].item() == pytest.approx(rewards[0] - mean, abs=1e-9)
    for ddof in (0, 1):
        below = max(len(rewards) - ddof, 1)
        std = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / below)
        assert group_std(x, group, ddof)[1].item() == pytest.approx(std, abs=1e-7)
        wanted = (rewards[0] - mean) / (std + 0.5)
        assert standardised(x, group, ddof, 0.5)[1].item() == pytest.approx(wanted, abs=1e-7)


@given(reward=st.floats(-1e6, 1e6), size=st.integers(1, 9), ddof=st.sampled_from((0, 1)))
def test_equal_rewards_are_centred_to_exactly_zero(reward, size, ddof):
    x = torch.full((size,), reward, dtype=torch.float64)
    group = torch.zeros(size, dtype=torch.long)
    for found in (above_min(x, group), centred(x, group), group_std(x, group, ddof)):
        assert found.abs().max() == 0
    assert standardised(x, group, ddof, 0.0).abs().max() == 0  # and 0/0 is no NaN


# ---------------------------------------------------------------- tokens


def test_whitening_by_direct_sums():
    batch = make_batch([3, 1], [0, 0], [1.0, 0.0])
    x = torch.tensor([[1.0, 2, 6], [3, 99, 99]], dtype=torch.float64)
    for ddof, variance in ((0, 14 / 4), (1, 14 / 3)):  # mean 3
        white = whiten(x, batch.mask, ddof, 0.25)
        wanted = [[v / math.sqrt(variance + 0.25) for v in (-2, -1, 3)], [0, 0, 0]]
        torch.testing.assert_close(white, torch.tensor(wanted, dtype=torch.float64))
    assert whiten(x, batch.mask)[1].abs().max() == 0  # padding too


def test_the_reward_stands_at_the_last_token():
    batch = make_batch([3, 1], [0, 0], [2.0, 5.0])
    wanted = torch.tensor([[0, 0, 2.0], [5.0, 0, 0]], dtype=torch.float64)
    assert torch.equal(terminal_reward(batch.reward, batch.mask), wanted)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_gae_and_returns_are_the_sums_they_are_defined_as(lengths, gamma, lam, seed):
    batch = make_batch(lengths, list(range(len(lengths))), [1.0] * len(lengths), seed=seed)
    assert batch.value is not None and batch.entropy is not None
    rewards = batch.entropy - 0.7 * batch.mask
    advantage, returns = gae(rewards, batch.value, batch.mask, gamma, lam)
    by_row, _ = gae(rewards, batch.value, batch.mask, gamma, torch.full((len(lengths),), lam))
    torch.testing.assert_close(by_row, advantage, rtol=0, atol=1e-6)
    later = reward_to_go(rewards, batch.mask, gamma)
    for i, n in enumerate(lengths):
        v = [*batch.value[i, :n].tolist(), 0.0]
        delta = [rewards[i, t].item() + gamma * v[t + 1] - v[t] for t in range(n)]
        for t in range(n):
            direct = math.fsum((gamma * lam) ** (s - t) * delta[s] for s in range(t, n))
            assert advantage[i, t].item() == pytest.approx(direct, abs=1e-10)
            assert returns[i, t].item() == pytest.approx(direct + v[t], abs=1e-10)
            to_go = math.fsum(gamma ** (s - t) * rewards[i, s].item() for s in range(t, n))
            assert later[i, t].item() == pytest.approx(to_go, abs=1e-10)
        assert advantage[i, n:].abs().sum() == 0 == later[i, n:].abs().sum()


# ---------------------------------------------------------------- clipping, and one number


@pytest.mark.parametrize(
    ("ratio", "advantage", "low", "high", "dual", "gain", "clipped"),
    [
        (1.5, 1.0, 0.2, 0.3, None, 1.3, True),
        (1.5, 1.0, 0.2, None, None, 1.5, False),
        (0.5, 1.0, 0.2, 0.3, None, 0.5, False),
        (0.5, -1.0, 0.2, 0.3, None, -0.8, True),
        (0.5, -1.0, None, 0.3, None, -0.5, False),
        (1.5, -1.0, 0.2, 0.3, None, -1.5, False),
        (4.0, -2.0, 0.2, 0.3, 3.0, -6.0, True),
        (2.0, -2.0, 0.2, 0.3, 3.0, -4.0, False),
        (4.0, -2.0, None, None, 3.0, -6.0, True),
        (4.0, 2.0, None, None, 3.0, 8.0, False),
        (1.3, 1.0, 0.2, 0.3, None, 1.3, False),  # on the edge nothing was taken away
    ],
)
def test_the_clipped_surrogate_by_hand(ratio, advantage, low, high, dual, gain, clipped):
    def number(x: float) -> torch.Tensor:
        return torch.tensor([[x]], dtype=torch.float64)

    found, flag = clipped_surrogate(number(ratio), number(advantage), low, high, dual)
    assert found.item() == pytest.approx(gain, abs=TINY) and flag.item() is clipped


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
    assert aggregate(x, mask, how, BatchTotals(2, 4, 8)).item() == pytest.approx(expected, abs=TINY)
    one_a_row = torch.tensor([[6.0], [10.0]], dtype=torch.float64)
    assert aggregate(one_a_row, mask, "sequence-mean", BatchTotals(2, 4, 8)).item() == 8
