"""Shared by all tests: a CPU that computes the same every time, and properties that are quick."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest
from hypothesis import settings

settings.register_profile("all", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("quick", settings.get_profile("all"), max_examples=20)

# Every core has a worker already, and tensors here are small: kernels on more threads would only
# wait, spinning, for each other and for whoever else uses the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WARM = """
from grpolab.engine.backbone.cpu import loop
if loop.cached():
    raise SystemExit
import torch
from grpolab.engine.backbone.cpu import layers, session
session.warm()
for dtype in (torch.float32, torch.bfloat16):
    layers.warm(dtype)
"""

warming: list[subprocess.Popen[bytes]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Properties are tried on fewer examples where slow tests are left out."""
    settings.load_profile("quick" if "not slow" in config.option.markexpr else "all")


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay to the end: no collection of garbage needs
    to go through them again."""
    gc.freeze()


def pytest_sessionstart(session: pytest.Session) -> None:
    """The sampler's loops are compiled once, while the workers collect, and not by every worker at
    the same time."""
    if "PYTEST_XDIST_WORKER" not in os.environ and session.config.getoption("numprocesses", None):
        warming.append(subprocess.Popen([sys.executable, "-c", WARM]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished() -> None:
    """Only now tests are handed out."""
    for process in warming:
        process.wait()


def pytest_sessionfinish() -> None:
    """Also where nothing was collected."""
    for process in warming:
        process.wait()
