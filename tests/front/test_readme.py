"""What the README and the pages beside the code say is so."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from grpolab import algorithms, cli
from grpolab.engine.backbone.cpu import loop
from grpolab.resources import shipped_scenarios
from grpolab.rewards import REWARDS
from grpolab.scenario import yaml_lines
from grpolab.scenario.spec import Cue, Scenario, build
from grpolab.tasks import TASKS
from grpolab.tui.keymap import Keymap, load_keymap
from grpolab.tui.keys import ACTIONS, SCREENS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md", "scenarios/README.md", "grpolab/tui/README.md", "grpolab/engine/README.md",
        "grpolab/lens/README.md", "grpolab/algorithms/README.md",
        "tests/benchmarks/README.md",
    )
}  # fmt: skip
SCREEN = PAGES["grpolab/tui/README.md"]
ALGORITHMS = PAGES["grpolab/algorithms/README.md"]


def block(language: str, containing: str, page: str = README) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", page, re.S)
    return next(b for b in blocks if containing in b)


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of its level."""
    return PAGES[page].split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_column(table: str) -> list[str]:
    """The first cells of a table's rows, its head left out."""
    rows = re.findall(r"^\| (.*?) \| ", table, re.M)
    return [row for row in rows[1:] if set(row) != {"-"}]


def test_the_front_page_is_read_to_the_end() -> None:
    lines = README.splitlines()
    assert len(lines) <= 250 and max(map(len, lines)) <= 100
    install = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/grpolab"
    assert install in lines[:15]


def test_every_module_and_package_has_its_line() -> None:
    tree = section("README.md", "Project layout").split("```")[1]
    named = set(re.findall(r"^  (\w+(?:\.py|/))", tree, re.M))
    modules = {p.name for p in (ROOT / "grpolab").glob("[!_]*.py")}
    packages = {f"{p.name}/" for p in (ROOT / "grpolab").iterdir() if (p / "__init__.py").exists()}
    assert named == modules | packages


def test_where_to_look_names_what_is_there() -> None:
    table = section("README.md", "Project layout").split("| question | answer |")[1]
    found = re.findall(r"`(\w+/\w+\.py)`", table)
    assert found and [f for f in found if not (ROOT / "grpolab" / f).is_file()] == []
    for folder, names in (
        ("engine/lab.py", ("    def step(", "    def advance(")),
        ("algorithms/functional.py", ("def clipped_surrogate(",)),
        ("tasks/__init__.py", ("TASKS",)), ("rewards/__init__.py", ("REWARDS",)),
        ("algorithms/__init__.py", ("FAMILY",)), ("tui/keys.py", ("ACTIONS = (",)),
    ):  # fmt: skip
        text = (ROOT / "grpolab" / folder).read_text(encoding="utf-8")
        assert all(name in text for name in names), folder


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        there = (ROOT / page).parent / file
        assert there.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}
    used = set(re.findall(r"\[(\d{4}\.\d{5})\](?!:)", PAGES[page]))
    assert used == set(re.findall(r"^\[(\S+)\]: https://arxiv.org/abs/\1$", PAGES[page], re.M))


def test_every_algorithm_is_in_its_table_with_its_paper_and_file() -> None:
    table = section("README.md", "Algorithms")
    rows = dict(re.findall(r"^\| `([\w+-]+)` \| (.*?) \| .+ \|$", table, re.M))
    assert list(rows) == list(algorithms.ALGORITHMS)
    for name, paper in rows.items():
        cls = algorithms.ALGORITHMS[name]
        assert set(re.findall(r"\d{4}\.\d{5}", paper)) == set(
            re.findall(r"\d{4}\.\d{5}", cls.paper)
        )
        assert cls.paper.partition(", ")[2] in paper or "2203.02155" in paper
        file = name.replace("++", "_pp").replace("-", "_")
        assert cls.__module__ == f"grpolab.algorithms.{file}"


def test_every_shipped_scenario_is_in_its_table() -> None:
    cells = first_column(section("scenarios/README.md", "Shipped scenarios"))
    named = {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}
    assert named == set(shipped_scenarios())


def plain(value: Any) -> str:
    """A default as the page writes it."""
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return json.dumps(list(value)) if isinstance(value, tuple) else str(value)


def settings(prefix: str, model: Any) -> set[tuple[str, str]]:
    """Every key of a section with its default, nested ones with dots."""
    found = set()
    for name, info in model.model_fields.items():
        if hasattr(type(info.default), "model_fields"):
            found |= settings(f"{prefix}{name}.", type(info.default))
        else:
            found.add((f"{prefix}{name}", plain(info.default)))
    return found


