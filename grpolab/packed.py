"""Floats in few bytes, and not a bit of them lost.

Most bytes of what one quantity measures in a row are alike: of counts and of what was computed in
single precision the lower ones are 0, and the upper ones hold the sign and half of the exponent. So
the first bytes of all numbers lie side by side, then the second ones, and so on; where all of a
place are the same, one is kept.
"""

from __future__ import annotations

import struct
from array import array

SIZE = 8
"""Bytes of a float."""

Block = tuple[bytes, ...]
"""Some numbers: for each place of a byte, all numbers' bytes, or the one that they share."""


def pack(values: array[float]) -> Block:
    raw, count = values.tobytes(), len(values)
    places = (raw[place::SIZE] for place in range(SIZE))
    return tuple(own[:1] if own == own[:1] * count else own for own in places)


def unpack(block: Block, count: int) -> array[float]:
    """Its numbers, of which there are so many."""
    raw = bytearray(SIZE * count)
    for place, own in enumerate(block):
        raw[place::SIZE] = own if len(own) == count else own * count
    return array("d", bytes(raw))


def part(block: Block, start: int, stop: int | None = None) -> Block:
    """Some of its numbers, as a block."""
    return tuple(own if len(own) == 1 else own[start:stop] for own in block)


def one(block: Block, at: int) -> float:
    """One of its numbers."""
    return struct.unpack("d", bytes([own[at] if len(own) > 1 else own[0] for own in block]))[0]
