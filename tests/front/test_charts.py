"""Charts in cells and as SVG."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from grpolab.charts import svg, terminal
from grpolab.charts.model import (
    Chart,
    Mark,
    Series,
    axes,
    limits,
    put_labels,
    short,
    thinned,
    y_ticks,
)
from grpolab.charts.terminal import Ink, Picture, legend, line_chart

INK = Ink("test", "#2c3846", "#566373", "#d5dbe3")


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    terminal._pictures.clear()
    yield
    terminal._pictures.clear()


def text(p: Picture) -> list[str]:
    return ["".join(t for t, _ in row) for row in p.rows]


def canvas(p: Picture) -> list[str]:
    """The rows of the canvas, without the axes and the labels."""
    return [row[p.left :] for row in text(p)[p.top : p.top + p.lines]]


def noisy(n: int, seed: int = 0) -> Series:
    r = random.Random(seed)
    return Series(name="noise", x=list(range(n)), y=[r.random() for _ in range(n)])


class Spy:
    """What plotext is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from plotext._figure import _figure_class  # pyright: ignore[reportMissingImports]

        self.given: list[tuple[list[float], list[float]]] = []
        self.drawn = 0
        spy = self

        class Seen(_figure_class):
            def plot(self, x: Any, y: Any, **more: Any) -> Any:
                spy.given.append((x, y))
                return super().plot(x, y, **more)

            def scatter(self, x: Any, y: Any, **more: Any) -> Any:
                spy.given.append((x, y))
                return super().scatter(x, y, **more)

            def plot_size(self, *size: int) -> Any:
                spy.drawn += 1
                return super().plot_size(*size)

        monkeypatch.setattr("plotext._figure._figure_class", Seen)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


BROKEN = [1.0, math.nan, 2.0, math.inf, 0.5, -math.inf, 3.0]


def test_only_finite_values_are_passed_on(spy: Spy) -> None:
    p = line_chart(Chart(series=[Series(name="a", x=list(range(7)), y=BROKEN)]), 40, 10)
    ((x, y),) = spy.given
    assert len(x) == len(y) == 4
    assert all(0 <= v <= 1 for v in [*x, *y])
    assert any(cell.strip() for cell in canvas(p))


@pytest.mark.parametrize("y", [[math.nan] * 3, [], [math.inf, -math.inf, math.nan]])
def test_nothing_finite_is_said_in_words(spy: Spy, y: list[float]) -> None:
    chart = Chart(series=[Series(name="a", x=range(len(y)), y=y)], empty="nothing measured")
    p = line_chart(chart, 40, 10)
    assert spy.drawn == 0
    assert "nothing measured" in "\n".join(text(p))
    assert {cell_len(row) for row in text(p)} == {40} and len(p.rows) == 10


@pytest.mark.parametrize(
    "y",
    [
        [1e308, -1e308, 0.0],
        [5e-324, 1e-320, 0.0],
        [7.0, 7.0, 7.0],
        [0.0, 0.0, 0.0],
        [-3.0, -3.0, -3.0],
        [1e-9, 1e9, 1.0],
    ],
)
def test_numbers_as_far_apart_as_floats_go(y: list[float]) -> None:
    for log in (False, True):
        p = line_chart(Chart(series=[Series(name="a", x=[0, 1, 2], y=y)], log=log), 50, 12)
        assert {cell_len(row) for row in text(p)} == {50} and len(p.rows) == 12


def test_a_log_axis_shows_positive_values_by_their_logarithm(spy: Spy) -> None:
    y = [1e-4, 0.0, 1e-3, -1.0, 1e-2, 1e-1, 1.0]
    p = line_chart(Chart(series=[Series(name="a", x=list(range(7)), y=y)], log=True), 60, 21)
    ((x, places),) = spy.given
    assert len(x) == 5
    steps = [b - a for a, b in pairwise(places)]
    assert steps == pytest.approx([steps[0]] * 4)  # equal factors, equal distances
    told = [row[: p.left - 2].strip() for row in text(p)]
    assert [t for t in told if t] == ["1", "0.1", "0.01", "0.001", "1e−4"]


