"""Where policies are thousands of nats apart, ratios would overflow: losses, gradients and
advantages stay finite, in float32 and in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from grpolab.algorithms.base import Batch, Forward
from tests.algorithms.batches import NAMES, make, make_batch, name_and_settings, takes, whole_of

QUANTITIES = ("now", "old_logp", "ref_logp", "sampler_logp")
ROTATED = [QUANTITIES[i:] + QUANTITIES[:i] for i in range(4)]
PLACES = ((0, 0), (0, 1), (2, 1), (3, 0))  # tokens of three rows and both groups


def cast(batch: Batch, dtype: torch.dtype) -> Batch:
    def to(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x

    assert batch.steps is not None
    steps = replace(batch.steps, reward=to(batch.steps.reward), mask=to(batch.steps.mask))
    return replace(batch, steps=steps, **{k: to(v) for k, v in vars(batch).items() if k != "steps"})


def far_apart(far: float, order: tuple[str, ...], dtype: torch.dtype) -> tuple[Batch, Forward]:
    """Each quantity says `far` of another token, and on one token all but one of them do."""
    batch = make_batch([4, 3, 2, 4], [0, 0, 1, 1], [1.0, 0.0, 0.3, 0.4])
    found = {key: batch.old_logp.clone() for key in QUANTITIES}
    for key, place in zip(order, PLACES, strict=True):
        found[key][place] = far
        if key != order[0]:
            found[key][1, 2] = far
    logp = found.pop("now").to(dtype).requires_grad_()
    batch = cast(replace(batch, **found), dtype)
    assert batch.value is not None and batch.entropy is not None
    return batch, Forward(logp, batch.entropy, batch.value.clone().requires_grad_())


def assert_finite(name: str, settings: dict, batch: Batch, now: Forward, what: object) -> None:
    algorithm = make(name, **settings)
    credit = algorithm.credit(batch)
    loss = algorithm.loss(batch, credit, now, whole_of(batch))
    assert now.value is not None
    slopes = torch.autograd.grad(
        loss.total, [now.logp, now.value], allow_unused=True, materialize_grads=True
    )
    numbers = [credit.advantage, loss.ratio, *loss.terms.values(), *slopes]
    assert all(x.isfinite().all() for x in numbers), (settings, what)
    assert {x.dtype for x in numbers} == {batch.mask.dtype}, (settings, what)


def exponentiates(settings: dict[str, Any]) -> bool:
    if settings.get("kl_place") == "reward" and settings["kl_estimator"] in ("k3", "unbiased"):
        return False  # a reward of −β·e^60 leaves float32 when it is weighted: see below
    linear = {"aggregation", "overlong_buffer", "overlong_penalty"}
    return not settings or not settings.keys() <= linear


@name_and_settings(keep=exponentiates)
@pytest.mark.parametrize(
    ("dtype", "far"),
    [(torch.float32, -1e4), (torch.float64, -1e30)],
    ids=str,
)
def test_losses_and_gradients_stay_finite(name, every, dtype, far):
    for settings in every:
        for order in ROTATED:
            batch, now = far_apart(far, order, dtype)
            assert_finite(name, settings, batch, now, order)


@pytest.mark.parametrize("name", [n for n in NAMES if takes(n, {"kl_place": "reward"})])
@pytest.mark.parametrize("estimator", ["k3", "unbiased"])
def test_an_exponential_kl_in_the_reward_stays_finite_in_float64(name, estimator):
    settings = {"beta": 0.3, "kl_place": "reward", "kl_estimator": estimator}
    for order in ROTATED:
        batch, now = far_apart(-1e4, order, torch.float64)
        assert_finite(name, settings, batch, now, order)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_degenerate_batches_stay_finite(name, dtype):
    """One row of one token; rewards of any size; equal rewards; a policy without doubt."""
    for lengths, group, reward in (
        ([1], [0], [1.0]),
        ([1, 1], [0, 1], [0.0, 0.0]),
        ([2, 1], [0, 0], [1e6, -1e6]),
        ([2, 3, 1], [0, 0, 0], [0.3, 0.3, 0.3]),
        ([2, 3, 1], [0, 0, 0], [-1.0, -1.0, -1.0]),
    ):
        batch = cast(make_batch(lengths, group, reward), dtype)
        sure = replace(batch, old_logp=batch.old_logp * 0, value=batch.mask * 0)
        assert batch.value is not None and batch.entropy is not None
        for some in (batch, sure):
            logp, value = (x.clone().requires_grad_() for x in (some.old_logp, some.mask))
            now = Forward(logp, some.mask, value)
            assert_finite(name, {}, some, now, (lengths, reward))
