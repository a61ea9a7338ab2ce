"""Prompts and answers as flat tokens, each distinct prefix of a group's answers once: linear layers
see neither padding nor the same context twice, and only attention knows rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.cpu.loop import Array


@dataclass(frozen=True)
class Stretches:
    """Which tokens attend to which: S stretches of flat tokens, each a whole prompt or the part of
    an answer that no earlier row shares. The tokens of a stretch are its last keys: token i of n
    attends to all keys but the last n − 1 − i."""

    keys: Array  # [Σ L] flat tokens: the keys of all stretches, one stretch after another
    start: Array  # [S + 1] where the keys of each stretch begin in `keys`
    first: Array  # [S] first flat token of a stretch
    count: Array  # [S] tokens of a stretch, n

    @property
    def lengths(self) -> Array:
        """Keys of each stretch. [S]."""
        return self.start[1:] - self.start[:-1]


@dataclass(frozen=True)
class Plan:
    """Where each flat token comes from: first all prompt tokens; then each row's answer tokens that
    are inputs (all but its last) and that no earlier row of the same prompt has after the same
    tokens; then filler tokens that attend to themselves alone.

    K prompts of up to P tokens, n rows of up to T tokens; Mp flat prompt tokens, Ma flat answer
    tokens, M of all.
    """

    prompt_at: Tensor  # [Mp] index into [K·P]
    answer_at: Tensor  # [Ma] index into [n·T]
    position: Tensor  # [M] rotary position
    stretches: Stretches
    context_at: Tensor  # [K + Ma] flat tokens that predict: ends of prompts, answer tokens
    contexts: Tensor  # [n, T] index of the one that predicts each answer token; 0 on padding

    @staticmethod
    def of(
        prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor, multiple: int = 1
    ) -> Plan:
        """`multiple`: M is filled up to a multiple of it."""
        (k, p), (n, t), device = prompts.ids.shape, mask.shape, mask.device
        s = t - 1
        inputs = mask[:, 1:].bool()  # token j is an input where token j + 1 exists
        owner = _owners(group, answers[:, :s], inputs)
        own = inputs & (owner == torch.arange(n, device=device)[:, None])

        prompt_at = prompts.mask.reshape(-1).nonzero().squeeze(1)
        own_at = own.reshape(-1).nonzero().squeeze(1)
        row, col = own_at // max(s, 1), own_at % max(s, 1)
        flat_prompt = (prompts.mask.reshape(-1).cumsum(0) - 1).clamp(min=0).view(k, p)
        flat_own = own.reshape(-1).cumsum(0).view(n, s) - 1
        node = flat_own.gather(0, owner).where(inputs, 0)  # [n, S] among the answer tokens

        lengths = prompts.mask.sum(1)
        prompt_position = (prompts.mask.cumsum(1) - 1).reshape(-1)[prompt_at]
        contexts = torch.cat([group[:, None], (node + k).where(inputs, 0)], 1)

        count = own.sum(1)
        mine = count.nonzero().squeeze(1)  # rows with tokens of their own: those are their ends
        m = len(prompt_at) + len(own_at)
        filler = torch.arange(m, m + -m % multiple)
        alone = torch.ones_like(filler)
        every = torch.cat([flat_prompt[group[mine]], node[mine] + len(prompt_at)], 1)
        real = torch.cat([prompts.mask[group[mine]], inputs[mine]], 1)
        counts = torch.cat([lengths, count[mine], alone])
        seen = torch.cat([lengths, real.sum(1), alone])
        stretches = Stretches(
            keys=torch.cat([torch.arange(len(prompt_at)), every[real], filler]).numpy(),
            start=_starts(seen), first=_starts(counts)[:-1], count=counts.numpy(),
        )  # fmt: skip
        return Plan(
            prompt_at=prompt_at,
            answer_at=row * t + col,
            position=torch.cat([prompt_position, lengths[group[row]] + col, 0 * filler]),
            stretches=stretches,
            # left-padded: the last column is real
            context_at=torch.cat(
                [flat_prompt[:, -1], torch.arange(len(own_at), device=device) + len(prompt_at)]
            ),
            contexts=contexts,
        )


def _starts(counts: Tensor) -> Array:
    return np.concatenate([[0], counts.numpy().cumsum()])


def _owners(group: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
    """The first row that answers the same prompt with the same tokens up to each position. group
    [n], tokens [n, S], real [n, S] -> [n, S]."""
    n, device = len(group), group.device
    same = (tokens[:, None] == tokens) & real[:, None] & real
    same &= (group[:, None] == group)[:, :, None]
    shared = same.cumprod(2).bool()  # [n, n, S]
    rows = torch.arange(n, device=device)
    return torch.where(shared, rows[None, :, None], n).amin(1).clamp(max=n - 1)
