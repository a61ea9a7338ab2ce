"""Randomness by name: every draw is seeded by what it is for, so no generator state has to be
carried or saved.

A resumed run, a switched algorithm and a second lane all draw the same prompts and the same
sampling noise at the same step; what differs between lanes is then the algorithm alone.
"""

from __future__ import annotations

import hashlib
import random

import torch


def seed_of(*names: object) -> int:
    """A 63-bit seed from the run's seed and what it is for, e.g. (0, "sample", 17)."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def torch_generator(*names: object, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed_of(*names))


def python_random(*names: object) -> random.Random:
    return random.Random(seed_of(*names))
