"""Braille dots: where they are, who drew them, and that nothing leaves the canvas."""

from __future__ import annotations

from grpolab.tui.widgets.plot import DASHES, Dots


def shown(d: Dots) -> list[str]:
    return ["".join(chr(0x2800 + d.bits[y * d.width + x]) for x in range(d.width))
            for y in range(d.height)]  # fmt: skip


def test_a_level_line_a_steep_one_and_a_point() -> None:
    level = Dots(3, 1)
    level.line([0, 5], [0, 0], 7)
    assert shown(level) == ["⠉⠉⠉"] and level.owner == [7, 7, 7]
    steep = Dots(1, 2)
    steep.line([0, 0], [0, 7], 0)
    assert shown(steep) == ["⡇", "⡇"]
    point = Dots(2, 1)
    point.line([3], [3], 1)
    assert shown(point) == ["⠀⢀"] and point.owner == [-1, 1]
    Dots(2, 1).line([], [], 0)


def test_a_slope_is_without_holes() -> None:
    d = Dots(4, 4)
    d.line([0, 7], [15, 0], 0)
    for column in range(8):
        bit = (0x47, 0xB8)[column & 1]
        assert any(d.bits[y * 4 + column // 2] & bit for y in range(4)), column
    rows = [y * 4 + k for y in range(4) for k in range(4)
            if any(d.bits[y * 4 + x] & (0x09, 0x12, 0x24, 0xC0)[k] for x in range(4))]  # fmt: skip
    assert rows == list(range(16))


def test_what_lies_outside_is_cut_off() -> None:
    d = Dots(2, 2)
    d.line([-50, 50], [-50, 50], 0)
    d.line([-5, -3], [1, 1], 1)
    d.line([0, 3], [99, 99], 1)
    d.line([0, 3], [-99, -99], 1)
    assert 1 not in d.owner and 0 in d.owner


def test_dashes_leave_gaps_and_later_lines_win() -> None:
    d = Dots(10, 1)
    d.line([0, 19], [0, 0], 0, DASHES[1])
    assert "⠀" in shown(d)[0] or "⠁" in shown(d)[0] or "⠈" in shown(d)[0]
    d.line([0, 19], [0, 0], 1)
    assert set(d.owner) == {1}
