"""Prompts and answers laid flat, and attention over them without padding: every prompt is a
sequence over itself, every answer one over its prompt and itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grpolab.engine.backbone import Prompts
from grpolab.engine.gpu.ops import flash, spread


@dataclass(frozen=True)
class Flat:
    """Where each flat token stands: all prompt tokens, then each row's answer but its last token.

    K prompts of up to P tokens, n rows of up to T answer tokens, M flat tokens, L keys.
    """

    prompt_at: Tensor  # [Mp] index into [K·P]
    answer_at: Tensor  # [Ma] index into [n·T]
    state_at: Tensor  # [Σ lengths] flat token that predicts each answer token, rows in order
    token_at: Tensor  # [Σ lengths] that answer token, an index into [n·T]
    position: Tensor  # [M] rotary position
    key_at: Tensor  # [L] flat token of each key
    starts_q: Tensor  # [K + n + 1] int32
    starts_k: Tensor
    longest: tuple[int, int]  # queries, keys of one sequence
    shape: tuple[int, int]  # n, T

    @staticmethod
    def of(prompts: Prompts, group: Tensor, mask: Tensor) -> Flat:
        """One device synchronisation: the lengths go to the host, the rest is made there."""
        device, (k, width), (n, t) = mask.device, prompts.ids.shape, mask.shape
        sizes = torch.cat([prompts.mask.sum(1), mask.sum(1).long(), group]).cpu()
        lengths, answers, owner = sizes[:k], sizes[k : k + n], sizes[k + n :]
        inputs = (answers - 1).clamp(min=0)
        starts = _starts(torch.cat([lengths, inputs]))  # of each sequence among the flat tokens
        first, own = starts[:k], starts[k:-1]
        prompt, row = torch.arange(k), torch.arange(n)
        asked = lengths[owner]  # the prompt's length of each answer
        key_at = [
            _ranges(first, lengths),
            _ranges(*_in_turn((first[owner], asked), (own, inputs))),
        ]
        state_at = _ranges(
            *_in_turn((first[owner] + asked - 1, answers.clamp(max=1)), (own, inputs))
        )
        position = [
            _ranges(torch.zeros_like(lengths), lengths), _ranges(asked, inputs)
        ]  # fmt: skip

        def there(*parts: Tensor) -> Tensor:
            return torch.cat(parts).to(device, non_blocking=True)

        q_sizes = torch.cat([lengths, inputs])
        k_sizes = torch.cat([lengths, asked + inputs])
        return Flat(
            there(_ranges((prompt + 1) * width - lengths, lengths)),
            there(_ranges(row * t, inputs)), there(state_at), there(_ranges(row * t, answers)),
            there(*position), there(*key_at), there(starts.to(torch.int32)),
            there(_starts(k_sizes).to(torch.int32)),
            (int(q_sizes.max()), int(k_sizes.max())), (n, t),
        )  # fmt: skip

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, plain: bool = False) -> Tensor:
        """q [M, heads, D], k and v [M, kv_heads, D] -> [M, heads · D]."""
        if q.is_cuda and q.dtype != torch.float32 and not plain:
            keys, values = spread(k, self.key_at), spread(v, self.key_at)
            return flash(q, keys, values, self.starts_q, self.starts_k, self.longest).flatten(1)
        return self._attend_plain(q, k, v)

    def _attend_plain(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same in operations for any device, any number of times differentiable."""
        (most_q, most_k), count = self.longest, len(self.starts_q) - 1
        heads, kv_heads, d = q.shape[1], k.shape[1], q.shape[2]
        sizes_q, sizes_k = self.starts_q.long().diff(), self.starts_k.long().diff()
        column_q = torch.arange(most_q, device=q.device)
        column_k = torch.arange(most_k, device=q.device)
        real_q = (column_q < sizes_q[:, None]).reshape(-1).nonzero().squeeze(1)
        real_k = (column_k < sizes_k[:, None]).reshape(-1).nonzero().squeeze(1)

        def rows(x: Tensor, at: Tensor, most: int) -> Tensor:
            whole = x.new_zeros(count * most, *x.shape[1:]).index_copy(0, at, x)
            return whole.view(count, most, *x.shape[1:]).transpose(1, 2)

        qs = rows(q, real_q, most_q).view(count, kv_heads, heads // kv_heads, most_q, d)
        ks = rows(k[self.key_at], real_k, most_k).unsqueeze(2)
        vs = rows(v[self.key_at], real_k, most_k).unsqueeze(2)
        last = (sizes_k - sizes_q)[:, None, None] + column_q[:, None]  # newest key that it sees
        seen = column_k <= last.clamp(min=0)
        scores = (qs @ ks.transpose(-1, -2)).float() * d**-0.5
        scores = scores.masked_fill(~seen[:, None, None], float("-inf"))
        out = torch.softmax(scores, -1).to(vs.dtype) @ vs
        out = out.reshape(count, heads, most_q, d).transpose(1, 2).reshape(count * most_q, -1)
        return out[real_q]


def _starts(sizes: Tensor) -> Tensor:
    """Where each of some stretches begins when they lie end to end, and where the last ends.
    [n] -> [n + 1]."""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _ranges(first: Tensor, count: Tensor) -> Tensor:
    """first[0], first[0] + 1, … `count[0]` of them, then those of the next. [Σ count]."""
    place = torch.arange(int(count.sum()))
    return place + (first - _starts(count)[:-1]).repeat_interleave(count)


def _in_turn(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """First and count of a[0], b[0], a[1], b[1], …"""
    first, count = (torch.stack(pair, 1).flatten() for pair in zip(a, b, strict=True))
    return first, count
