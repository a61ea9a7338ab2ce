"""How many rows are sampled, scored or trained on at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grpolab.estimate import formulas as f
from grpolab.estimate import formulas_gpu
from grpolab.estimate.model_shape import ModelShape

if TYPE_CHECKING:
    from grpolab.engine.backbone.sample import Rollout
    from grpolab.engine.lane import Lane

SAMPLED = 32
"""Rows that one thread samples together. With fewer, starting the products dominates a step; with
64, two threads took 1.2 to 1.7 times as long on both CPUs where it was measured."""

SCORED = 16
"""Rows that one thread scores together."""

DISTRIBUTION_BYTES = 128 * 2**20
"""Largest tensor of distributions over the vocabulary on a CPU, in bytes."""

CPU_ROWS = f.CPU_MICROBATCH
"""Rows of a microbatch on a CPU: all would fit, but small ones stay in the caches and keep all
threads busy."""


def rows_at_once(lane: Lane, rollout: Rollout) -> int:
    """Rows of a microbatch: `train.microbatch`, or on a GPU as many as the formulas of `estimate`
    fit into its free memory."""
    given, count = lane.train.microbatch, len(rollout.group)
    if given != "auto":
        return given
    if lane.backbone.device.type != "cuda":
        return CPU_ROWS
    if lane.model.never_copies:
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
            prompt=prompt, answer=rollout.mask.shape[1], microbatch=size, threads=1, learned_in=2,
            critic="adapter" if lane.critic is not None else None, remembers=0,
        )  # fmt: skip
        part = formulas_gpu if load.half else f
        if part.update_bytes(lane.model_shape, load) < 0.85 * free:
            return size
        size = -(-size // 2)
    return size


def shape_of(path: str) -> ModelShape | None:
    """Sizes of a scenario's model; None where its config cannot be read."""
    from grpolab.errors import RequestError
    from grpolab.estimate.model_shape import read_config

    try:
        return ModelShape.of(read_config(path))
    except RequestError:
        return None


def sampled(lane: Lane, rows: int) -> list[Tensor]:
    """Row indices, split into what one thread samples together."""
    return _pieces(lane, rows, SAMPLED)


def scored(lane: Lane, rollout: Rollout) -> list[Tensor]:
    """Row indices, split into what goes through one forward pass without gradient."""
    found = _pieces(lane, len(rollout.group), SCORED)
    if lane.model.never_copies:
        return [p for whole in found for p in whole.split(rows_at_once(lane, rollout))]
    return found


def _pieces(lane: Lane, rows: int, size: int) -> list[Tensor]:
    size = size if lane.workers.parallel else max(rows, 1)
    return list(torch.arange(rows, device=lane.backbone.device).split(size))


def room(lane: Lane) -> int:
    """Bytes that distributions over the vocabulary may take at a time."""
    if lane.backbone.device.type != "cuda":
        return DISTRIBUTION_BYTES
    return max(DISTRIBUTION_BYTES, torch.cuda.mem_get_info(lane.backbone.device)[0] // 16)


def few(lane: Lane, rows: Tensor, tokens: int) -> tuple[Tensor, ...]:
    """Rows, split so that distributions over the vocabulary at `tokens` positions per row fit into
    memory together with what is computed from them."""
    most = room(lane) // (4 * max(tokens, 1) * lane.backbone.vocabulary)
    return rows.split(max(1, min(SCORED, most)))
