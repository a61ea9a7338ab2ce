"""What the README says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grpolab import algorithms, cli, yaml_file
from grpolab.resources import shipped_scenarios
from grpolab.scenario import build, make_algorithm

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    return next(b for b in blocks if containing in b)


def test_every_file_and_folder_of_the_package_has_its_line() -> None:
    tree = README.split("## Where what is")[1].split("```")[1]
    told = set(re.findall(r"^  (\w+(?:\.py|/))", tree, re.M))
    files = {p.name for p in (ROOT / "grpolab").glob("[!_]*.py")}
    folders = {f"{p.name}/" for p in (ROOT / "grpolab").iterdir() if (p / "__init__.py").exists()}
    assert told == files | folders


def test_every_scenario_and_algorithm_is_in_its_table() -> None:
    for name in [*shipped_scenarios(), *algorithms.ALGORITHMS]:
        assert f"`{name}`" in README
    assert set(re.findall(r"algorithms/(\w+)\.py\)", README)) == set(algorithms.ALGORITHMS)


def test_the_scenario_example_is_valid() -> None:
    assert len(build(yaml_file.scalar(block("yaml", "name: mine"))).cues) == 2


def test_the_commands_parse() -> None:
    lines = re.findall(r"^grpolab (run .*?)(?: >.*)?$", README, re.M)
    assert len(lines) >= 2
    for line in lines:
        assert cli.parser().parse_args(line.split()).command == "run"


def test_the_worked_example_of_an_algorithm_works(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from grpolab.algorithms.base import Batch, Forward, Whole

    space: dict[str, object] = {"__name__": "praise"}
    exec(block("python", "class Praise"), space)
    monkeypatch.setitem(algorithms.ALGORITHMS, "praise", space["Praise"])  # type: ignore[arg-type]
    praise = make_algorithm(build({"algorithm": "praise"}).lanes[0].algorithm)
    old = torch.full((2, 3), -1.0)
    reward, group = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
    batch = Batch(torch.ones(2, 3), group, reward, old, None, None, 3)
    credit = praise.credit(batch)
    assert credit.advantage.tolist() == [[0.5] * 3, [0.0] * 3]
    loss = praise.loss(batch, credit, Forward(old, old * 0, None), Whole(2, 6, 3))
    assert float(loss.total) == pytest.approx(0.75)  # 0.5 · 3 tokens · 1 nat / 2 rows
