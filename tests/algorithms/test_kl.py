"""KL estimators as the algorithms use them, against the exact KL of small distributions, by
enumerating every outcome: which of them have its value, and which its gradient."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from grpolab.algorithms.base import Batch, Forward
from grpolab.algorithms.functional import kl_estimate
from tests.algorithms.batches import NAMES, loss_and_gradient, make, steps_of, whole_of

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
ELSEWHERE = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
EXACT = float((P * (P / Q).log()).sum())
TINY = 1e-12


@pytest.mark.parametrize("estimator", ["k1", "k3", "unbiased"])
def test_these_have_the_kl_as_their_mean(estimator):
    mean = (P * kl_estimate(P.log(), Q.log(), estimator)).sum()
    assert mean.item() == pytest.approx(EXACT, abs=TINY)


def test_k2_does_not_have_it_and_signs_are_as_published():
    k1, k2, k3 = (kl_estimate(P.log(), Q.log(), k) for k in ("k1", "k2", "k3"))
    assert (P * k2).sum().item() != pytest.approx(EXACT, abs=1e-3)
    assert k1[0] > 0 > k1[2]  # likelier under the policy than under the reference: positive
    assert (k2 >= 0).all() and (k3 >= 0).all()
    assert k1[0].item() == pytest.approx(0.9162907318741551, abs=TINY)  # log 2.5
    assert k2[0].item() == pytest.approx(0.9162907318741551**2 / 2, abs=TINY)
    assert k3[0].item() == pytest.approx(0.4 - 1 + 0.9162907318741551, abs=TINY)


# ---------------------------------------------------------------- one token


def outcomes(policy: Tensor, old: Tensor, ref: Tensor) -> tuple[Batch, Tensor]:
    """A batch with one row for each category, and the policy's log-probs."""
    n = len(policy)
    one = torch.ones(n, 1, dtype=torch.float64)
    batch = Batch(
        mask=one, group=torch.zeros(n, dtype=torch.long), reward=torch.zeros(n).double(),
        old_logp=old.log()[:, None], ref_logp=ref.log()[:, None], value=one * 0, max_tokens=1,
        greedy_reward=torch.zeros(n).double(), entropy=one, sampler_logp=old.log()[:, None],
        steps=steps_of([[(0, 0.0)]] * n),
    )  # fmt: skip
    return batch, policy.log()[:, None]


def expected_slope(name: str, policy: Tensor, old: Tensor, ref: Tensor, **settings) -> Tensor:
    """The mean, over samples of `old`, of the loss's gradient in the policy's logits."""
    batch, logp = outcomes(policy, old, ref)
    algorithm = make(name, **settings)
    now = Forward(logp.clone().requires_grad_(), batch.mask, batch.value)
    _, slope = loss_and_gradient(algorithm, batch, now)
    of_each = slope[:, 0] * len(policy) * old
    return of_each - of_each.sum() * policy  # through the log-softmax


def exact_slope(policy: Tensor, ref: Tensor) -> Tensor:
    """∂KL(π‖π_ref)/∂logits."""
    logits = policy.log().clone().requires_grad_()
    pi = logits.log_softmax(0)
    (slope,) = torch.autograd.grad((pi.exp() * (pi - ref.log())).sum(), [logits])
    return slope


IN_THE_LOSS = [n for n in NAMES if n not in ("ppo-kl", "ppo-adaptive-kl")]
# with nothing but the KL in the reward, and no baseline that depends on the other rows
IN_THE_REWARD = [("reinforce", {"baseline": "none"}), ("is-pg", {"baseline": "none"})]
IN_THE_REWARD += [("remax", {})]


@pytest.mark.parametrize("name", IN_THE_LOSS)
@pytest.mark.parametrize(
    ("estimator", "old", "right"),
    [
        ("unbiased", P, True),
        ("unbiased", ELSEWHERE, True),  # also when an older policy sampled
        ("k2", P, True),
        ("k2", ELSEWHERE, False),
        ("k1", P, False),
        ("k3", P, False),
        ("k3", ELSEWHERE, False),
    ],
)
def test_which_have_the_kl_s_gradient_in_the_loss(name, estimator, old, right):
    settings_of_kl = {"beta": 1.0, "kl_place": "loss", "kl_estimator": estimator}
    if name == "kimi-md":
        settings_of_kl["tau"] = 0.0
    with_it = expected_slope(name, P, old, Q, **settings_of_kl)
    without = expected_slope(name, P, old, Q, **(settings_of_kl | {"beta": 0.0}))
    found, wanted = with_it - without, exact_slope(P, Q)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12) is right
    if estimator == "k1":  # on-policy its gradient is on average nothing at all
        assert found.abs().max() < 1e-12
    if estimator == "k3" and old is P:  # but that of KL(π_ref‖π), the other way round
        assert torch.allclose(found, P - Q, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "settings"), IN_THE_REWARD)
