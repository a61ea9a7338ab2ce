"""The tables of measurements: made from the result files alone, and the page holds nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from grpolab import algorithms
from grpolab.resources import shipped_scenarios
from tests.benchmarks import lessons, tables
from tests.benchmarks.report import Report, Row, Spread, Target

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md", "scenarios/README.md", "grpolab/tui/README.md", "grpolab/engine/README.md",
    "grpolab/lens/README.md", "tests/benchmarks/README.md",
)  # fmt: skip
FIGURE = re.compile(r"\d[\d,.]*\s?(?:µs|ms|s|MiB|GiB|KiB|tokens/s|nats|GFLOP/s|×)(?![\w×])")
NO_MEASUREMENT = {"64 MiB", "1 GiB", "16 MiB"}
"""Limits that the code sets."""


def test_the_page_is_what_the_result_files_give() -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.page(text, tables.machines()) == text, "run python -m tests.benchmarks.tables"
    assert {m["topic"] for m in tables.TABLE.finditer(text)} == set(
        tables.tables(tables.machines())
    )


def test_the_front_page_s_sentence_is_what_the_result_files_give() -> None:
    text = tables.FRONT.read_text(encoding="utf-8")
    assert tables.front(text, tables.machines()) == text, "run python -m tests.benchmarks.tables"
    assert len(tables.SPEED.findall(text)) == 1


@pytest.mark.parametrize("page", PAGES)
def test_a_figure_stands_only_in_a_table_made_from_results(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "", tables.SPEED.sub("", tables.TABLE.sub("", text)), flags=re.S)
    assert set(FIGURE.findall(text)) <= NO_MEASUREMENT


@pytest.mark.parametrize("machine", tables.machines(), ids=lambda m: m.file.stem)
def test_every_row_says_what_was_measured_when_and_of_which_commit(machine) -> None:
    assert machine.rows
    for row in machine.rows:
        known = row["commit"] or row["recorded_in"]
        assert re.fullmatch(r"[0-9a-f]{7,40}", known)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
    for row in machine.rows:
        assert row["grpolab"] is not None or row["ratio"] is not None, row["work"]
        assert row["target"] is None or tables.met(row) is not None


def test_all_algorithms_and_scenarios_are_measured_over_several_seeds() -> None:
    ((told, found),) = lessons.read()
    assert re.fullmatch(r"[0-9a-f]{7,40}", told["commit"])
    assert {x.algorithm for x in found if x.algorithm} == {a.name for a in algorithms.FAMILY}
    assert {x.scenario for x in found} == set(shipped_scenarios()) - {"qlora"}
    few = {x.algorithm or x.scenario for x in found if len(x.seeds) < 3}
    assert few <= {"trpo"}, "trpo takes five times as long"


def test_a_lesson_s_intervals_hold_the_noise_of_its_test_prompts() -> None:
    seeds = [
        {"evals": [[0, 0.2, 0.1], [10, a, 0.9]], "prompts": 128, "kl": kl}
        for a, kl in ((0.9, 0.1), (0.9, 0.3), (0.8, None))
    ]
    lesson = lessons.Lesson("default", "grpo", "main", seeds)
    assert lesson.reached() == [10, 10]
    assert lesson.first() == "10 ± 0 (2 of 3 seeds)"
    assert lesson.divergence().startswith("0.2000 ± ")
    same = lessons.Lesson("default", "grpo", "main", [seeds[0], seeds[1]])
    assert float(same.accuracy().partition(" ± ")[2]) > 0.02, "equal seeds are no certainty"


def test_only_a_spread_is_judged_by_its_worse_end() -> None:
    row = {"ratio": None, "target": {"bound": "≤", "value": 3.0, "on": "grpolab"}}
    assert tables.met(row | {"grpolab": {"median": None, "min": 2.0, "max": 3.1}}) is False
    assert tables.met(row | {"grpolab": {"median": 2.5, "min": 2.0, "max": 3.1}}) is True
    assert tables.amount({"median": None, "min": 2.0, "max": 3.1}, "s") == "2–3.1 s"
    assert tables.amount({"median": 2.5, "min": 2.0, "max": 3.1, "n": 4}, "s") == (
        "2.5 s (2–3.1, n = 4)"
    )
    assert tables.digits(0.000032) == "3.2·10^-5"


def test_a_benchmark_s_report_becomes_rows(tmp_path: Path) -> None:
    report = Report("cpu", {}, tmp_path / "cpu.json")
    fast, slow = Spread.of([0.1, 0.2, 0.3]), Spread.of([1.4])
    report.add(Row("CPU: GRPO step", "s", fast, slow, 7.0, target=Target("≥", 6)))
    found = json.loads((tmp_path / "cpu.json").read_text())
    found |= {"commit": "1234567", "date": "2026-12-01"}
    older = {"topic": "cpu", "work": "GRPO step", "commit": "0000000"}
    data = {"versions": dict(found["versions"]), "rows": [older, older | {"commit": "1234567"}]}
    tables.add(found, data)
    assert data["rows"][0] is older and len(data["rows"]) == 2
    assert tables.cells(data["rows"][1], "TRL") == {
        "work": "GRPO step", "grpolab": "0.2 s (0.1–0.3, n = 3)", "TRL": "1.4 s (1.4–1.4, n = 1)",
        "ratio": "7×", "share of the limit": "–", "target": "≥ 6×", "met": "yes",
        "commit": "1234567", "date": "2026-12-01",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report.plain()["date"])
