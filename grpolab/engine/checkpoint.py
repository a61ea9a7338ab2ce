"""Checkpoints on disk: a safetensors file and a JSON file in a folder that appears complete or not
at all. Old ones are thinned out as new ones are written. What is in one: `lab_checkpoint`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

NEWEST = 5
"""The newest checkpoints, which always stay."""

MOST = 16
"""Checkpoints that stay in all."""

ROOM = 1 << 30
"""Bytes that all checkpoints may take; the newest `NEWEST` stay even if they take more."""

EVEN = 0.5
"""Spacing of the older ones: 0 for equal gaps at every age, 1 for gaps in proportion to age."""


def folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run_dir / "checkpoints" / f"step-{step:06d}"


def save(run_dir: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write a checkpoint and remove those that `to_keep` does not name; returns its folder."""
    target = folder(run_dir, step)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file(
        {k: v.detach().contiguous() for k, v in tensors.items()}, str(draft / "tensors.safetensors")
    )
    (draft / "state.json").write_text(json.dumps(state, indent=1))
    for file in draft.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)
    _thin(run_dir)
    return target


def complete(run_dir: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints as (step, folder), oldest first."""
    found = (run_dir / "checkpoints").glob("step-*")
    return sorted((int(p.name[5:]), p) for p in found if (p / "state.json").exists())


def newest(run_dir: Path) -> tuple[int, Path] | None:
    """The newest complete checkpoint as (step, folder)."""
    return next(reversed(complete(run_dir)), None)


def remove_after(run_dir: Path, step: int) -> None:
    """Remove the checkpoints of later steps, the latest first: an interruption leaves no gap."""
    for later, path in reversed(complete(run_dir)):
        if later > step:
            shutil.rmtree(path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint's folder."""
    return load_file(str(path / "tensors.safetensors")), json.loads(
        (path / "state.json").read_text()
    )


def _thin(run_dir: Path) -> None:
    there = complete(run_dir)
    sizes = [sum(file.stat().st_size for file in path.iterdir()) for _, path in there]
    stay = to_keep([step for step, _ in there], sizes)
    for step, path in there:
        if step not in stay:
            shutil.rmtree(path)


def to_keep(steps: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Of checkpoints with these steps (rising) and bytes, the steps of those that stay: the newest,
    and older ones spread over the run, sparser with age, so that a rewind reaches far back.

    Repeatedly removes the older one that leaves the smallest gap for its age. Step 0 needs no
    checkpoint and counts as one.
    """
    left = list(zip(steps, sizes, strict=True))
    while len(left) > NEWEST and (len(left) > MOST or sum(size for _, size in left) > ROOM):
        now = left[-1][0]
        older = range(len(left) - NEWEST)

        def gap(i: int, left: list[tuple[int, int]] = left, now: int = now) -> float:
            before = left[i - 1][0] if i else 0
            return (left[i + 1][0] - before) / max(1, now - left[i][0]) ** EVEN

        del left[min(older, key=gap)]
    return [step for step, _ in left]
