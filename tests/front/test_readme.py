"""What the README says is so."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grpolab import algorithms, cli
from grpolab.engine.backbone.cpu import loop
from grpolab.resources import shipped_scenarios
from grpolab.scenario import yaml_lines
from grpolab.scenario.spec import build
from grpolab.tui.keymap import Keymap
from grpolab.tui.keys import ACTIONS, SCREENS

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
    files = {a.__module__.rpartition(".")[2] for a in algorithms.FAMILY}
    assert set(re.findall(r"algorithms/(\w+)\.py\)", README)) == files


def test_the_scenario_example_is_valid() -> None:
    assert len(build(yaml_lines.scalar(block("yaml", "name: mine"))).cues) == 2


def test_the_commands_parse() -> None:
    lines = re.findall(r"^grpolab (run .*?)(?: >.*)?$", README, re.M)
    assert len(lines) >= 2
    for line in lines:
        assert cli.parser().parse_args(line.split()).command == "run"


@pytest.fixture
def praise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The worked example, put into a file and into the table as the README says."""
    file = tmp_path / "praise.py"
    file.write_text(block("python", "class Praise"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("praise", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "praise", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(algorithms.ALGORITHMS, "praise", module.Praise)
    return "praise"


def test_the_worked_example_of_an_algorithm_computes_what_it_says(praise: str) -> None:
    from grpolab.lens.compute import lens

    sample = {"logprobs": [-1.0] * 3, "old_logprobs": [-1.0] * 3}
    samples = [sample | {"reward": 1.0}, sample | {"reward": 0.0}]
    batch = {"format": "grpolab.batch/1", "max_tokens": 3, "groups": [{"samples": samples}]}
    found = lens(batch, [praise])["algorithms"][praise]
    right, wrong = found["groups"][0]["samples"]
    assert right["advantages"] == [0.5] * 3 and wrong["advantages"] == [0.0] * 3
    assert right["gradient"] == [-0.25] * 3 and wrong["gradient"] == [0.0] * 3
    assert found["loss"] == pytest.approx(0.75)  # 0.5 · 3 tokens · 1 nat / 2 rows


def test_the_worked_example_of_an_algorithm_trains(praise: str, tmp_path: Path) -> None:
    import torch

    from grpolab.engine.lab import Lab
    from grpolab.record import events as ev

    plan = build(
        {
            "algorithm": praise, "rollout": {"prompts": 2, "group_size": 4},
            "train": {"steps": 2}, "evaluate": {"prompts": 2},
        }
    )  # fmt: skip
    seen: list[ev.Event] = []
    lab = Lab(plan, tmp_path, seen.append, torch.device("cpu"), threads=1)
    lab.open()
    before = [t.detach().clone() for t in lab.lanes["main"].optimizer.tensors.values()]
    lab.advance()
    lab.advance()
    after = lab.lanes["main"].optimizer.tensors.values()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    steps = [e for e in seen if isinstance(e, ev.StepDone)]
    assert [e.algorithm for e in steps] == ["praise", "praise"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which somebody did what the README says, and nothing else. With what
    was compiled before: to compile the sampler's loops takes ten seconds."""
    root = tmp_path_factory.mktemp("checkout")
    skipped = shutil.ignore_patterns("__pycache__")  # other tests write into it
    shutil.copytree(ROOT / "grpolab", root / "grpolab", ignore=skipped)
    kept = Path(
        "grpolab/engine/backbone/cpu/__pycache__", loop._family(loop.LOOPS), loop._stamp(loop.LOOPS)
    )
    if (ROOT / kept).is_dir():
        unfinished = shutil.ignore_patterns("*.o.*")
        shutil.copytree(ROOT / kept, root / kept, ignore=unfinished)
    for folder in ("assets", "scenarios"):
        (root / folder).symlink_to(ROOT / folder)
    file = root / "grpolab/algorithms/praise.py"
    file.write_text(block("python", "class Praise"), encoding="utf-8")
    table = root / "grpolab/algorithms/__init__.py"
    line = re.search(r"^from .* import Praise$", block("python", "MaxRl, Praise)"), re.M)
    assert line is not None
    text = table.read_text(encoding="utf-8")
    before = "from grpolab.algorithms.raft import Raft"
    assert text.count(before) == 1 and text.count("    MaxRl,\n)") == 1
    text = text.replace(before, f"{line[0]}\n{before}")
    text = text.replace("    MaxRl,\n)", "    MaxRl, Praise,\n)")
    table.write_text(text, encoding="utf-8")
    return root


def grpolab(root: Path, *arguments: str) -> dict[str, Any]:
    """What the command in that copy answers, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "grpolab", *arguments], cwd=root, check=False,
        env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_with_the_worked_example_every_command_knows_it(checkout: Path) -> None:
    (card,) = grpolab(checkout, "algorithms", "praise", "--json")["algorithms"]
    assert card["lineage"][0]["change"] == "no answer is blamed"
    assert Path(card["source"]) == checkout / "grpolab/algorithms/praise.py"
    assert [t["symbol"] for t in card["terms"]] == ["m", "r", "Â", "π"]
    schema = json.dumps(grpolab(checkout, "check", "default", "--schema"))
    assert '"praise"' in schema
    sample = {"logprobs": [-1.0], "old_logprobs": [-1.0]}
    samples = [sample | {"reward": 1.0}, sample | {"reward": 0.0}]
    batch = {"format": "grpolab.batch/1", "max_tokens": 1, "groups": [{"samples": samples}]}
    (checkout / "batch.json").write_text(json.dumps(batch))
    answer = grpolab(checkout, "lens", "batch.json", "--explain", "0,0,0", "--json")
    assert answer["algorithms"]["praise"]["loss"] == 0.25
    assert answer["algorithms"]["praise"]["explain"]["push"] == "up"
    assert "dr-grpo" in answer["cosine"]["praise"]


def test_with_the_worked_example_it_runs_by_name(checkout: Path) -> None:
    small = ["rollout.prompts=2", "rollout.group_size=2", "rollout.max_tokens=8"]
    small += ["evaluate.prompts=2", "train.updates_per_rollout=1"]
    told = grpolab(
        checkout, "run", "default", "--algorithm", "praise", "--steps", "1", "--headless",
        "--json", "--out", str(checkout / "run"), *(x for s in small for x in ("--set", s)),
    )  # fmt: skip
    assert (told["algorithm"], told["steps"], told["updates"]) == ("praise", 1, 1)


def told_keys() -> tuple[set[str], set[str]]:
    """The keys in the first column of the lab's table, and all that the section names."""
    section = README.split("## What you see")[1].split("## Commands")[0]
    table = section.split("| key | does |")[1].split("\n\n")[0]
    rows = [row.split(" | ")[0] for row in table.split("\n")]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    return names, set(re.findall(r"`([^`]+)`", section))


def test_every_key_of_the_lab_is_told_and_no_other() -> None:
    keymap = Keymap()
    keys = {keymap.shown(a) for a in ACTIONS}
    by_shift = {"⇧→", "⇧←", "⇧tab"}  # the same, farther or backwards
    names, _ = told_keys()
    assert names >= keys - by_shift - {"2", "3", "4", "5"}  # `1`–`6`
    assert names <= keys


def test_every_screen_over_the_lab_says_its_keys() -> None:
    _, names = told_keys()
    shown = {Keymap().shown(a) for actions in SCREENS.values() for a in actions if a.label}
    assert shown - names <= {"⇧↓"}
