"""The attention of `attention` by torch alone, over padded stretches: slower, of any dtype, and
differentiable any number of times, as Fisher products want it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.cpu.plan import Looks
from grpolab.engine.flat import gather, pick, place


@dataclass(frozen=True)
class Padded:
    """S stretches of up to Q tokens that look at up to L keys."""

    key_at: Tensor  # [S·L] flat token of each key
    query_at: Tensor  # [M] index into [S·Q] of each flat token
    seen: Tensor  # [S, 1, Q, L] bool
    queries: tuple[int, int]  # S, Q

    @staticmethod
    def of(looks: Looks) -> Padded:
        count, length = looks.count, looks.lengths
        most, longest = int(count.max(initial=1)), int(length.max(initial=1))
        column = np.arange(longest)
        real = column < length[:, None]
        key_at = np.zeros(real.shape, np.int64)
        key_at[real] = looks.keys
        row = np.arange(most)
        last = (length - count)[:, None] + row  # [S, Q] the last key that a token sees
        seen = column <= np.minimum(last, length[:, None] - 1)[:, :, None]
        query_at = (np.arange(len(count))[:, None] * most + row)[row < count[:, None]]
        return Padded(
            torch.from_numpy(key_at.reshape(-1)), torch.from_numpy(query_at),
            torch.from_numpy(seen)[:, None], (len(count), most),
        )  # fmt: skip

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [M, heads, D], k and v [M, kv, D], turned -> [M, heads · D]."""
        rows, most = self.queries
        groups = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}
        ks, vs = (
            gather(x, self.key_at).view(rows, -1, *x.shape[1:]).transpose(1, 2) for x in (k, v)
        )
        qs = place(q, self.query_at, rows * most).view(rows, most, *q.shape[1:]).transpose(1, 2)
        out = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=self.seen, **groups)
        return pick(out.transpose(1, 2).reshape(rows * most, -1), self.query_at)
