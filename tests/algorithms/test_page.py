"""What the package's README says is so."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest

from grpolab.algorithms import ALGORITHMS, FAMILY, functional
from grpolab.lens.compute import lens
from tests.algorithms.batches import make

PACKAGE = Path(functional.__file__).parent
PAGE = (PACKAGE / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of its tables, without the heads."""
    lines = re.findall(r"^\| (.*) \|$", text, re.M)
    cells = [re.split(r"(?<!\\) \| ", line.replace("\\|", "\0")) for line in lines]
    table = [[c.replace("\0", "|") for c in row] for row in cells]
    heads = [i - 1 for i, row in enumerate(table) if set(row[0]) == {"-"}]
    return [row for i, row in enumerate(table) if i not in heads and i - 1 not in heads]


def test_the_example_is_what_grpo_py_computes() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", section("How a file is laid out"), re.S)
    source = (PACKAGE / "grpo.py").read_text(encoding="utf-8")
    parts = code.split("\n\n\n")  # dedented, as in a module of its own
    assert [p.split("(")[0] for p in parts] == ["def advantage", "def objective"]
    assert textwrap.indent("\n\n".join(parts), "    ") in source


def test_every_file_is_named() -> None:
    told = set(re.findall(r"`(\w+\.py)`", PAGE.split("\n## ")[0]))
    own = {Path(inspect.getfile(a)).name for a in FAMILY}
    files = {p.name for p in PACKAGE.glob("[!_]*.py")}
    assert told <= files and files - own <= told


def test_every_helper_has_its_row_and_no_other() -> None:
    defined = [n for n, f in inspect.getmembers(functional, inspect.isfunction) if n[0] != "_"]
    table = rows(section("Helpers"))
    assert sorted(row[0].strip("`") for row in table) == defined
    assert all(len(row) == 3 for row in table)


def test_each_aggregation_names_the_algorithms_whose_default_it_is() -> None:
    for name, _, algorithms in rows(section("Aggregations")):
        own = [f"`{a.name}`" for a in FAMILY if a.mean() == name.strip("`")]
        assert own and algorithms == ", ".join(own)


def preset_rows() -> list[tuple[str, str, list[float], list[str]]]:
    text = section("Presets")
    first, second = text.split("With rewards")
    rewards = [1.0, 0, 0, 1, 0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5001]
    out = []
    for part, given in ((first, rewards[0]), (second, rewards[1])):
        for name, *figures in rows(part):
            algorithm, preset = re.findall(r"`([^`]+)`", name)
            out.append((algorithm, preset, given, figures))
    return out


@pytest.mark.parametrize(("name", "preset", "rewards", "figures"), preset_rows())
def test_the_figures_of_the_presets(
    name: str, preset: str, rewards: list[float], figures: list[str]
) -> None:
    logp = {"logprobs": [-1.0, -1.0], "old_logprobs": [-1.0, -1.0], "ref_logprobs": [-1.0, -1.0]}
    group = {"samples": [logp | {"reward": r} for r in rewards]}
    batch = {"format": "grpolab.batch/1", "max_tokens": 4, "groups": [group]}
    samples = lens(batch, [name], preset)["algorithms"][name]["groups"][0]["samples"]
    found = [f"{s['advantages'][0]:.5f}".replace("-", "−") for s in samples]
    if len(rewards) == 4:
        assert figures == [found[3]]
        return
    assert figures[1:] == [found[0], found[1]]
    s = make(name, **ALGORITHMS[name].presets[preset]).settings
    scaled = hasattr(s, "ddof")
    epsilon = f", + {s.std_epsilon:.0e}".replace("e-0", "e-") if scaled and s.std_epsilon else ""
    assert figures[0] == (f"ddof {s.ddof}{epsilon}" if scaled else "–")


def test_the_lineage_is_that_of_the_classes() -> None:
    told = [(a.strip("`"), b.strip("`"), change) for a, b, change in rows(section("Lineage"))]
    wanted = [(a.name, b, change) for a in FAMILY for b, change in a.lineage]
    starts = [(a.name, "–", "where the line begins") for a in FAMILY if not a.lineage]
    assert told == starts + wanted