@given(st.integers(3, 4000), st.integers(4, 200), st.data())
def test_thinning_keeps_spikes(n: int, columns: int, data: st.DataObject) -> None:
    up, down = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    y = [0.5] * n
    y[down] = -7.0
    y[up] = 9.0
    for values in (y, array("d", y)):
        s = Series(name="a", x=range(n), y=values)
        chart = Chart(series=[s], ylim=(-10.0, 10.0))
        found = axes(chart)
        assert found is not None
        xs, ys = thinned(s, found, columns)
        assert len(xs) <= max(2 * columns, n if n <= 2 * columns else 0) + 2
        assert xs == sorted(xs)
        high = xs[ys.index(max(ys))]
        assert max(ys) == pytest.approx(19 / 20) and high == pytest.approx(up / (n - 1))
        if up != down:
            assert min(ys) == pytest.approx(3 / 20)


def test_a_spike_of_one_step_is_on_the_screen() -> None:
    y = [0.0] * 5000
    y[3456] = 1.0
    p = line_chart(Chart(series=[Series(name="a", x=range(5000), y=y)]), 60, 12)
    top = canvas(p)[0]
    at = [i for i, cell in enumerate(top) if cell not in " ┊"]
    assert at == [round(3456 / 4999 * (p.columns - 1))]


@pytest.mark.parametrize("width", [1, 7, 12, 13, 44, 121])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 16, 41])
def test_the_size_is_what_was_asked_for(width: int, height: int) -> None:
    marks = [Mark(x=20, label="→PPO", short="→"), Mark(x=22, label="→REINFORCE++", short="→")]
    chart = Chart(series=[noisy(90)], marks=marks)
    for label_rows in (0, 2):
        p = line_chart(chart, width, height, INK, label_rows=label_rows)
        assert len(p.rows) == height
        assert {cell_len(row) for row in text(p)} <= {width}
        if p.columns:
            assert p.left + p.columns == width and p.top + p.lines + 1 == height


def test_nothing_is_drawn_where_there_is_no_room_at_all() -> None:
    assert line_chart(Chart(series=[noisy(9)]), 0, 0).rows == ()
    assert line_chart(Chart(series=[noisy(9)]), 0, 3).rows == ((), (), ())


def test_no_color() -> None:
    two = [
        Series(name="a", x=[0, 9], y=[0, 1], colour="#ff0000", glyph="●", look="bold"),
        Series(name="b", x=[0, 9], y=[1, 0], colour="#00ff00", glyph="▲"),
    ]
    chart = Chart(series=two, marks=[Mark(x=4, label="→PPO", colour="#0000ff")])
    coloured = line_chart(chart, 40, 10, INK)
    plain = line_chart(chart, 40, 10, INK, colour=False)
    seen = {colour for row in coloured.rows for _, colour in row}
    assert {"#ff0000", "#00ff00", "#0000ff", INK.line, INK.tick} <= seen
    assert {colour for row in plain.rows for _, colour in row} == {""}
    assert text(plain) == text(coloured)
    drawn = "".join(canvas(plain))
    assert "●" in drawn and "▲" in drawn
    assert "\x1b" not in "".join(text(plain))


def test_a_curve_is_drawn_in_its_own_colour() -> None:
    chart = Chart(
        series=[Series(name="low", x=[0, 9], y=[0, 0], colour="#123456"),
                Series(name="high", x=[0, 9], y=[1, 1], colour="#abcdef")],
        ylim=(0, 1),
    )  # fmt: skip
    p = line_chart(chart, 30, 9, INK)
    assert p.rows[p.top][-1][1] == "#abcdef" and len(p.rows[p.top][-1][0]) == p.columns
    assert p.rows[p.top + p.lines - 1][-1][1] == "#123456"


