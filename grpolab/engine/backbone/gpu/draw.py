"""The next token of every live row from logits, on the device: softmax, random number, log-prob,
end token.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from grpolab.engine.backbone.gpu import ops

BLOCK = 4096
"""Entries of the vocabulary that one program of the first kernel reads."""


class Draw:
    """Buffers by row; the last row is a dummy for unused slots. T longest answer."""

    def __init__(
        self, rows: int, max_tokens: int, vocabulary: int, eos: Iterable[int], temperature: float,
        top_p: float, time: Tensor, device: torch.device,
    ) -> None:  # fmt: skip
        def zeros(*size: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        self.max_tokens, self.vocabulary = max_tokens, vocabulary
        self.temperature, self.top_p, self.time = temperature, top_p, time
        self.tokens = zeros(rows + 1, max_tokens, dtype=torch.long)
        self.logp = zeros(rows + 1, max_tokens, dtype=torch.float32)
        self.last = zeros(rows + 1, dtype=torch.long)
        self.lengths = zeros(rows + 1, dtype=torch.int32)  # T + 1 until a row has ended
        self.greedy = zeros(rows + 1, dtype=torch.int32)
        self.seed = zeros(1, dtype=torch.int64)
        ends = sorted(eos)
        self.ends = torch.full((ops.block(max(len(ends), 1)),), -1, device=device)
        self.ends[: len(ends)] = torch.tensor(ends, dtype=torch.long, device=device)
        self.blocks = -(-vocabulary // BLOCK)
        self._part = zeros(rows, self.blocks, 4, dtype=torch.float32)
        self._index = zeros(rows, self.blocks, dtype=torch.int32)

    def tensors(self) -> list[Tensor]:
        """All buffers."""
        return [t for t in vars(self).values() if isinstance(t, Tensor)]

    def begin(self, seed: int, greedy: Tensor | None) -> None:
        """Start a new rollout."""
        self.lengths.fill_(self.max_tokens + 1)
        self.tokens.zero_()
        self.logp.zero_()
        # keys of rows and positions are counted up from here: seeds that are neighbors must not be
        self.seed.fill_((seed * 0x9E3779B97F4A7C15) & (2**62 - 1))
        self.greedy.zero_()
        if greedy is not None:
            self.greedy[: len(greedy)] = greedy.int()
        self._noise = None
        if not ops.fused(self.logp):
            self._noise = torch.Generator(self.logp.device).manual_seed(seed & (2**62 - 1))

    def __call__(self, logits: Tensor, rows: Tensor) -> None:
        """Draw tokens for the rows [R] from fp32 logits [R, V] at the current position."""
        floor = self._floor(logits) if self.top_p < 1 else None
        if not ops.fused(logits):
            self._plain(logits, rows, floor)
            return
        k, count = ops.kernels(), len(rows)
        k.draw_part[(count, self.blocks)](
            logits, rows, self.time, self.seed, self.greedy, logits if floor is None else floor,
            self._part, self._index, self.vocabulary, logits.stride(0), 1 / self.temperature,
            self.max_tokens, BLOCK=BLOCK, FLOOR=floor is not None, num_warps=8,
        )  # fmt: skip
        k.draw_whole[(count,)](
            self._part, self._index, rows, self.time, self.ends, self.tokens, self.logp, self.last,
            self.lengths, self.blocks, self.max_tokens, BLOCK=ops.block(self.blocks),
            ENDS=len(self.ends), num_warps=1,
        )  # fmt: skip

    def _floor(self, logits: Tensor) -> Tensor:
        """The smallest logit / temperature inside each row's top-p nucleus. [R]."""
        z = (logits / self.temperature).sort(-1, descending=True).values
        p = torch.softmax(z, -1)
        inside = p.cumsum(-1) - p < self.top_p
        return z.gather(1, inside.sum(-1, keepdim=True) - 1).squeeze(1)

    def _plain(self, logits: Tensor, rows: Tensor, floor: Tensor | None) -> None:
        """`draw` in torch operations; random numbers are drawn for every row, live or not."""
        row, time = rows.long(), int(self.time)
        z = logits / self.temperature
        scores = torch.log_softmax(z, -1)
        noise = torch.empty(len(self.last), z.shape[1], device=z.device)
        noise = noise.exponential_(generator=self._noise)[row].log()
        noise = noise.masked_fill(self.greedy[row].bool()[:, None], 0.0)
        choice = scores if floor is None else scores.masked_fill(z < floor[:, None], -torch.inf)
        token = (choice - noise).argmax(-1)
        self.tokens[row, time] = token
        self.logp[row, time] = scores.gather(1, token[:, None]).squeeze(1)
        self.last[row] = token
        ended = torch.isin(token, self.ends) & (self.lengths[row] == self.max_tokens + 1)
        self.lengths[row] = torch.where(ended, time + 1, self.lengths[row])