def test_every_key_of_a_scenario_is_listed_with_its_default() -> None:
    text = PAGES["scenarios/README.md"]
    whole = Scenario.model_fields
    sections = {n for n, f in whole.items() if hasattr(type(f.default), "model_fields")} - {"task"}
    keys = {
        key for name in sections for key in settings(f"{name}.", type(whole[name].default))
    }  # fmt: skip
    rows = re.findall(r"^\| `(\w+\.[\w.]+)` \| `(.*?)` \| ", text, re.M)
    assert set(rows) == keys and len(rows) == len(keys)
    top = section("scenarios/README.md", "Top level")
    assert set(re.findall(r"`(\w+)`", "".join(first_column(top)))) == {*whole, "algorithm"}
    for kind, options in (("task", TASKS), ("reward", REWARDS)):
        for name, cls in options.items():
            for key, default in settings("", cls.Options):  # pyright: ignore
                assert f"| `{name}` `{key}` | `{default}` | " in text, kind


def test_the_scenario_example_is_valid() -> None:
    example = block("yaml", "name: mine")
    assert len(build(yaml_lines.scalar(example)).cues) == 2 and len(example.splitlines()) == 12


def test_every_kind_of_cue_is_shown_and_valid() -> None:
    (example,) = re.findall(r"```yaml\n(cues:.*?)```", PAGES["scenarios/README.md"], re.S)
    cues = build(yaml_lines.scalar(example)).cues
    models = get_args(get_args(Cue)[0])
    kinds = {kind for m in models for kind in get_args(m.model_fields["do"].annotation)}
    assert {cue.do for cue in cues} == kinds


def commands() -> dict[str, argparse.ArgumentParser]:
    top = cli.parser()
    found = [a for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found[0].choices)


def test_every_command_is_in_the_table() -> None:
    cells = first_column(section("README.md", "Without the screen"))
    assert {c for cell in cells for c in re.findall(r"`([a-z]+)[ `]", cell)} == set(commands())


def examples() -> list[tuple[str, str]]:
    """Every line of a shell block that starts grpolab, with its page."""
    return [
        (page, line)
        for page, text in PAGES.items()
        for shell in re.findall(r"```sh\n(.*?)```", text, re.S)
        for line in shell.splitlines()
        if line.startswith("grpolab")
    ]


