"""No loss depends on how the rollout is laid out: on padding, on the order of rows in a group, on
how it is cut into microbatches. Every algorithm, under every setting that combines with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpolab.algorithms.base import Algorithm, Batch, Credit, Forward
from grpolab.algorithms.types import Steps
from tests.algorithms.batches import (
    NAMES,
    Tape,
    current,
    make,
    make_batch,
    name_and_settings,
    whole_of,
)

LENGTHS = [5, 3, 12, 1, 7, 14]
GROUP = [0, 0, 0, 1, 1, 1]
REWARD = [1.0, 0.2, 0.0, 0.7, -0.4, 1.3]


def fresh(width: int | None = None) -> tuple[Batch, Forward]:
    batch = make_batch(LENGTHS, GROUP, REWARD, seed=4, width=width)
    return batch, current(batch, drift=0.3)


def slopes(algorithm: Algorithm, batch: Batch, now: Forward) -> tuple[float, Tensor]:
    """The loss, and its gradient in log-probs, entropies and values [3, N, T]."""
    loss = algorithm.loss(batch, algorithm.credit(batch), now, whole_of(batch)).total
    assert now.value is not None
    leaves = [now.logp, now.entropy, now.value]
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return loss.item(), torch.stack(found)


def assert_same(found: Any, wanted: Any, what: object) -> None:
    torch.testing.assert_close(
        found, wanted, rtol=1e-9, atol=1e-11, msg=lambda detail: f"{what}: {detail}"
    )


def with_value_at_padding(batch: Batch, now: Forward, garbage: float) -> tuple[Batch, Forward]:
    """The same rollout with something else than 0 where there are no tokens."""
    off = batch.mask == 0

    def spoilt(x: Tensor) -> Tensor:
        return x.detach().masked_fill(off, garbage)

    changes = {
        key: spoilt(tensor)
        for key in ("old_logp", "ref_logp", "value", "entropy", "sampler_logp")
        if (tensor := getattr(batch, key)) is not None
    }
    assert now.value is not None
    leaves = [spoilt(x).requires_grad_() for x in (now.logp, now.entropy, now.value)]
    return replace(batch, **changes), Forward(*leaves)


@name_and_settings()
def test_padding_changes_nothing(name, every):
    narrow, wide = fresh(), fresh(width=max(LENGTHS) + 5)
    spoilt = with_value_at_padding(*wide, garbage=-3.0)
    for settings in every:
        algorithm = make(name, **settings)
        loss, gradient = slopes(algorithm, *narrow)
        for batch, now in (wide, spoilt):
            found, padded = slopes(algorithm, batch, now)
            assert_same(found, loss, settings)
            assert_same(padded[:, :, : max(LENGTHS)], gradient, settings)
            assert padded[:, batch.mask == 0].abs().sum() == 0, settings


def permuted(batch: Batch, now: Forward, order: Tensor) -> tuple[Batch, Forward]:
    steps = batch.steps
    assert steps is not None and now.value is not None
    turned = Steps(steps.end[order], steps.reward[order], steps.mask[order])
    leaves = [x.detach()[order].requires_grad_() for x in (now.logp, now.entropy, now.value)]
    whole = replace(batch.rows(order, batch.mask.shape[1]), steps=turned)
    return whole, Forward(*leaves)


@name_and_settings()
def test_the_order_of_rows_in_a_group_changes_nothing(name, every):
    batch, now = fresh()
    for order in ([2, 0, 1, 5, 4, 3], [4, 3, 5, 1, 2, 0]):  # the second: groups too
        index = torch.tensor(order)
        for settings in every:
            algorithm = make(name, **settings)
            loss, gradient = slopes(algorithm, batch, now)
            found, turned = slopes(algorithm, *permuted(batch, now, index))
            assert_same(found, loss, settings)
            assert_same(turned, gradient[:, index], settings)


ONE_PIECE = [[[0, 1, 2, 3, 4, 5]]]
IN_PIECES = {
    "row by row": [[[0], [1], [2], [3], [4], [5]]],
    "across groups, out of order": [[[5, 1], [3, 2, 0], [4]]],
}


@name_and_settings()
def test_microbatches_add_up_to_the_whole(name, every):
    """Through the update itself, which cuts batch and credit to each piece's rows and width."""
    batch, now = fresh()
    for settings in every:
        algorithm = make(name, **settings)
        credit = algorithm.credit(batch)
        whole = Tape(batch, now, ONE_PIECE)
        report = algorithm.update(whole, batch, credit, 1)
        (gradient,) = whole.gradients
        loss, direct = slopes(algorithm, batch, now)
        assert_same(gradient, direct, settings)
        assert_same(sum(report.terms.values()), loss, settings)
        for what, split in IN_PIECES.items():
            tape = Tape(batch, now, split)
            again = algorithm.update(tape, batch, credit, 1)
            assert_same(tape.gradients, [gradient], (settings, what))
            assert_same(again.terms, report.terms, (settings, what))
            for key in ("logp", "ratio", "entropy", "clipped"):
                on = batch.mask.bool()
                both = getattr(again, key)[on], getattr(report, key)[on]
                assert_same(*both, (settings, what, key))


@pytest.mark.parametrize("name", NAMES)
def test_each_minibatch_is_a_whole_of_its_own(name):
    """With two optimizer steps a pass, each divides by its own rows and tokens, whatever the
    microbatches."""
    batch, now = fresh()
    algorithm = make(name)
    credit = algorithm.credit(batch)
    coarse = Tape(batch, now, [[[0, 1, 2]], [[3, 4, 5]]])
    fine = Tape(batch, now, [[[2], [0, 1]], [[4], [3], [5]]])
    reports = [algorithm.update(tape, batch, credit, 2) for tape in (coarse, fine)]
    assert [r.updates for r in reports] == [4, 4]
    assert_same(fine.gradients, coarse.gradients, name)
    half = batch.rows(torch.tensor([0, 1, 2]), 12)
    part = Forward(*(x.detach()[:3, :12] for x in (now.logp, now.entropy, now.value)))  # pyright: ignore
    part.logp.requires_grad_()
    share: Credit = credit.rows(torch.tensor([0, 1, 2]), 12)
    loss = algorithm.loss(half, share, part, whole_of(half)).total
    (direct,) = torch.autograd.grad(loss, [part.logp])
    assert_same(coarse.gradients[0][0, :3, :12], direct, name)


@given(
    name=st.sampled_from(NAMES),
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    seed=st.integers(0, 999),
    drift=st.sampled_from([0.0, 0.05, 0.5]),
    cuts=st.integers(1, 4),
)
def test_also_on_batches_of_any_shape(name, lengths, seed, drift, cuts):
    rows = len(lengths)
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(rows, generator=generator, dtype=torch.float64).tolist()
    batch = make_batch(lengths, [i // 2 for i in range(rows)], reward, seed=seed)
    now = current(batch, drift=drift)
    algorithm = make(name)
    loss, gradient = slopes(algorithm, batch, now)
    assert gradient.isfinite().all()
    order = torch.randperm(rows, generator=generator).tolist()
    tape = Tape(batch, now, [[order[i::cuts] for i in range(min(cuts, rows))]])
    report = algorithm.update(tape, batch, algorithm.credit(batch), 1)
    assert_same(sum(report.terms.values()), loss, name)
    assert_same(tape.gradients[0], gradient, name)
