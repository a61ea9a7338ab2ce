"""The table and the JSON of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.report import (
    HEADER,
    Check,
    Report,
    Row,
    Spread,
    Target,
    faster,
    figure,
    markdown,
    number,
)


def test_a_spread_keeps_every_value() -> None:
    spread = Spread.of([3, 1, 2])
    assert spread.median == 2
    assert spread.plain() == {"min": 1, "median": 2, "max": 3, "n": 3, "values": [3, 1, 2]}
    with pytest.raises(ValueError):
        Spread.of([])


def test_faster_says_how_many_times_as_fast() -> None:
    slow, quick = Spread.of([4.0]), Spread.of([1.0])
    assert faster(quick, slow) == 4  # seconds: less is faster
    assert faster(slow, quick, rate=True) == 4  # tokens a second: more is


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.0123"), (1.5, "1.5"), (123.4, "123"), (15804.2, "15,804"), (999.9, "1e+03")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_row_says_whether_its_target_is_met() -> None:
    one, two = Spread.of([1.0]), Spread.of([2.0])
    assert Row("x", "s", one, two, 2.0, target=Target("≥", 2)).met is True
    assert Row("x", "s", one, two, 2.0, target=Target("≥", 2.1)).met is False
    assert Row("x", "s", one, target=Target("≤", 1, "grpolab")).met is True
    assert Row("x", "s", two, target=Target("≤", 1, "grpolab")).met is False
    assert Row("x", "s", one).met is None
    assert Row("x", "s", one, target=Target("≥", 2)).met is None  # no ratio was measured


def test_the_table_is_markdown() -> None:
    rows = [
        Row("step", "s", Spread.of([0.9, 1.0, 1.2]), Spread.of([7.0]), 7.0, 0.25, Target("≥", 6)),
        Row("frame", "s", Spread.of([0.25]), target=Target("≤", 0.3, "grpolab"), note="a note"),
    ]
    head, rule, first, second = markdown(rows).splitlines()
    assert head == f"| {' | '.join(HEADER)} |"
    assert rule.count("---") == len(HEADER)
    assert first == "| step | 1 s (0.9–1.2) | 7 s | 7× | 25% | ≥ 6× | yes |"
    assert second == "| frame (a note) | 0.25 s | – | – | – | ≤ 0.3 s | yes |"
    assert figure(None, "s") == "–"


def report(tmp_path: Path) -> Report:
    return Report("cpu", {"repeats": 1}, tmp_path / "out.json")


def test_a_failing_part_is_kept_and_the_next_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    r = report(tmp_path)
    r.part("bad", lambda: 1 / 0)
    assert "ZeroDivisionError" in json.loads((tmp_path / "out.json").read_text())["failures"]["bad"]
    r.part("good", lambda: r.add(Row("x", "s", Spread.of([1.0]))))
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["rows"][0]["grpolab"]["median"] == 1.0
    assert found["versions"]["torch"] and found["machine"]["cpus"] >= 1
    assert r.finish() == 1
    out = capsys.readouterr()
    assert "| x | 1 s |" in out.out and "part failed: bad" in out.out
    assert "ZeroDivisionError" in out.err


def test_a_failed_check_is_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    r = report(tmp_path)
    assert r.check(Check("a", True, "fine")) and r.finish() == 0
    assert not r.check(Check("b", False, "apart")) and r.finish() == 1
    assert "parity FAILED: b: apart" in capsys.readouterr().out
