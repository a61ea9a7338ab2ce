"""Settings that combine with every algorithm: what each does to the loss, and what it leaves
alone. How they combine with each other is held against the oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Batch
from tests.algorithms.batches import (
    NAMES,
    current,
    loss_and_gradient,
    make,
    make_batch,
    whole_of,
)

TINY = 1e-12
UNCLIPPED = {
    name: {"clip_low": None, "clip_high": None}
    for name in NAMES
    if "clip_low" in ALGORITHMS[name].Settings.model_fields
}


def assert_same(found: Tensor, wanted: Tensor, atol: float = TINY) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


def two_groups(seed: int = 0) -> Batch:
    return make_batch([5, 3, 7, 2, 4, 6], [0, 0, 0, 1, 1, 1], [1.0, 0.2, 0, 0.7, 0, 1], seed=seed)


# ---------------------------------------------------------------- the KL in the reward


def test_ppo_reward_carries_the_kl_and_advantages_are_white():
    batch = two_groups(5)
    found = make("ppo", beta=0.2).credit(batch).advantage[batch.mask.bool()]
    assert found.mean().item() == pytest.approx(0, abs=1e-9)
    assert found.std().item() == pytest.approx(1, abs=1e-6)
    how = {"whiten": False, "gae_lambda": 1.0}
    plain, with_kl = (make("ppo", beta=b, **how).credit(batch).returns for b in (0.0, 0.2))
    assert plain is not None and with_kl is not None and batch.ref_logp is not None
    k1 = (batch.old_logp - batch.ref_logp) * batch.mask
    later = k1.flip(1).cumsum(1).flip(1)
    assert_same(with_kl, (plain - 0.2 * later) * batch.mask)


def test_in_remax_the_kl_counts_from_its_token_on():
    batch = two_groups(7)
    assert batch.ref_logp is not None and batch.greedy_reward is not None
    k1 = (batch.old_logp - batch.ref_logp) * batch.mask
    later = k1.flip(1).cumsum(1).flip(1)
    wanted = (batch.reward - batch.greedy_reward)[:, None] - 0.2 * later
    assert_same(make("remax", beta=0.2).credit(batch).advantage, wanted * batch.mask)


@pytest.mark.parametrize("name", ["rloo", "grpo", "dr-grpo", "maxrl", "opo", "reinforce", "is-pg"])
def test_an_answer_s_reward_loses_its_kl(name):
    """In those with one advantage an answer, KL in the reward is a smaller reward."""
    batch = two_groups(7)
    assert batch.ref_logp is not None
    k1 = ((batch.old_logp - batch.ref_logp) * batch.mask).sum(1)
    charged = replace(batch, reward=batch.reward - 0.3 * k1)
    kl = {"beta": 0.3, "kl_place": "reward", "kl_estimator": "k1"}
    with_kl = make(name, **kl).credit(batch).advantage
    assert_same(with_kl, make(name, beta=0.0).credit(charged).advantage)
    assert (with_kl - make(name, beta=0.0).credit(batch).advantage).abs().max() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_long_answers_cost_what_the_soft_limit_says(name):
    """L = 10, the last 40 % cost: 5 and 6 tokens nothing, 8 half, 10 all of it."""
    batch = make_batch([5, 6, 8, 10], [0, 0, 0, 0], [1.0] * 4, max_tokens=10)
    how = {"overlong_buffer": 0.4, "overlong_penalty": 0.5}
    shaped = make(name, beta=0.0, **how).shape(batch)
    assert shaped.reward.tolist() == pytest.approx([1.0, 1.0, 0.75, 0.5], abs=TINY)
    assert shaped.token_reward is not None
    assert_same(shaped.token_reward.sum(1), shaped.reward)


# ---------------------------------------------------------------- settings that combine


@pytest.mark.parametrize("name", NAMES)
def test_top_entropy_lets_exactly_the_least_certain_tokens_learn(name):
    batch = two_groups(2)  # 27 tokens
    assert batch.entropy is not None
    entropies = batch.entropy[batch.mask.bool()]
    kept = batch.entropy >= entropies.sort(descending=True).values[6]  # ⌈0.25 · 27⌉ = 7
    now = current(batch, drift=0.1)
    masked, free = (make(name, beta=0.0, top_entropy=p) for p in (0.25, 1.0))
    mask = masked.credit(batch).token_mask
    assert mask is not None and torch.equal(mask, kept) and int(mask.sum()) == 7
    parts = []
    for algorithm in (masked, free):
        loss = algorithm.loss(batch, algorithm.credit(batch), now, whole_of(batch))
        (slope,) = torch.autograd.grad(loss.terms["policy"], [now.logp], retain_graph=True)
        parts.append((loss.terms["policy"].item(), slope))
    assert parts[0][0] == pytest.approx(parts[1][0], abs=TINY)  # the value stays
    assert_same(parts[0][1], parts[1][1] * kept)
    assert parts[1][1][~kept & batch.mask.bool()].abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_truncated_importance_sampling_weighs_the_gain_and_nothing_else(name):
    """A cap at which nothing is capped, so that the weight is old/sampler itself."""
    batch = two_groups(2)
    assert batch.sampler_logp is not None
    gap = (batch.old_logp - batch.sampler_logp) * batch.mask
    sequence = make(name).aggregation == "sequence-mean"
    weight = gap.sum(1, keepdim=True).exp() if sequence else gap.exp()
    now = current(batch, drift=0.1)
    slopes = []
    for cap in (None, 1e9, 1.05):
        algorithm = make(name, beta=0.1, tis_cap=cap, **UNCLIPPED.get(name, {}))
        loss = algorithm.loss(batch, algorithm.credit(batch), now, whole_of(batch))
        (slope,) = torch.autograd.grad(loss.terms["policy"], [now.logp], retain_graph=True)
        rest = loss.total - loss.terms["policy"]
        slopes.append((slope, rest.item()))
    assert_same(slopes[1][0], slopes[0][0] * weight * batch.mask)
    assert_same(slopes[2][0], slopes[0][0] * weight.clamp(max=1.05) * batch.mask)
    assert slopes[1][1] == pytest.approx(slopes[0][1], abs=TINY)
    assert slopes[2][1] == pytest.approx(slopes[0][1], abs=TINY)
    assert (weight > 1.05).any() and (weight < 1.05).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_entropy_bonus_is_the_mean_entropy_as_the_algorithm_means(name):
    batch = two_groups(2)
    now = current(batch, drift=0.1)
    algorithm = make(name, entropy_bonus=0.3)
    loss = algorithm.loss(batch, algorithm.credit(batch), now, whole_of(batch))
    (slope,) = torch.autograd.grad(loss.total, [now.entropy])
    lengths = batch.mask.sum(1, keepdim=True)
    share = {
        "token-mean": batch.mask / batch.mask.sum(),
        "seq-mean-token-mean": batch.mask / lengths / 6,
        "sequence-mean": batch.mask / lengths / 6,
        "seq-mean-token-sum": batch.mask / 6,
        "seq-mean-token-sum-norm": batch.mask / (6 * batch.max_tokens),
    }[ALGORITHMS[name].mean()]
    assert_same(slope, -0.3 * share)
    assert loss.terms["entropy"].item() == pytest.approx(-0.3 * (now.entropy * share).sum().item())


@pytest.mark.parametrize("name", NAMES)
def test_it_names_all_that_a_lane_must_prepare(name):
    """Without what it says it needs, it fails; without what it does not, it changes nothing."""
    batch = two_groups()
    algorithm = make(name)
    needs = {
        "value": algorithm.needs_critic,
        "ref_logp": algorithm.needs_reference,
        "greedy_reward": algorithm.needs_greedy,
        "steps": algorithm.needs_steps,
        "entropy": algorithm.needs_entropy,
        "sampler_logp": algorithm.needs_sampler_gap,
    }
    loss, gradient = loss_and_gradient(algorithm, batch, current(batch, drift=0.2))
    for key, needed in needs.items():
        less = replace(batch, **{key: None})
        now = current(batch, drift=0.2)
        if needed and key != "ref_logp":
            with pytest.raises((AssertionError, TypeError)):
                loss_and_gradient(algorithm, less, now)
            continue
        found, slope = loss_and_gradient(algorithm, less, now)
        same = found == loss and torch.equal(slope, gradient)
        assert same != needed, key
    assert make(name, top_entropy=0.5).needs_entropy and make(name, tis_cap=1.0).needs_sampler_gap
