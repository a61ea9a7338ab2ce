"""What may not be imported is not: asked of two fresh interpreters, module by module."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy")
LIGHT = (
    "cli", "commands", "launch", "boot", "resources", "algorithms", "tasks", "rewards",
    "scenario.spec", "scenario.load", "scenario.export", "record.events", "record.directory",
    "record.state", "record.tail", "record.history", "record.index", "record.seek",
    "record.bookmarks", "estimate.memory", "estimate.formulas", "estimate.formulas_gpu",
    "estimate.machine", "estimate.model_shape", "estimate.doctor", "headless.run",
    "headless.progress", "headless.report", "headless.rerun", "headless.catalog",
    "headless.grade", "headless.plot", "charts.terminal", "charts.svg", "tui.first_frame",
    "tui.app",
)  # fmt: skip


# argv: pairs of a module and the names that may not be loaded once it is, separated by commas
CHILD = """
import importlib, sys
for module, unwanted in zip(sys.argv[1::2], sys.argv[2::2]):
    importlib.import_module(module)
    if found := sorted(set(unwanted.split(",")) & set(sys.modules)):
        sys.exit(f"{module} loads {', '.join(found)}")
"""


def culprit(*modules: tuple[str, Iterable[str]]) -> str:
    """Imports modules one after another in one fresh interpreter; the first that loads what it may
    not, and what that is, or an empty string."""
    words = [word for module, unwanted in modules for word in (module, ",".join(unwanted))]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (not done.stderr), done.stderr
    return done.stderr


def test_a_viewer_loads_nothing_that_computes() -> None:
    """Nor does the way to the first frame load what the frame does not need."""
    first = {"pydantic", "yaml", "textual", "rich", "grpolab.scenario.spec"}
    modules = [(f"grpolab.{name}", HEAVY) for name in LIGHT]
    assert culprit(("grpolab.commands", first), *modules) == ""


def test_what_computes_loads_no_screen() -> None:
    names = ("engine.__main__", "algorithms", "tasks", "rewards")
    screen = ("textual", "grpolab.tui", "grpolab.headless.progress")
    assert culprit(*[(f"grpolab.{name}", screen) for name in names]) == ""


def test_the_module_that_loads_too_much_is_named() -> None:
    assert culprit(("colorsys", ["wave"]), ("wave", ["shelve", "wave"])) == "wave loads wave\n"
