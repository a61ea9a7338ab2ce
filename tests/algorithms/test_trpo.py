"""TRPO on a policy of a few logits, where the natural gradient can be solved densely."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpolab.algorithms.base import Batch, Credit, Report
from grpolab.algorithms.trpo import Trpo, conjugate_gradients
from tests.algorithms.batches import make
from tests.algorithms.toy import Toy, Wavy, toy_problem

EXACT = {"damping": 0.0, "cg_steps": 60, "fisher_share": 1.0}


def surrogate(toy: Toy, batch: Batch, credit: Credit, theta: Tensor) -> Tensor:
    """J(θ): the mean over tokens of ρ·Â, by hand."""
    n, t = batch.mask.shape
    ratio = (toy.logp(theta, torch.arange(n), t) - batch.old_logp).exp()
    return (ratio * credit.advantage * batch.mask).sum() / batch.mask.sum()


def slope(toy: Toy, batch: Batch, credit: Credit) -> Tensor:
    theta = toy.theta.clone().requires_grad_()
    (g,) = torch.autograd.grad(surrogate(toy, batch, credit, theta), [theta])
    return g.reshape(-1)


def step(toy: Toy, batch: Batch, epochs: int = 1, **settings) -> tuple[Report, Credit]:
    trpo = make("trpo", **settings)
    assert isinstance(trpo, Trpo)
    credit = trpo.credit(batch)
    return trpo.update(toy, batch, credit, epochs), credit


# ---------------------------------------------------------------- the parts


def test_the_toy_s_fisher_is_the_one_written_out_by_hand():
    toy, _ = toy_problem(0, states=4, actions=5)
    dense = toy.dense_fisher(torch.arange(6))
    product = toy.fisher(1.0)
    columns = torch.stack([product(v) for v in torch.eye(16, dtype=torch.float64)], 1)
    torch.testing.assert_close(columns, dense, rtol=0, atol=1e-14)
    hessian = torch.autograd.functional.hessian(
        lambda flat: toy.divergence(flat.reshape(4, 4)), toy.position()
    )
    torch.testing.assert_close(hessian, dense, rtol=0, atol=1e-12)  # pyright: ignore


@given(size=st.integers(1, 12), seed=st.integers(0, 999), steps=st.integers(1, 20))
def test_conjugate_gradients_against_a_dense_solve(size, seed, steps):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=g, dtype=torch.float64)
    a = root @ root.T + 0.5 * torch.eye(size, dtype=torch.float64)
    b = torch.randn(size, generator=g, dtype=torch.float64)
    asked = []

    def product(v: Tensor) -> Tensor:
        asked.append(v)
        return a @ v

    x, ax = conjugate_gradients(product, b, steps, tolerance=1e-24)
    torch.testing.assert_close(ax, a @ x, rtol=1e-6, atol=1e-8)
    assert len(asked) <= min(steps, size + 5)
    wanted = torch.linalg.solve(a, b)
    if steps >= size + 4:
        torch.testing.assert_close(x, wanted, rtol=1e-6, atol=1e-8)
    # whatever the number of steps: the error in A's norm falls, and x is a direction of ascent
    error = (x - wanted) @ a @ (x - wanted)
    assert error <= wanted @ a @ wanted * (1 + 1e-9)
    assert x @ b > 0


def test_conjugate_gradients_stop_where_there_is_nothing_left():
    b = torch.tensor([3.0, 0.0], dtype=torch.float64)
    calls = []

    def product(v: Tensor) -> Tensor:
        calls.append(v)
        return 2 * v

    assert conjugate_gradients(product, b, 50)[0].tolist() == [1.5, 0.0]
    assert len(calls) == 1  # solved: no more products
    assert conjugate_gradients(product, b * 0, 50)[0].tolist() == [0.0, 0.0]
    flat, _ = conjugate_gradients(lambda v: v * 0, b, 50)  # a matrix that is not positive
    assert flat.tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- the step


@pytest.mark.parametrize("advantage", ["gae", "group"])
@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_step_is_the_natural_gradient_solved_densely(advantage, pieces, seed):
    toy, batch = toy_problem(seed, states=4, actions=4, rows=9, pieces=pieces)
    start, fisher = toy.position(), toy.dense_fisher(torch.arange(9))
    credit = make("trpo", advantage=advantage).credit(batch)
    g = slope(toy, batch, credit)
    x = torch.linalg.solve(fisher, g)
    whole = x * (2 * 1e-4 / (x @ fisher @ x)).sqrt()
    report, _ = step(toy, batch, advantage=advantage, max_kl=1e-4, **EXACT)
    taken = report.extra["line_search"]
    assert taken in (1.0, 0.5)  # the quadratic is nearly the whole truth at this distance
    torch.testing.assert_close(toy.position() - start, whole * taken, rtol=1e-3, atol=1e-7)
    assert report.grad_norm == pytest.approx(g.norm().item())
    if taken == 1.0:
        assert report.extra["kl_step"] == pytest.approx(1e-4, rel=0.05)
    assert report.extra["kl_step"] == pytest.approx(toy.divergence(toy.theta).item(), rel=1e-12)
    gain = surrogate(toy, batch, credit, toy.theta) - surrogate(
        toy, batch, credit, start.reshape(toy.theta.shape)
    )
    assert report.extra["surrogate_gain"] == pytest.approx(gain.item(), abs=1e-12)


def test_it_is_not_the_plain_gradient():
    toy, batch = toy_problem(3, states=4, actions=4, rows=9, sharpness=2.0)
    start = toy.position()
    _, credit = step(toy, batch, max_kl=1e-4, **EXACT)
    moved = toy.position() - start
    toy.theta = start.reshape(toy.theta.shape)
    plain = slope(toy, batch, credit)
    assert torch.cosine_similarity(moved, plain, dim=0) < 0.95


def test_damping_is_added_to_the_diagonal():
    toy, batch = toy_problem(1, states=4, actions=4, rows=9)
    start, credit = toy.position(), make("trpo").credit(batch)
    damped = toy.dense_fisher(torch.arange(9)) + 0.3 * torch.eye(12, dtype=torch.float64)
    x = torch.linalg.solve(damped, slope(toy, batch, credit))
    whole = x * (2 * 1e-4 / (x @ damped @ x)).sqrt()
    report, _ = step(toy, batch, max_kl=1e-4, **(EXACT | {"damping": 0.3}))
    taken = report.extra["line_search"]
    torch.testing.assert_close(toy.position() - start, whole * taken, rtol=1e-3, atol=1e-7)


def test_the_fisher_may_come_from_a_share_of_the_rows():
    toy, batch = toy_problem(1, states=2, actions=3, rows=10, longest=6)
    start, credit = toy.position(), make("trpo").credit(batch)
    some = toy.dense_fisher(torch.tensor([0, 5]))
    x = torch.linalg.solve(some, slope(toy, batch, credit))
    report, _ = step(toy, batch, max_kl=1e-5, **(EXACT | {"fisher_share": 0.2}))
    moved = toy.position() - start
    assert torch.cosine_similarity(moved, x, dim=0).item() == pytest.approx(1, abs=1e-6)
    assert report.extra["kl_step"] <= 1e-5


def test_the_schedule_shortens_the_step():
    ends = []
    for share in (1.0, 0.25):
        toy, batch = toy_problem(1, states=4, actions=4, rows=9)
        start, toy.lr_scale = toy.position(), share
        report, _ = step(toy, batch, max_kl=1e-5, **EXACT)
        ends.append((toy.position() - start) / report.extra["line_search"])
    torch.testing.assert_close(ends[1], ends[0] * 0.25)


def test_few_conjugate_gradient_steps_ask_for_few_products():
    toy, batch = toy_problem(2, states=5, actions=5, rows=9)
    step(toy, batch, max_kl=1e-4, damping=0.1, cg_steps=4, fisher_share=1.0)
    assert toy.products == 4  # and none for xᵀFx, which these tell


# ---------------------------------------------------------------- the constraint


@given(
    seed=st.integers(0, 9999),
    max_kl=st.sampled_from([1e-5, 1e-3, 1e-2, 0.1, 1.0]),
    sharpness=st.sampled_from([0.1, 1.0, 4.0]),
    advantage=st.sampled_from(["gae", "group"]),
    damping=st.sampled_from([0.0, 0.01, 0.1]),
    share=st.sampled_from([0.2, 1.0]),
    epochs=st.integers(1, 4),
    backtracks=st.sampled_from([1, 3, 10]),
    kind=st.sampled_from([Toy, Wavy]),
)
def test_the_measured_kl_never_passes_its_limit_and_the_surrogate_never_falls(
    seed, max_kl, sharpness, advantage, damping, share, epochs, backtracks, kind
):
    toy, batch = toy_problem(seed, kind=kind, sharpness=sharpness, rows=9)
    before_all = toy.position().reshape(toy.theta.shape)
    trpo = make(
        "trpo", advantage=advantage, max_kl=max_kl, damping=damping, fisher_share=share,
        backtracks=backtracks,
    )  # fmt: skip
    credit = trpo.credit(batch)
    height = surrogate(toy, batch, credit, before_all)
    for _ in range(epochs):  # against the rollout policy each time
        start = toy.position()
        report = trpo.update(toy, batch, credit, 1)
        assert toy.divergence(toy.theta) <= max_kl * (1 + 1e-12)
        now = surrogate(toy, batch, credit, toy.theta)
        taken = report.extra.get("line_search", 0.0)
        if taken:
            assert now > height and taken in {0.5**k for k in range(backtracks)}
            assert report.extra["kl_step"] <= max_kl
        else:
            assert torch.equal(toy.position(), start)
        assert now >= height
        height = now


def test_the_step_is_halved_until_the_kl_holds():
    """A nearly certain policy, whose Fisher promises far more room than there is."""
    toy, batch = toy_problem(5, states=1, actions=3, rows=6, longest=1, group=6, sharpness=6.0)
    report, _ = step(toy, batch, advantage="group", max_kl=0.5, **EXACT)
    taken = report.extra["line_search"]
    assert 0 < taken < 1
    tried = [float(toy.divergence(to.reshape(toy.theta.shape))) for to in toy.moves]
    assert len(tried) == 1 - torch.tensor(taken).log2() and all(kl > 0.5 for kl in tried[:-1])
    assert tried[-1] <= 0.5 and report.extra["kl_step"] == pytest.approx(tried[-1])


def test_the_step_is_halved_until_the_surrogate_rises():
    """With room for any KL, but a surrogate that falls again far away."""
    halved = 0
    for seed in range(12):
        toy, batch = toy_problem(seed, kind=Wavy, states=2, rows=9, sharpness=0.5)
        credit, start = make("trpo").credit(batch), toy.theta
        before = surrogate(toy, batch, credit, start)
        report, _ = step(toy, batch, max_kl=30.0, **EXACT)
        values = [surrogate(toy, batch, credit, to.reshape(start.shape)) for to in toy.moves]
        if report.extra["line_search"] == 0:  # where the Fisher is nearly flat: all too far
            assert all(value <= before for value in values)
            continue
        assert values[-1] > before and all(value <= before for value in values[:-1])
        halved += len(values) > 1
    assert halved > 2


def test_what_the_line_search_improves_is_what_the_gradient_is_of():
    """The surrogate with its entropy bonus, whose natural gradient is taken too."""
    toy, batch = toy_problem(4, states=4, actions=4, rows=9)
    start, fisher = toy.theta, toy.dense_fisher(torch.arange(9))
    credit = make("trpo").credit(batch)

    def aim(theta: Tensor) -> Tensor:
        logp = toy.distribution(theta)
        entropy = -(logp.exp() * logp).sum(1)[toy.states] * batch.mask
        return surrogate(toy, batch, credit, theta) + 0.7 * entropy.sum() / batch.mask.sum()

    theta = start.clone().requires_grad_()
    (g,) = torch.autograd.grad(aim(theta), [theta])
    x = torch.linalg.solve(fisher, g.reshape(-1))
    whole = x * (2 * 1e-4 / (x @ fisher @ x)).sqrt()
    report, _ = step(toy, batch, max_kl=1e-4, entropy_bonus=0.7, **EXACT)
    moved = toy.position() - start.reshape(-1)
    torch.testing.assert_close(moved, whole * report.extra["line_search"], rtol=1e-3, atol=1e-7)
    gain = (aim(toy.theta) - aim(start)).item()
    assert report.extra["surrogate_gain"] == pytest.approx(gain, abs=1e-12)


def test_where_no_try_is_good_enough_the_policy_stays():
    toy, batch = toy_problem(5, states=1, actions=3, rows=6, longest=1, group=6, sharpness=6.0)
    start = toy.position()
    settings = {"advantage": "group", "max_kl": 0.5, "backtracks": 1} | EXACT
    report, _ = step(toy, batch, **settings)
    assert report.extra == {"line_search": 0.0, "surrogate_gain": 0.0}
    assert torch.equal(toy.position(), start) and len(toy.moves) == 2  # there and back


def test_what_a_failed_search_reports_is_of_that_search():
    """After a step that was taken: the KL so far stays, the gain was nothing."""
    toy, batch = toy_problem(5, states=1, actions=3, rows=6, longest=1, group=6, sharpness=1.0)
    settings = {"advantage": "group", "max_kl": 1e-4, "backtracks": 2} | EXACT
    report, _ = step(toy, batch, epochs=6, **settings)
    assert report.extra["line_search"] == 0.0 == report.extra["surrogate_gain"]
    assert 0 < report.extra["kl_step"] <= 1e-4
    assert report.extra["kl_step"] == pytest.approx(float(toy.divergence(toy.theta)))


def test_without_a_gradient_nothing_moves():
    toy, batch = toy_problem(0)
    start = toy.position()
    batch = replace(batch, reward=batch.reward * 0 + 0.7)
    report, _ = step(toy, batch, advantage="group", epochs=2, **EXACT)
    assert report.grad_norm == 0.0 and report.updates == 2 and report.extra == {}
    assert torch.equal(toy.position(), start) and toy.moves == [] and toy.products == 0


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(reward):
    toy, batch = toy_problem(0)
    start = toy.position()
    broken = batch.reward.clone()
    broken[0] = reward
    report, _ = step(toy, replace(batch, reward=broken), advantage="group", **EXACT)
    assert not report.grad_norm < float("inf")
    assert torch.equal(toy.position(), start) and toy.moves == []


# ---------------------------------------------------------------- beside it


def test_the_critic_takes_an_ordinary_step_beside_each():
    toy, batch = toy_problem(0)
    trpo = make("trpo", max_kl=1e-3, **EXACT)
    credit = trpo.credit(batch)
    assert credit.returns is not None
    value, tokens = toy.value.clone(), batch.mask.sum()
    error = (batch.value - credit.returns) * batch.mask  # pyright: ignore
    wanted = torch.zeros_like(value).index_add(0, toy.states.reshape(-1), error.reshape(-1))
    report = trpo.update(toy, batch, credit, 1)
    torch.testing.assert_close(toy.value, value - 0.5 * wanted / tokens)
    assert report.updates == 1 and report.extra["line_search"] > 0


def test_in_the_critic_s_warm_up_only_the_critic_learns():
    toy, batch = toy_problem(0)
    start, value = toy.position(), toy.value.clone()
    report, _ = step(toy, batch, critic_warmup=1, **EXACT)
    assert torch.equal(toy.position(), start) and not torch.equal(toy.value, value)
    assert report.grad_norm == 0.0


def test_several_steps_climb_as_far_as_the_limit_allows():
    """With room enough the surrogate nears its best: the praised action everywhere."""
    toy, batch = toy_problem(2, states=1, actions=3, rows=12, longest=1, group=12)
    trpo = make("trpo", advantage="group", max_kl=50.0, **EXACT)
    credit = trpo.credit(batch)
    before = surrogate(toy, batch, credit, toy.theta).item()
    for _ in range(20):
        trpo.update(toy, batch, credit, 1)
    of_action = torch.zeros(3, dtype=torch.float64).index_add(
        0, toy.actions[:, 0], credit.advantage[:, 0]
    )
    best = (of_action / 12 / toy.old.exp()[0]).max().item()
    assert before < best
    assert surrogate(toy, batch, credit, toy.theta).item() > before + 0.9 * (best - before)