def test_ticks_stand_in_the_row_of_their_value() -> None:
    for height in range(8, 24):
        for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.5):
            s = Series(name="a", x=[0, 1], y=[value, value])
            p = line_chart(Chart(series=[s], ylim=(0, 1)), 40, height)
            rows = text(p)[p.top : p.top + p.lines]
            drawn = [i for i, row in enumerate(rows) if row[p.left :].strip()]
            named = [i for i, row in enumerate(rows) if row[: p.left - 2].strip() in
                     (short(value), f"{value:.1f}")]  # fmt: skip
            assert len(drawn) == 1
            assert not named or named == drawn, (height, value)


def test_marks_stand_in_the_column_of_their_step() -> None:
    for width in range(20, 90, 7):
        steps = [3, 10, 17]
        points = Series(name="a", x=steps, y=[1.0] * 3, look="points", glyph="◆")
        marks = [Mark(x=x, label=f"at {x}") for x in steps]
        chart = Chart(series=[points], marks=marks, xlim=(0, 20), ylim=(0, 1))
        p = line_chart(chart, width, 12)
        drawn = [i for i, cell in enumerate(canvas(p)[0]) if cell == "◆"]
        assert [i for i, cell in enumerate(canvas(p)[4]) if cell == "┊"] == drawn
        assert [p.value(i) for i in drawn] == pytest.approx(steps, abs=14 / p.columns)
        over = text(p)[0][p.left :]
        if width > 40:
            assert [over.index(f"at {x}") for x in steps] == drawn


NAMES = st.sampled_from(["→PPO", "→REINFORCE", "→GRPO", "▼held", "→Dr. GRPO", "→日本"])


@given(st.lists(st.tuples(st.integers(0, 99), NAMES, st.integers(0, 2)), max_size=20),
       st.integers(1, 100), st.integers(1, 3))  # fmt: skip
def test_labels_never_touch_and_are_never_cut(
    wanted: list[tuple[int, str, int]], columns: int, rows: int
) -> None:
    marks = [(x, Mark(x=x, label=label, short="→", rank=rank)) for x, label, rank in wanted
             if x < columns]  # fmt: skip
    placed = put_labels(marks, columns, rows)
    assert len(placed) == rows
    for row in placed:
        end = -1
        for at, told, _ in row:
            assert at > end or end < 0, "two labels touch"
            assert told in {m.label for _, m in marks} | {"→"}
            end = at + cell_len(told)
            assert at >= 0 and end <= columns
    if marks and columns > 12:  # the one that matters most has its place
        best = max((m for _, m in marks), key=lambda m: (m.rank, m.x))
        assert any(told == best.label for row in placed for _, told, _ in row)


def test_a_picture_is_kept_by_version_size_and_theme(spy: Spy) -> None:
    made = []

    def chart() -> Chart:
        made.append(1)
        return Chart(series=[noisy(30)])

    first = line_chart(chart, 50, 10, INK, version=1)
    assert line_chart(chart, 50, 10, INK, version=1) is first
    assert len(made) == spy.drawn == 1
    other = Ink("other", "#000000", "#000000", "#000000")
    for more in (
        lambda: line_chart(chart, 50, 10, INK, version=2),
        lambda: line_chart(chart, 51, 10, INK, version=1),
        lambda: line_chart(chart, 50, 11, INK, version=1),
        lambda: line_chart(chart, 50, 10, other, version=1),
        lambda: line_chart(chart, 50, 10, INK, version=1, colour=False),
        lambda: line_chart(chart, 50, 10, INK),  # no version: never kept
        lambda: line_chart(chart, 50, 10, INK),
    ):
        before = spy.drawn
        more()
        assert spy.drawn == before + 1
    for version in range(terminal.MOST_KEPT + 8):
        line_chart(chart, 12, 4, INK, version=version)
    assert len(terminal._pictures) <= terminal.MOST_KEPT


