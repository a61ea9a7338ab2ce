"""Two readers of JSON, one answer."""

from __future__ import annotations

import pytest

from grpolab.record import codec

PHASE = '{"t":1.5,"kind":"phase","phase":"sampling","step":3,"lane":"main","detail":'


@pytest.mark.parametrize(
    "line",
    [
        PHASE + '"é ☃ \\u0000"}',
        PHASE + '"\\ud800"}',  # half of a surrogate pair
        PHASE + '"", "odd": NaN}',
        PHASE + '"", "large": 123456789012345678901234567890}',
        PHASE + '"torn',
        "[]",
        "",
    ],
)
def test_the_quick_reader_reads_what_json_reads(line: str) -> None:
    known = codec.decode(line.encode())
    assert repr(codec.decode(line.encode(), codec.quick())) == repr(known)
    assert (known is not None) == line.endswith("}")
