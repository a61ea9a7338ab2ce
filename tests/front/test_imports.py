"""What may not be imported is not: asked of a fresh interpreter, module by module."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy", "psutil",
)  # fmt: skip
LIGHT = (
    "cli", "commands", "launch", "boot", "resources", "errors", "algorithms", "tasks", "rewards",
    "tui.app", "tui.first_frame", "scenario.spec", "scenario.load", "scenario.export",
    "record.events", "record.directory", "record.tail", "record.index", "record.state",
    "record.history", "record.seek", "record.bookmarks", "headless.run", "headless.progress",
    "headless.report", "headless.rerun", "headless.catalog", "headless.grade", "estimate.doctor",
    "estimate.machine", "estimate.memory", "estimate.formulas", "estimate.formulas_gpu",
    "estimate.model_shape",
)  # fmt: skip


def imported(module: str) -> set[str]:
    """The modules that are loaded once `module` is."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("name", LIGHT)
def test_a_viewer_loads_nothing_that_computes(name: str) -> None:
    assert not imported(f"grpolab.{name}") & set(HEAVY)


def test_the_way_to_the_first_frame_is_light() -> None:
    loaded = imported("grpolab.commands")
    assert not loaded & {"pydantic", "yaml", "textual", "rich", "grpolab.scenario.spec"}


@pytest.mark.parametrize("name", ["engine.__main__", "algorithms", "tasks", "rewards"])
def test_what_computes_loads_no_screen(name: str) -> None:
    module = f"grpolab.{name}"
    assert not imported(module) & {"textual", "grpolab.tui", "grpolab.headless.progress"}


def test_no_module_imports_itself_through_others() -> None:
    """Imports inside functions count; those for type checkers alone do not."""
    graph = grimp.build_graph("grpolab", exclude_type_checking_imports=True, cache_dir=None)
    imports = {m: graph.find_modules_directly_imported_by(m) for m in sorted(graph.modules)}
    assert imports["grpolab.engine.lab"] > {"grpolab.engine.lane"}  # the graph is not empty
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        pytest.fail("imported in a circle: " + " → ".join(reversed(circle.args[1])))
