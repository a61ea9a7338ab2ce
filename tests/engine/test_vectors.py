"""What attention is made of, against float64, on sizes that fill no vector and some that do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpolab.engine.backbone.cpu.loop import F32, Loop
from grpolab.engine.backbone.cpu.loops import dots
from grpolab.engine.backbone.cpu.loops.numbers import loop, place
from grpolab.engine.backbone.cpu.target import LANES

SIZES = st.integers(1, 6 * LANES + 3).map(lambda n: 2 * n)  # of a head
COUNTS = st.integers(1, 23)  # of keys


@loop
def scores(query, keys, score):
    dots.scores(place(query, 0), place(keys, 0), keys.shape[1], keys.shape[0], place(score, 0))


@loop
def weigh(score, count, found):
    found[0], found[1] = dots.weigh(place(score, 0), count)


@loop
def mix(weight, values, mean):
    size = values.shape[1]
    dots.mix(place(weight, 0), place(values, 0), size, values.shape[0], place(mean, 0))


@loop
def push(change, by, into):
    dots.push(place(change, 0), into.shape[0], place(by, 0), into.shape[1], place(into, 0))


@loop
def rotary(row, cos, sin, scale, out):
    x = place(row, 0)
    dots.rotary(x, place(cos, 0), place(sin, 0), cos.shape[0], scale, place(out, 0))


@loop
def keep(row, out):
    dots.keep(place(row, 0), row.shape[0], place(out, 0))


_scores, _weigh, _mix, _push, _rotary, _keep = (
    Loop(name, __name__) for name in ("scores", "weigh", "mix", "push", "rotary", "keep")
)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


def bits(x: np.ndarray) -> np.ndarray:
    """bf16's, of numbers that it holds."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def short(x: np.ndarray) -> np.ndarray:
    """Cut to what bf16 holds."""
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(F32)


def near(found: np.ndarray, exact: np.ndarray, size: int = 1) -> bool:
    return bool(np.allclose(found, exact, rtol=1e-5, atol=2e-6 * size))


@given(size=SIZES, count=COUNTS, seed=st.integers(0, 99))
def test_scores_are_products_of_queries_and_keys(size, count, seed):
    query, keys = numbers(seed, size), numbers(seed + 1, count, size)
    score = np.full(count + 1, 7, F32)
    _scores(query, keys, score)
    assert near(score[:count], keys.astype(float) @ query.astype(float), size)
    assert score[count] == 7


@given(count=COUNTS, seed=st.integers(0, 99), scale=st.sampled_from([1.0, 50.0, 1e4]))
def test_weights_are_those_of_softmax(count, seed, scale):
    score = np.full(count + 2 * LANES, np.nan, F32)
    score[:count] = numbers(seed, count) * F32(scale)
    exact = np.exp(score[:count].astype(float) - score[:count].max())
    found = np.zeros(2, F32)
    _weigh(own := score.copy(), count, found)
    top, total = found
    assert top == score[:count].max()
    assert near(own[:count], exact) and total == pytest.approx(exact.sum(), rel=1e-5)
    assert np.isnan(own[count + LANES :]).all()  # no more room is used than was promised


@given(size=SIZES, count=COUNTS, seed=st.integers(0, 99))
def test_means_and_what_weights_push(size, count, seed):
    weight, values, mean = numbers(seed, count), numbers(seed + 1, count, size), numbers(2, size)
    exact = mean + weight.astype(float) @ values.astype(float)
    _mix(weight, values, mean)
    assert near(mean, exact, count)
    into, by = numbers(seed + 3, count, size), numbers(seed + 4, size)
    exact = into + np.outer(weight.astype(float), by)
    _push(weight, by, into)
    assert near(into, exact)


@given(half=st.integers(1, 3 * LANES + 3), seed=st.integers(0, 99), in_bits=st.booleans())
def test_a_head_is_turned_and_kept(half, seed, in_bits):
    row, angle = short(numbers(seed, 2 * half)), numbers(seed + 1, half)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = row[:half].astype(float) * 0.5, row[half:].astype(float) * 0.5
    exact = np.concatenate([a * cos - b * sin, b * cos + a * sin])
    given_row, out = bits(row) if in_bits else row.copy(), np.empty(2 * half, F32)
    _rotary(given_row, cos, sin, F32(0.5), out)
    assert near(out, exact)
    _keep(given_row, out)
    assert np.array_equal(out, row)
    if not in_bits:  # in place, as for a normed head
        _rotary(given_row, cos, sin, F32(0.5), given_row)
        assert near(given_row, exact)
