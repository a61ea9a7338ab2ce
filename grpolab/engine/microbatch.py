"""How many rows go through one forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from grpolab import fit_formulas as f
from grpolab import fit_half
from grpolab.model_shape import ModelShape

if TYPE_CHECKING:
    from grpolab.engine.lane import Lane
    from grpolab.engine.sample import Rollout

CPU_ROWS = f.CPU_MICROBATCH
"""On a CPU all would fit, but small pieces stay in the caches and keep all threads busy."""


def rows_at_once(lane: Lane, rollout: Rollout) -> int:
    """`train.microbatch`, or on a GPU as many as its free memory holds by `fit_formulas`."""
    given, count = lane.train.microbatch, len(rollout.group)
    if given != "auto":
        return given
    if lane.backbone.device.type != "cuda":
        return CPU_ROWS
    if lane.model.frugal:
        return max(1, f.FRUGAL_TOKENS // (rollout.prompts.ids.shape[1] + rollout.mask.shape[1]))
    device = lane.backbone.device
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    groups, prompt = rollout.prompts.ids.shape
    size = count if lane.model_shape is not None else 8
    while lane.model_shape is not None and size > 1:
        load = f.Load(
            cuda=True, native=lane.backbone.backend == "native", quantize=lane.model.quantize,
            copy=True, rank=lane.model.lora.rank, targets=None, groups=groups, rows=count,
            prompt=prompt, answer=rollout.mask.shape[1], microbatch=size, threads=1, sampled_in=2,
            critic="adapter" if lane.critic is not None else None, remembers=0,
        )  # fmt: skip
        part = fit_half if load.half else f
        if part.update_bytes(lane.model_shape, load) < 0.85 * free:
            return size
        size = -(-size // 2)
    return size


def shape_of(path: str) -> ModelShape | None:
    """Sizes of the model of a scenario, where its config can be read."""
    from grpolab.model_shape import read_config
    from grpolab.problems import RequestError

    try:
        return ModelShape.of(read_config(path))
    except RequestError:
        return None
