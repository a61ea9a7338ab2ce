"""Shared by all tests: a CPU that computes the same every time, and properties that are quick."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("quick", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("quick")