def test_a_figure_knows_nothing_of_another() -> None:
    alone = line_chart(Chart(series=[noisy(40)]), 60, 12, INK)
    line_chart(Chart(series=[noisy(400, 2)], log=True, xlim=(3, 7)), 31, 9, INK)
    assert line_chart(Chart(series=[noisy(40)]), 60, 12, INK) == alone


def test_a_chart_may_be_larger_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    p = line_chart(Chart(series=[noisy(400)]), 150, 40)
    assert p.columns > 140 and any(cell.strip() for cell in canvas(p)[0])


def test_a_scale_of_its_own() -> None:
    """A curve on another scale does not move the limits of the chart."""
    share = Series(name="share", x=[0, 10], y=[0.2, 0.8])
    large = Series(name="large", x=[0, 10], y=[0, 500], scale=(0, 1000))
    a, b = axes(Chart(series=[share])), axes(Chart(series=[share, large]))
    assert a is not None and b is not None and a.y == b.y
    assert thinned(large, b, 50)[1] == [0.0, 0.5]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 60))
def test_limits_hold_the_values_and_ticks_are_few_and_apart(
    low: float, room: float, rows: int
) -> None:
    a, b = limits(low, low + room)
    assert a <= low + 1e-6 * max(1, abs(low)) and b >= low + room - 1e-6 * max(1, abs(low))
    chart = Chart(series=[Series(name="a", x=[0, 1], y=[low, low + room])])
    found = axes(chart)
    assert found is not None
    ticks = y_ticks(found, rows)
    assert len(ticks) <= max(2, (rows + 1) // 2) and len(ticks) <= 7
    assert all(len(told) <= 9 for _, told in ticks)
    apart = [y - x for (x, _), (y, _) in pairwise(ticks)]
    assert apart == pytest.approx(apart[:1] * len(apart), rel=1e-6)
    assert (ticks[0][0], ticks[-1][0]) == pytest.approx((a, b), rel=1e-6, abs=1e-6)


def test_a_band_lies_behind_its_curve() -> None:
    x = list(range(11))
    s = Series(name="mean", x=x, y=[0.5] * 11, colour="#123456", band=(x, [0.25] * 11, [0.75] * 11))
    p = line_chart(Chart(series=[s], ylim=(0, 1)), 40, 17, INK)
    shaded = [i for i, row in enumerate(canvas(p)) if row.count("░") > 30]
    assert 4 <= min(shaded) <= 5 and 11 <= max(shaded) <= 12  # a quarter, three quarters
    (middle,) = [row for row in canvas(p) if set(row) - set("░ ")]
    assert "░" not in middle


def test_the_legend_flows() -> None:
    series = [Series(name=f"curve {i}", x=[0], y=[i], glyph="●▲"[i % 2]) for i in range(5)]
    rows = legend(Chart(series=series), 34, lambda s: f"{s.y[-1]}")
    told = ["".join(t for t, _ in row) for row in rows]
    assert told[0] == "● curve 0 0   ▲ curve 1 1"
    assert all(len(row) <= 34 for row in told) and len(told) == 3


# --- SVG ---


def _points(path: str) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in re.findall(r"([\d.]+) ([\d.]+)", path)]


def _groups(drawn: str) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(drawn)
    ns = "{http://www.w3.org/2000/svg}"
    return {str(g.findtext(f"{ns}title")): g for g in root.findall(f"{ns}g")}


def test_svg_points_are_the_data() -> None:
    x, y = [0.0, 2.0, 5.0, 10.0], [0.1, 0.9, 0.4, 0.7]
    drawn = svg.line_chart(Chart(series=[Series(name="a", x=x, y=y)], ylim=(0, 1), xlim=(0, 10)))
    group = _groups(drawn)["a"]
    path = group.find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    points = _points(path.attrib["d"])
    grid = re.findall(r'<path d="M(\d+) ([\d.]+)H(\d+)" stroke="#d5d8dd"', drawn)
    left, right = int(grid[0][0]), int(grid[0][2])
    bottom, top = float(grid[0][1]), float(grid[-1][1])  # ticks 0 and 1
    for (px, py), a, b in zip(points, x, y, strict=True):
        assert (px - left) / (right - left) * 10 == pytest.approx(a, abs=0.01)
        assert (bottom - py) / (bottom - top) == pytest.approx(b, abs=0.01)


