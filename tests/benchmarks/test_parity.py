"""What the benchmarks call the same."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks import parity


def same(ours: list[list[float]], peer: list[list[float]]) -> bool:
    return parity.same_logprobs(ours, peer, mean=1e-2, bias=1e-3).passed


def test_log_probs_may_differ_a_little() -> None:
    assert same([[-1.0, -2.0], [-3.0]], [[-1.001, -1.999], [-3.0]])


def test_log_probs_may_not_differ_much() -> None:
    assert not same([[-1.0, -2.0]], [[-1.1, -1.9]])


def test_a_common_shift_is_worse_than_noise_of_its_size() -> None:
    shifted = [[-1.005, -2.005, -3.005]]
    assert not same([[-1.0, -2.0, -3.0]], shifted)


def test_log_probs_of_other_sequences_are_not_compared() -> None:
    assert not same([[-1.0]], [[-1.0, -2.0]])
    assert not same([[]], [[]])
    assert not same([[math.nan]], [[-1.0]])


def test_means_are_held_to_their_standard_errors() -> None:
    low, high = [0.0, 1.0] * 50, [1.0, 0.0] * 50
    assert parity.same_mean("reward", low, high).passed
    assert not parity.same_mean("reward", low, [1.0] * 99 + [0.0]).passed
    assert parity.same_mean("length", [40.0] * 8, [40.0] * 8).passed  # no spread at all
    assert not parity.same_mean("length", [40.0] * 8, [39.0] * 8).passed
    assert not parity.same_mean("reward", [1.0], [1.0]).passed


@pytest.mark.parametrize(("ours", "passed"), [(1.01, True), (1.03, False), (math.inf, False)])
def test_close(ours: float, passed: bool) -> None:
    assert parity.close("norm", ours, 1.0, 0.02).passed is passed


def test_a_tolerance_of_nothing_wants_equals() -> None:
    assert parity.close("tokens", 2560, 2560, 0.0).passed
    assert not parity.close("tokens", 2560, 2559, 0.0).passed
