"""Prompts and answers as flat tokens without padding: their origins and what they attend to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grpolab.engine.backbone.base import Prompts


@dataclass(frozen=True)
class Flat:
    """Where each flat token comes from: all prompt tokens, then each row's answer but its last
    token.

    K prompts of up to P tokens, n rows of up to T answer tokens, M flat tokens. A sequence is a
    prompt or a row's answer, in this order. int64.
    """

    prompt_at: Tensor  # [prompt_tokens] index into [K·P]
    answer_at: Tensor  # [M - prompt_tokens] index into [n·T]
    state_at: Tensor  # [Σ lengths] flat token that predicts each answer token, rows in order
    token_at: Tensor  # [Σ lengths] that answer token, an index into [n·T]
    position: Tensor  # [M] rotary position
    starts: Tensor  # [K + n + 1] first flat token of each sequence, and where the last ends
    before: Tensor  # [K + n, 2] first token and length of the prompt before it; 0, 0 of prompts
    prompts: int  # K
    prompt_tokens: int  # of all prompts
    longest: tuple[int, int, int]  # tokens of a prompt, tokens and keys of a sequence

    @property
    def sequences(self) -> int:
        return len(self.before)

    @cached_property
    def key_at(self) -> Tensor:
        """The flat token of each key, sequence by sequence, those of its prompt first."""
        prompt, own = self.before.unbind(1), (self.starts[:-1], self.starts.diff())
        first, count = _in_turn((prompt[0], prompt[1]), own)
        return _ranges(first, count, int(count.sum()))

    @staticmethod
    def of(prompts: Prompts, group: Tensor, mask: Tensor) -> Flat:
        """Needs one device synchronization: the total is summed on the host."""
        device, (k, width), (n, t) = mask.device, prompts.ids.shape, mask.shape
        lengths, answers = prompts.mask.sum(1), mask.sum(1).long()
        inputs = (answers - 1).clamp(min=0)
        sizes = torch.cat([lengths, answers, group]).tolist()
        asked_of, written, owner = sizes[:k], sizes[k : k + n], sizes[k + n :]
        inputs_of = [max(size - 1, 0) for size in written]
        asked_tokens, answer_tokens, input_tokens = map(sum, (asked_of, written, inputs_of))
        keys = (asked_of[p] + size for p, size in zip(owner, inputs_of, strict=True))
        starts = _starts(torch.cat([lengths, inputs]))
        first, own = starts[:k], starts[k:-1]
        prompt, row = torch.arange(k, device=device), torch.arange(n, device=device)
        asked = lengths[group]  # the prompt's length of each answer
        states = _in_turn((first[group] + asked - 1, answers.clamp(max=1)), (own, inputs))
        position = [
            _ranges(torch.zeros_like(lengths), lengths, asked_tokens),
            _ranges(asked, inputs, input_tokens),
        ]
        before = torch.stack([first[group], asked], 1)
        return Flat(
            prompt_at=_ranges((prompt + 1) * width - lengths, lengths, asked_tokens),
            answer_at=_ranges(row * t, inputs, input_tokens),
            state_at=_ranges(*states, answer_tokens),
            token_at=_ranges(row * t, answers, answer_tokens),
            position=torch.cat(position),
            starts=starts,
            before=torch.cat([before.new_zeros(k, 2), before]),
            prompts=k,
            prompt_tokens=asked_tokens,
            longest=(max(asked_of), max([*asked_of, *inputs_of]), max([*asked_of, *keys])),
        )


def _starts(sizes: Tensor) -> Tensor:
    """Starts of consecutive stretches of these lengths, and the end of the last. [n] -> [n + 1]."""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _ranges(first: Tensor, count: Tensor, total: int) -> Tensor:
    """first[0], first[0] + 1, … (`count[0]` numbers), then the same from first[1], …: `total` in
    all."""
    place = torch.arange(total, device=count.device)
    shift = first - _starts(count)[:-1]
    return place + shift.repeat_interleave(count, output_size=total)


def _in_turn(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Starts and lengths of a[0], b[0], a[1], b[1], …"""
    first, count = (torch.stack(pair, 1).flatten() for pair in zip(a, b, strict=True))
    return first, count
