"""Seeds by purpose: every random draw is seeded by the run's seed and what it is for, so there is
no generator state to keep or save.

A resumed run, a switched algorithm and a second lane draw the same prompts and the same random
numbers for sampling at the same step; lanes then differ by their algorithm alone.
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
    """A torch generator with the seed of these names."""
    return torch.Generator(device=device).manual_seed(seed_of(*names))


def python_random(*names: object) -> random.Random:
    """A Python generator with the seed of these names."""
    return random.Random(seed_of(*names))
