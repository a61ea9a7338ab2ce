"""Prompts and answers laid flat, and attention over them without padding: every prompt is a
sequence over itself, every answer one over its prompt and itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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
        device, (_, width), (n, t) = mask.device, prompts.ids.shape, mask.shape
        sizes = torch.cat([prompts.mask.sum(1), mask.sum(1).long(), group]).tolist()
        k = len(prompts.ids)
        lengths, answers, owner = sizes[:k], sizes[k : k + n], sizes[k + n :]
        arange = torch.arange
        prompt_at = [arange(i * width + width - p, (i + 1) * width) for i, p in enumerate(lengths)]
        starts = [0]
        for p in lengths:
            starts.append(starts[-1] + p)
        answer_at, position = [], [arange(p) for p in lengths]
        state_at, token_at = [], []
        keys = [arange(a, b) for a, b in pairwise(starts)]
        at, q_sizes, k_sizes = starts[-1], list(lengths), list(lengths)
        for row, (count, g) in enumerate(zip(answers, owner, strict=True)):
            inputs = max(count - 1, 0)
            own = arange(at, at + inputs)
            answer_at.append(arange(row * t, row * t + inputs))
            position.append(arange(lengths[g], lengths[g] + inputs))
            keys.append(torch.cat([keys[g], own]))
            if count:
                state_at.append(torch.cat([torch.tensor([starts[g + 1] - 1]), own]))
                token_at.append(arange(row * t, row * t + count))
            at += inputs
            q_sizes.append(inputs)
            k_sizes.append(lengths[g] + inputs)

        def there(parts: list[Tensor]) -> Tensor:
            whole = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)
            return whole.to(device, non_blocking=True)

        def cumulated(counts: list[int]) -> Tensor:
            whole = torch.tensor([0, *counts]).cumsum(0).to(torch.int32)
            return whole.to(device, non_blocking=True)

        return Flat(
            there(prompt_at), there(answer_at), there(state_at), there(token_at), there(position),
            there(keys), cumulated(q_sizes), cumulated(k_sizes), (max(q_sizes), max(k_sizes)),
            (n, t),
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
