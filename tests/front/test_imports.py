"""What may not be imported is not: asked of a fresh interpreter, module by module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy")
LIGHT = (
    "cli", "commands", "launch", "boot", "headless", "plain", "report", "rerun", "rundir",
    "catalog", "schema", "grade", "scenario", "scenario_file", "events", "state", "feed",
    "history", "runlog", "recall",
    "algorithms", "tasks", "rewards", "tui.app", "doctor", "machine", "fit", "fit_formulas",
    "fit_half", "model_shape", "session", "bookmarks", "first_frame", "personal",
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