@pytest.mark.parametrize(
    ("estimator", "right"), [("k1", True), ("k2", False), ("k3", False), ("unbiased", False)]
)
def test_which_have_the_kl_s_gradient_in_the_reward(name, settings, estimator, right):
    settings_of_kl = {"beta": 1.0, "kl_place": "reward", "kl_estimator": estimator}
    found = expected_slope(name, P, P, Q, **settings_of_kl, **settings)
    assert torch.allclose(found, exact_slope(P, Q), rtol=0, atol=1e-12) is right


@pytest.mark.parametrize("old", [P, ELSEWHERE])
def test_the_unbiased_estimator_has_the_kl_s_value_off_policy_too(old):
    batch, logp = outcomes(P, old, Q)
    found = {}
    for estimator in ("unbiased", "k3"):
        value = 0.0
        for v in range(3):  # one row at a time, weighted as `old` samples it
            rows = torch.tensor([v])
            one = batch.rows(rows, 1)
            algorithm = make("grpo", beta=1.0, kl_estimator=estimator)
            now = Forward(logp[rows], one.mask, one.value)
            loss = algorithm.loss(one, algorithm.credit(one), now, whole_of(one))
            value += old[v].item() * loss.terms["kl"].item()
        found[estimator] = value
    assert found["unbiased"] == pytest.approx(EXACT, abs=TINY)
    assert (found["k3"] == pytest.approx(EXACT, abs=TINY)) is (old is P)


@pytest.mark.parametrize(("estimator", "right"), [("k1", True), ("k3", True), ("k2", False)])
@pytest.mark.parametrize("name", ["ppo-kl", "ppo-adaptive-kl"])
def test_the_penalty_of_ppo_s_section_4_is_kl_of_old_to_new(name, estimator, right):
    """In value and in gradient, as its samples are those of the old policy."""
    how = {"beta": 1.0, "kl_estimator": estimator}
    found = expected_slope(name, P, ELSEWHERE, Q, **how)
    found = found - expected_slope(name, P, ELSEWHERE, Q, **(how | {"beta": 0.0}))
    assert torch.allclose(found, P - ELSEWHERE, rtol=0, atol=1e-12) is right
    batch, logp = outcomes(P, ELSEWHERE, Q)
    mean = (ELSEWHERE * kl_estimate(batch.old_logp, logp, estimator)[:, 0]).sum()
    exact = (ELSEWHERE * (ELSEWHERE / P).log()).sum()
    assert (mean.item() == pytest.approx(exact.item(), abs=TINY)) is right


# ---------------------------------------------------------------- whole answers


@pytest.mark.parametrize(("name", "settings"), IN_THE_REWARD)
def test_k1_in_the_reward_has_the_gradient_of_the_kl_of_whole_answers(name, settings):
    """Answers of two tokens from three, every one of them enumerated; the policy of the second
    token depends on the first."""
    g = torch.Generator().manual_seed(3)
    first, second, ref1, ref2 = (
        torch.randn(*shape, 3, generator=g, dtype=torch.float64) for shape in ((), (3,), (), (3,))
    )
    theta = torch.cat([first[None], second]).requires_grad_()  # [4, 3]
    answers = torch.tensor(list(product(range(3), repeat=2)))

    def logp_of(one: Tensor, two: Tensor) -> Tensor:  # [9, 2]
        a, b = answers.T
        return torch.stack([one.log_softmax(-1)[a], two.log_softmax(-1)[a, b]], 1)

    logp, ref = logp_of(theta[0], theta[1:]), logp_of(ref1, ref2)
    chance = logp.sum(1).exp()
    kl = (chance * (logp - ref).sum(1)).sum()
    (exact,) = torch.autograd.grad(kl, [theta], retain_graph=True)

    zeros = torch.zeros(9, dtype=torch.float64)
    fixed = logp.detach()
    batch = Batch(
        mask=torch.ones_like(fixed), group=torch.arange(9), reward=zeros, old_logp=fixed,
        ref_logp=ref, value=None, max_tokens=2, greedy_reward=zeros,
    )  # fmt: skip
    algorithm = make(name, beta=1.0, kl_place="reward", kl_estimator="k1", **settings)
    leaf = fixed.clone().requires_grad_()
    now = Forward(leaf, torch.zeros_like(fixed), None)
    _, slope = loss_and_gradient(algorithm, batch, now)
    push = slope * 9 * chance.detach()[:, None]
    (found,) = torch.autograd.grad(logp, [theta], push)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)
