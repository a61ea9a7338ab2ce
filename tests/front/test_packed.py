"""Packed floats: every bit comes back, and they take few bytes."""

from __future__ import annotations

import random
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpolab.record.columns import one, pack, part, unpack

BITS = st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=20)
"""Any floats: also what is none, of every kind."""

ALIKE = st.builds(
    lambda first, ends: [first[: 8 - len(e)] + e for e in ends],
    st.binary(min_size=8, max_size=8), st.lists(st.binary(max_size=3), min_size=1, max_size=20),
)  # fmt: skip


@given(BITS | ALIKE, st.integers(0, 20), st.integers(0, 20))
def test_every_bit_comes_back(bits: list[bytes], start: int, stop: int) -> None:
    values = array("d", b"".join(bits))
    block = pack(values)
    assert unpack(block, len(values)).tobytes() == values.tobytes()
    assert [struct.pack("d", one(block, at)) for at in range(len(values))] == bits
    start, stop = min(start, len(bits)), min(stop, len(bits))
    some = unpack(part(block, start, stop), max(0, stop - start))
    assert some.tobytes() == values[start:stop].tobytes()


def single(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


@pytest.mark.parametrize(
    ("values", "each"),
    [
        ([0.01] * 512, 0),
        ([float("nan")] * 512, 0),
        ([float(n % 2) for n in range(512)], 2),
        ([1000.0 + n for n in range(512)], 3),
        ([float(2**31 + 4096 * n) for n in range(512)], 3),
        ([single(random.Random(n).gauss(0, 1)) for n in range(512)], 5),
        ([random.Random(n).gauss(0, 1) for n in range(512)], 8),
    ],
)  # fmt: skip
def test_bytes_of_a_number(values: list[float], each: float) -> None:
    assert sum(map(len, pack(array("d", values)))) <= each * len(values) + 8
