"""What algorithms remember from step to step: β under its controllers, the moving baseline, the
age of a reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from grpolab.algorithms.base import Report
from grpolab.algorithms.metrics import step_metrics
from tests.algorithms.batches import (
    NAMES,
    Tape,
    advantage,
    current,
    make,
    make_batch,
    takes,
    whole_of,
)

NOTHING = Report()


def at_distance(kl: float):
    """A batch of answers whose k1 against the reference sums to `kl` on average."""
    batch = make_batch([4, 2], [0, 0], [1.0, 0.0])
    each = torch.tensor([[kl / 4, kl / 2, 0, 0], [kl, kl / 4, 0, 0]], dtype=torch.float64)
    return replace(batch, ref_logp=batch.old_logp - each)


def moved(algorithm, *kls: float) -> float:
    for kl in kls:
        algorithm.observe(at_distance(kl), NOTHING)
    return algorithm.beta


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("ppo-")])
def test_ziegler_s_controller_by_hand(name):
    """β ← β·(1 + K·clip(KL/target − 1, −.2, .2)), 1909.08593 §2.2, KL the sum over an answer."""
    how = {"beta": 0.1, "kl_controller": "adaptive", "kl_target": 5.0, "kl_gain": 0.1}
    assert moved(make(name, **how), 5.0) == pytest.approx(0.1)
    assert moved(make(name, **how), 5.5) == pytest.approx(0.1 * 1.01)
    assert moved(make(name, **how), 4.75) == pytest.approx(0.1 * 0.995)
    assert moved(make(name, **how), 500.0) == pytest.approx(0.1 * 1.02)  # not faster than this
    assert moved(make(name, **how), -3.0) == pytest.approx(0.1 * 0.98)
    assert moved(make(name, **how), 5.5, 500.0) == pytest.approx(0.1 * 1.01 * 1.02)
    assert moved(make(name, **(how | {"kl_gain": 0.5})), 5.5) == pytest.approx(0.1 * 1.05)
    assert moved(make(name, **(how | {"kl_controller": "fixed"})), 500.0) == 0.1


def test_the_moved_beta_is_what_counts():
    batch = at_distance(3.0)
    for place in ("loss", "reward"):
        how = {"beta": 0.1, "kl_place": place, "kl_estimator": "k1"}
        steered, fixed = make("grpo", **how), make("grpo", **(how | {"beta": 0.25}))
        steered.load_state({"kl_scale": 2.5})
        a, b = steered.credit(batch), fixed.credit(batch)
        torch.testing.assert_close(a.advantage, b.advantage)
        now = current(batch, drift=0.2)
        both = [x.loss(batch, a, now, whole_of(batch)).total.item() for x in (steered, fixed)]
        assert both[0] == pytest.approx(both[1])
        assert step_metrics(steered, batch, a, NOTHING)["beta"] == pytest.approx(0.25)


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_beta_is_read_from_old_and_new_checkpoints(name):
    """Checkpoints call it `kl_scale`, those of earlier versions `leash`."""
    for key in ("kl_scale", "leash"):
        algorithm = make(name, beta=0.1)
        algorithm.load_state({key: 2.5})
        assert algorithm.kl_scale == 2.5 and algorithm.beta == pytest.approx(0.25)
        assert algorithm.state()["kl_scale"] == 2.5 and "leash" not in algorithm.state()
    both = make(name, beta=0.1)
    both.load_state({"kl_scale": 2.0, "leash": 3.0})
    assert both.kl_scale == 2.0


@pytest.mark.parametrize(
    ("kls", "beta"),
    [
        ([0.016], 2.0),  # 1.5 · .01 is passed
        ([0.0149], 1.0),
        ([0.0067], 1.0),
        ([0.0066], 0.5),  # .01 / 1.5 is not reached
        ([0.1, 0.1, 0.1], 8.0),
        ([0.0, 0.0, 0.1], 0.5),
    ],
)
def test_ppo_1_doubles_and_halves_beta(kls, beta):
    algorithm = make("ppo-adaptive-kl", kl_target=0.01)
    batch = at_distance(50.0)  # the KL against the reference plays no part
    for kl in kls:
        algorithm.observe(batch, Report(extra={"kl_step": kl}))
    assert algorithm.beta == beta


def test_ppo_1_measures_the_kl_itself_and_waits_in_the_critic_s_warm_up():
    batch = make_batch([4, 2], [0, 0], [1.0, 0.0])
    algorithm = make("ppo-adaptive-kl", critic_warmup=1)
    assert algorithm.needs_kl_to_rollout
    told = [{}, {"kl_step": 0.0, "beta": 1.0}]  # nothing while it waits; then β of these updates
    for age, beta in ((0, 1.0), (1, 0.5)):
        old = replace(batch, critic_age=age)
        tape = Tape(old, current(old), [[[0, 1]]])
        report = algorithm.update(tape, old, algorithm.credit(old), 1)
        assert report.extra == told[age]
        algorithm.observe(old, report)
        assert algorithm.beta == beta


@pytest.mark.parametrize("name", ["ppo", "vapo", "trpo"])
def test_beta_waits_for_the_critic_too(name):
    how = {"beta": 0.1, "kl_controller": "adaptive", "kl_target": 5.0, "critic_warmup": 2}
    algorithm = make(name, **how)
    for age, beta in ((0, 0.1), (1, 0.1), (2, 0.1 * 1.02)):
        algorithm.observe(replace(at_distance(500.0), critic_age=age), NOTHING)
        assert algorithm.beta == pytest.approx(beta)


def test_ppo_1_never_loses_beta_altogether():
    algorithm = make("ppo-adaptive-kl")
    for extreme, least, most in ((0.0, 1e-9, 1e-3), (9.0, 1e3, 1e9)):
        for _ in range(200):
            algorithm.observe(at_distance(0.0), Report(extra={"kl_step": extreme}))
        assert least < algorithm.beta < most


@pytest.mark.parametrize("name", ["reinforce", "is-pg"])
def test_baselines_by_hand(name):
    batch = make_batch([4, 2], [0, 0], [1.0, 0.5])
    assert advantage(make(name, baseline="none"), batch) == [1.0, 0.5]
    assert advantage(make(name), batch) == [0.25, -0.25]
    moving = make(name, baseline="moving", decay=0.75)
    assert advantage(moving, batch) == [0.25, -0.25]  # starts at the first rollout's mean
    moving.observe(batch, NOTHING)
    assert moving.state() == {"kl_scale": 1.0, "moving": 0.75}
    moving.observe(make_batch([1, 1], [0, 0], [0.0, 0.0]), NOTHING)
    assert moving.state()["moving"] == 0.5625
    assert advantage(moving, batch) == [0.4375, -0.0625]


@pytest.mark.parametrize("name", ["reinforce", "is-pg"])
def test_the_moving_baseline_is_of_the_rewards_that_it_is_taken_from(name):
    """Those with the KL and the price of length in them."""
    how = {"beta": 0.5, "kl_place": "reward", "kl_estimator": "k1", "overlong_buffer": 1.0}
    moving = make(name, baseline="moving", **how)
    batch = at_distance(4.0)
    moving.observe(batch, NOTHING)
    found = moving.credit(batch).advantage[:, 0]
    assert found.sum().item() == pytest.approx(0, abs=1e-12) and found.abs().min() > 0.1


def test_the_reference_grows_old():
    algorithm = make("grpo-iterative", iteration_steps=3)
    asked = []
    for _ in range(7):
        algorithm.observe(at_distance(1.0), NOTHING)
        asked.append(algorithm.wants_new_reference())
    assert asked == [False, False, True, False, False, True, False]
    assert not make("grpo", beta=0.1).wants_new_reference()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_remembered_is_restored(name):
    settings = [{}, {"baseline": "moving"}, {"kl_controller": "adaptive", "beta": 0.1}]
    for how in settings:
        if not takes(name, how):
            continue
        if how.get("kl_controller") and name in ("ppo-kl", "ppo-adaptive-kl"):
            continue  # they have one controller each
        first, second = make(name, **how), make(name, **how)
        for kl in (1.0, 9.0):
            first.observe(at_distance(kl), Report(extra={"kl_step": 0.5}))
        second.load_state(first.state())
        assert second.state() == first.state()
        batch = at_distance(2.0)
        first.observe(batch, Report(extra={"kl_step": 0.5}))
        second.observe(batch, Report(extra={"kl_step": 0.5}))
        assert second.state() == first.state() and second.beta == first.beta
        torch.testing.assert_close(
            first.credit(batch).advantage, second.credit(batch).advantage, rtol=0, atol=0
        )
