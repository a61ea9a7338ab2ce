"""Phrases that nobody reads here: not on a screen, in help, in errors, nor in the pages.

Each was replaced by the field's word or by plain English. Strings are taken from the syntax tree,
so docstrings count and identifiers do not.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from grpolab import cli
from grpolab.resources import FORMER_NAMES

ROOT = Path(__file__).parents[2]
PHRASES = (
    "thing wrong", "things wrong", "set this", "set that", "no signal", "without a signal",
    "own move", "leash", "praise", "blame", "pushed nowhere", "made likelier", "made less likely",
    "likelier", "took “", "sampler gap", "sampler's gap", "in force", "esc stay",
    "look at it", "left out: ", "who looks at the rollout", "cosine to what is in force",
    "is scaled down", "lets the training go on", "same noise come again", "share the screen",
    "sparing", "go on:", "go on with", "goes on", "go on from", "a scenario that computes it again",
    "one file an algorithm", "where what is", "who does what", "all steps are done",
    "everything stays to look at", "loading sampler", "compiled once", "tastes",
    "computed again to the same digest", "accuracy on held-out prompts", "held-out accuracy",
    "the training can go back to it", "the likeliest answer",
)  # fmt: skip
"""Not to be found in any text, whatever its case."""

LABELS = ("most", "free", "held", "took", "stay", "differs", "all of them", "to reference")
"""Everyday words that are no label: not to be the whole of a string, such as a table's head."""

ALLOWED = {
    # what older checkpoints and requests call `kl_scale`, and the scenario that is `kl-penalty` now
    ("grpolab/algorithms/base.py", "leash"), ("grpolab/lens/whatif.py", "leash"),
    ("grpolab/resources.py", "leash"), ("scenarios/README.md", "leash"),
    ("grpolab/resources.py", "free"),  # one of its lanes, `no-penalty` now
    # JSON keeps the names of metrics and evidence that scripts know
    ("grpolab/analysis/health.py", "held-out accuracy"),
    # memory that is not in use: "1.0 GiB free"
    ("grpolab/estimate/doctor.py", "free"),
}  # fmt: skip
"""File and phrase, with the reason above."""


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string in a module with its line; the literal parts of f-strings too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def found(text: str) -> list[str]:
    plain = re.sub(r"\s+", " ", text).lower()
    there = [p for p in PHRASES if p in plain]
    return [p for p in there if re.search(rf"(?<!\w){re.escape(p)}", plain)]


def in_modules(pattern: str) -> list[str]:
    """File, line and phrase of every finding in some modules of the package."""
    out = []
    for path in sorted((ROOT / "grpolab").glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        for line, text in strings(path):
            wrong = found(text) + [x for x in LABELS if text.strip().lower() == x]
            out += [f"{name}:{line}: {p!r}" for p in wrong if (name, p) not in ALLOWED]
    return out


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, str]]:
    """Every command with its help."""
    yield name, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from commands(inner, f"{name} {word}".strip())


FOLDERS = sorted(p.parent.name for p in (ROOT / "grpolab").glob("*/__init__.py"))


@pytest.mark.parametrize("pattern", ["*.py", *(f"{name}/**/*.py" for name in FOLDERS)])
def test_no_string_of_the_package_has_one(pattern: str) -> None:
    assert in_modules(pattern) == []


@pytest.mark.parametrize(("name", "text"), list(commands(cli.parser())))
def test_no_help_has_one(name: str, text: str) -> None:
    assert found(text) == [], name


@pytest.mark.parametrize(
    "page", [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.rglob("README.md"))
             if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)],
)  # fmt: skip
def test_no_page_has_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [p for p in found(text) if (page, p) not in ALLOWED] == []


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_no_description_has_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert found(text) == []
    assert yaml.safe_load(text)["description"].strip()


def test_a_phrase_would_be_found() -> None:
    assert found("Two THINGS\n  wrong here") == ["things wrong"]
    assert found("nobody is praised") == ["praise"] and found("appraised") == []
    assert {p for name in FORMER_NAMES for p in found(name)} == {"leash"}