def test_svg_of_a_long_curve_keeps_its_spike_and_is_small() -> None:
    y = [0.0] * 100_000
    y[54_321] = 1.0
    drawn = svg.line_chart(Chart(series=[Series(name="a", x=range(100_000), y=y)]))
    assert len(drawn) < 40_000
    path = _groups(drawn)["a"].find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    ys = [b for _, b in _points(path.attrib["d"])]
    assert ys.count(min(ys)) == 1 and min(ys) < max(ys) - 100


NASTY = ["<b>&\"'", "]]>", "\x1b[31m", "a\x00b", "\ud800", "日本 <&>"]


@pytest.mark.parametrize("name", NASTY)
def test_svg_escapes_names(name: str) -> None:
    chart = Chart(
        series=[Series(name=name, x=[0, 1], y=[0, 1], glyph="●", colour='"><script>')],
        marks=[Mark(x=0.5, label=name)], title=name, unit=name,
    )  # fmt: skip
    drawn = svg.line_chart(chart)
    root = ElementTree.fromstring(drawn.encode())
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert "\x1b" not in drawn and "\x00" not in drawn
    empty = svg.line_chart(Chart(series=[Series(name=name, x=[], y=[])], empty=name))
    ElementTree.fromstring(empty.encode())


def test_svg_charts_below_each_other() -> None:
    charts = [Chart(series=[noisy(9)], title=f"chart {i}") for i in range(3)]
    root = ElementTree.fromstring(svg.column(charts, 500, 200))
    inner = root.findall("{http://www.w3.org/2000/svg}svg")
    assert [one.attrib["y"] for one in inner] == ["0", "200", "400"]
    assert root.attrib["height"] == "600" and root.attrib["width"] == "500"
    assert svg.column(charts[:1], 500, 200) == svg.line_chart(charts[0], 500, 200)


def test_svg_says_what_it_shows() -> None:
    x = list(range(5))
    band = (x, [0.1] * 5, [0.9] * 5)
    chart = Chart(
        series=[Series(name="accuracy", x=x, y=[0.5] * 5, band=band, look="bold"),
                Series(name="KL", x=x, y=[0.2] * 5)],
        marks=[Mark(x=2, label="→PPO"), Mark(x=2.01, label="→RLOO"), Mark(x=99, label="outside")],
        percent=True, unit="steps", title="two curves",
    )  # fmt: skip
    drawn = svg.line_chart(chart)
    for told in ("accuracy", "KL", "→PPO", "→RLOO", "40%", "steps", "two curves", "<polygon"):
        assert told in drawn, told
    assert "outside" not in drawn and "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>(→\w+)<', drawn)
    assert len({y for _, y, _ in labels}) == 2  # one over the other


def test_the_package_imports_no_plotext() -> None:
    code = (
        "import sys, grpolab.charts, grpolab.charts.model, grpolab.charts.svg, "
        "grpolab.charts.terminal; print('plotext' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_no_number_in_short() -> None:
    assert [short(v) for v in (math.inf, -math.inf, math.nan)] == ["inf", "−inf", "nan"]
    assert short(2.0, math.inf) == "2"


def test_plotext_is_loaded_ahead_once_and_without_a_word_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def missing() -> None:
        asked.append(1)
        raise ImportError("plotext")

    monkeypatch.setattr(terminal, "_asked", False)
    monkeypatch.setattr(terminal, "_figure", missing)
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    for _ in range(3):  # as many paints
        terminal.load_ahead()
    assert asked == [1] and capsys.readouterr() == ("", "")
    with pytest.raises(ImportError):  # the chart itself says what is wrong
        line_chart(Chart(series=[noisy(9)]), 40, 10, INK)
