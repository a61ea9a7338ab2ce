"""Shared by all tests: a CPU that computes the same every time, and properties that are quick."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("quick")

WARM = """
import torch
from grpolab.engine.cpu import layers, session
session.warm()
for dtype in (torch.float32, torch.bfloat16):
    layers.warm(dtype)
"""


def pytest_sessionstart(session: pytest.Session) -> None:
    """The sampler's loops are compiled once, not by every worker at the same time."""
    if "PYTEST_XDIST_WORKER" not in os.environ and session.config.getoption("numprocesses", None):
        subprocess.run([sys.executable, "-c", WARM], check=False)