@pytest.mark.parametrize(("page", "line"), examples())
def test_the_commands_parse(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    assert cli.parser().parse_args(words).command == words[0]


def test_every_environment_variable_is_listed() -> None:
    code = "".join(
        p.read_text(encoding="utf-8") for p in sorted((ROOT / "grpolab").rglob("*.py"))
    )  # fmt: skip
    read = set(re.findall(r"\bGRPOLAB_[A-Z_]*[A-Z]\b", code))
    listed = first_column(section("grpolab/tui/README.md", "Environment"))
    assert len(read) >= 6 and read | {"NO_COLOR"} == {name.strip("`") for name in listed}


def test_the_five_keys_are_bound() -> None:
    cells = [c.strip("`") for c in first_column(section("README.md", "Five keys"))]
    assert len(cells) == 5 and set(cells) <= {Keymap().shown(a) for a in ACTIONS}


def test_the_example_of_own_keys_is_understood(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SCREEN, re.S)
    file = tmp_path / "keys.toml"
    file.write_text(example, encoding="utf-8")
    keymap, problem = load_keymap(file)
    assert problem == "" and set(keymap.changed) >= {"pause", "curves"}


def test_the_batch_example_is_read_by_every_algorithm() -> None:
    from grpolab.lens.compute import lens

    (example,) = re.findall(r"```json\n(.*?)```", PAGES["grpolab/lens/README.md"], re.S)
    found = lens(json.loads(example), ["grpo", "ppo", "remax", "grpo-process"])
    assert set(found["algorithms"]) == {"grpo", "ppo", "remax", "grpo-process"}


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The worked example, put into a file and into the table as the algorithms' README says."""
    file = tmp_path / "positive_only.py"
    file.write_text(block("python", "class PositiveOnly", ALGORITHMS), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("positive_only", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "positive_only", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(algorithms.ALGORITHMS, "positive-only", module.PositiveOnly)
    return "positive-only"


def test_the_worked_example_of_an_algorithm_computes_what_it_says(example: str) -> None:
    from grpolab.lens.compute import lens

    sample = {"logprobs": [-1.0] * 3, "old_logprobs": [-1.0] * 3}
    samples = [sample | {"reward": 1.0}, sample | {"reward": 0.0}]
    batch = {"format": "grpolab.batch/1", "max_tokens": 3, "groups": [{"samples": samples}]}
    found = lens(batch, [example])["algorithms"][example]
    right, wrong = found["groups"][0]["samples"]
    assert right["advantages"] == [0.5] * 3 and wrong["advantages"] == [0.0] * 3
    assert right["gradient"] == [-0.25] * 3 and wrong["gradient"] == [0.0] * 3
    assert found["loss"] == pytest.approx(0.75)  # 0.5 · 3 tokens · 1 nat / 2 rows


def test_the_worked_example_of_an_algorithm_trains(example: str, tmp_path: Path) -> None:
    import torch

    from grpolab.engine.lab import Lab
    from grpolab.record import events as ev

    plan = build(
        {
            "algorithm": example, "rollout": {"prompts": 2, "group_size": 4},
            "train": {"steps": 2}, "evaluate": {"prompts": 2},
        }
    )  # fmt: skip
    seen: list[ev.Event] = []
    lab = Lab(plan, tmp_path, seen.append, torch.device("cpu"), threads=1)
    before = [t.detach().clone() for t in lab.lanes["main"].optimizer.tensors.values()]
    lab.advance()
    lab.advance()
    after = lab.lanes["main"].optimizer.tensors.values()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    steps = [e for e in seen if isinstance(e, ev.StepDone)]
    assert [e.algorithm for e in steps] == ["positive-only", "positive-only"]


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
    file = root / "grpolab/algorithms/positive_only.py"
    file.write_text(block("python", "class PositiveOnly", ALGORITHMS), encoding="utf-8")
    table = root / "grpolab/algorithms/__init__.py"
    line = re.search(
        r"^from .* import PositiveOnly$", block("python", "MaxRl, PositiveOnly)", ALGORITHMS), re.M
    )
    assert line is not None
    text = table.read_text(encoding="utf-8")
    before = "from grpolab.algorithms.raft import Raft"
    assert text.count(before) == 1 and text.count("    MaxRl,\n)") == 1
    text = text.replace(before, f"{line[0]}\n{before}")
    text = text.replace("    MaxRl,\n)", "    MaxRl, PositiveOnly,\n)")
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


@pytest.mark.slow
def test_with_the_worked_example_every_command_knows_it(checkout: Path) -> None:
    (card,) = grpolab(checkout, "algorithms", "positive-only", "--json")["algorithms"]
    assert card["lineage"][0]["change"] == "negative advantages become 0"
    assert Path(card["source"]) == checkout / "grpolab/algorithms/positive_only.py"
    assert [t["symbol"] for t in card["terms"]] == ["m", "r", "Â", "π"]
    schema = json.dumps(grpolab(checkout, "check", "default", "--schema"))
    assert '"positive-only"' in schema
    sample = {"logprobs": [-1.0], "old_logprobs": [-1.0]}
    samples = [sample | {"reward": 1.0}, sample | {"reward": 0.0}]
    batch = {"format": "grpolab.batch/1", "max_tokens": 1, "groups": [{"samples": samples}]}
    (checkout / "batch.json").write_text(json.dumps(batch))
    answer = grpolab(checkout, "lens", "batch.json", "--explain", "0,0,0", "--json")
    assert answer["algorithms"]["positive-only"]["loss"] == 0.25
    assert answer["algorithms"]["positive-only"]["explain"]["push"] == "up"
    assert "dr-grpo" in answer["cosine"]["positive-only"]


@pytest.mark.slow
def test_with_the_worked_example_it_runs_by_name(checkout: Path) -> None:
    small = ["rollout.prompts=2", "rollout.group_size=2", "rollout.max_tokens=8"]
    small += ["evaluate.prompts=2", "train.updates_per_rollout=1"]
    told = grpolab(
        checkout, "run", "default", "--algorithm", "positive-only", "--steps", "1", "--headless",
        "--json", "--out", str(checkout / "run"), *(x for s in small for x in ("--set", s)),
    )  # fmt: skip
    assert (told["algorithm"], told["steps"], told["updates"]) == ("positive-only", 1, 1)


def told_keys() -> tuple[set[str], set[str]]:
    """The keys in the first column of the lab's table, and all that the section names."""
    text = section("grpolab/tui/README.md", "Keys")
    table = text.split("| key | does |")[1].split("\n\n")[0]
    rows = [row.split(" | ")[0] for row in table.split("\n")]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    return names, set(re.findall(r"`([^`]+)`", text))


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
