"""Keys and values of a rollout: answers' once for each distinct prefix, long prompts' once for all
their answers."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.folder import Shape

LONG, FEW = 64, 8
"""Prompts from LONG tokens on, and not more than FEW of them, are kept once: all queries meet the
keys of all prompts in one product, and those of other prompts are masked. Others are short enough
to be copied into each slot, which saves half of the operations."""


class Cache:
    """R slots of up to T answer tokens behind K prompts of up to P tokens, for each layer.

    Attention is bmm, softmax, bmm: with one query a slot it takes a third of the time of torch's
    fused kernel.
    """

    def __init__(self, shape: Shape, prompt_mask: Tensor, slots: int, tokens: int) -> None:
        """prompt_mask [K, P] bool."""
        self.shape = shape
        count, width = prompt_mask.shape
        self.shared = width >= LONG and count <= FEW
        self.start = 0 if self.shared else width  # columns before a slot's own tokens
        columns = self.start + tokens
        self._store = torch.empty(
            2, shape.layers, slots, shape.kv_heads, columns, shape.head_dim,
            device=prompt_mask.device,
        )  # fmt: skip
        # the same with heads of all slots in one batch, [layers, slots · kv_heads, columns, D]
        self._keys, self._values = self._store.flatten(2, 3).unbind(0)
        self._prompts: list[tuple[Tensor, Tensor]] = []
        seen = prompt_mask
        if self.shared:  # a prompt's own columns of all K · P
            own = torch.eye(count, dtype=torch.bool, device=seen.device)
            seen = (own[:, :, None] & prompt_mask).flatten(1)
        bias = torch.zeros_like(seen, dtype=torch.float32).masked_fill_(~seen, -torch.inf)
        if not self.shared:
            bias = torch.nn.functional.pad(bias, (0, tokens))
        self._bias_of_prompt = bias  # [K, columns of the product with prompts in it]
        self._bias = bias

    @property
    def bytes(self) -> int:
        return self._store.nbytes + sum(t.nbytes for pair in self._prompts for t in pair)

    def add_prompts(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Of one layer, [K, kv_heads, P, D] each; the slots 0…K−1 stand at their ends."""
        if self.shared:
            heads, d = self.shape.kv_heads, self.shape.head_dim
            k = keys.permute(1, 3, 0, 2).reshape(heads, d, -1)
            self._prompts.append((k, values.transpose(0, 1).reshape(heads, -1, d)))
        else:
            self._store[0, layer, : len(keys), :, : self.start] = keys
            self._store[1, layer, : len(keys), :, : self.start] = values

    def seat(self, prompts: Tensor) -> None:
        """The slots in use belong to these prompts [n]."""
        bias = self._bias_of_prompt.index_select(0, prompts)
        heads = self.shape.heads if self.shared else self.shape.kv_heads
        if self.shared:
            rep = heads // self.shape.kv_heads
            self._bias = bias.repeat_interleave(rep, 0)[None]  # [1, n · rep, K · P]
        else:
            self._bias = bias.repeat_interleave(heads, 0)[:, None]  # [n · kv_heads, 1, columns]

    def move(self, to: list[int], source: list[int], tokens: int) -> None:
        """Copy slots, with the tokens that they hold now; none is read after it was written to."""
        held = self._store[:, :, :, :, : self.start + tokens]
        for a, b in zip(to, source, strict=True):
            held[:, :, a].copy_(held[:, :, b])

    def open(self, n: int, at: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each layer, where the n slots put token number `at`, [2, n, kv_heads, D], and what
        they hold then: keys [n · kv_heads, D, columns] and values [n · kv_heads, columns, D]."""
        batch, end = n * self.shape.kv_heads, self.start + at + 1
        places = self._store[:, :, :n, :, end - 1].unbind(1)
        keys = self._keys[:, :batch, :end].transpose(2, 3).unbind(0)
        values = self._values[:, :batch, :end].unbind(0)
        return list(zip(places, keys, values, strict=True))

    def attend(
        self, layer: int, qkv: Tensor, place: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Store each slot's newest key and value and let its query look back; the last three as
        `open` gives them. qkv [n, heads + 2 kv_heads, D] -> [n, heads · D]."""
        _, n, kv, d = place.shape
        heads = qkv.shape[1] - 2 * kv
        rep, end = heads // kv, keys.shape[2]
        place.copy_(qkv[:, heads:].view(n, 2, kv, d).transpose(0, 1))
        q = qkv[:, :heads].reshape(n * kv, rep, d)
        if not self.shared:
            weight = torch.softmax(torch.baddbmm(self._bias[:, :, :end], q, keys), -1)
            return torch.bmm(weight, values).view(n, heads * d)
        prompt_keys, prompt_values = self._prompts[layer]
        columns = prompt_keys.shape[2]
        by_head = q.view(n, kv, rep, d).transpose(0, 1).reshape(kv, n * rep, d)
        prompt = torch.baddbmm(self._bias, by_head, prompt_keys).view(kv, n, rep, columns)
        own = torch.bmm(q, keys).view(n, kv, rep, end)
        weight = torch.softmax(torch.cat([prompt.transpose(0, 1), own], -1), -1)
        mine = torch.bmm(weight[..., columns:].view(n * kv, rep, end), values)
        on_prompt = weight[..., :columns].transpose(0, 1).reshape(kv, n * rep, columns)
        theirs = torch.bmm(on_prompt, prompt_values).view(kv, n, rep, d).transpose(0, 1)
        return (mine.view(n, kv, rep, d) + theirs).reshape(n, heads * d)
