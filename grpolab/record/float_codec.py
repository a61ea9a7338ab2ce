"""Floats in few bytes, without losing a bit.

Of the values that one metric takes in a row most bytes are alike: of counts and of what was
computed in single precision the lower bytes are 0, and the upper ones hold sign and exponent. So
the first bytes of all numbers are stored side by side, then the second ones, and so on; where all
bytes of a place are equal, one is kept.
"""

from __future__ import annotations

import struct
from array import array

SIZE = 8
"""Bytes of a float."""

Block = tuple[bytes, ...]
"""Packed numbers: for each byte place the bytes of all numbers, or the one that they share."""


def pack(values: array[float]) -> Block:
    """The values as a block."""
    raw, count = values.tobytes(), len(values)
    places = (raw[place::SIZE] for place in range(SIZE))
    return tuple(own[:1] if own == own[:1] * count else own for own in places)


def unpack(block: Block, count: int) -> array[float]:
    """The `count` numbers of a block."""
    raw = bytearray(SIZE * count)
    for place, own in enumerate(block):
        raw[place::SIZE] = own if len(own) == count else own * count
    return array("d", bytes(raw))


def part(block: Block, start: int, stop: int | None = None) -> Block:
    """The numbers from `start` to `stop` as a block."""
    return tuple(own if len(own) == 1 else own[start:stop] for own in block)


def one(block: Block, at: int) -> float:
    """The number at one place."""
    return struct.unpack("d", bytes([own[at] if len(own) > 1 else own[0] for own in block]))[0]
