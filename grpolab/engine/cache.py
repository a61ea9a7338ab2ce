"""Keys and values of a rollout: of prompts once for all their answers, of answers once for each
distinct prefix."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.folder import Shape

SHARED = 8
"""Up to so many prompts, all queries meet the keys of all prompts in one product, and those of
other prompts are masked; with more, each slot holds a copy of its own prompt's."""


class Cache:
    """R slots of up to T answer tokens behind K prompts of up to P tokens, for each layer.

    Attention is bmm, softmax, bmm: with one query a slot it takes a third of the time of torch's
    fused kernel.
    """

    def __init__(self, shape: Shape, prompt_mask: Tensor, slots: int, tokens: int) -> None:
        """prompt_mask [K, P] bool."""
        self.shape = shape
        count, width = prompt_mask.shape
        self.shared = count <= SHARED
        self.start = 0 if self.shared else width  # columns before a slot's own tokens
        self._store = torch.empty(
            2 * shape.layers, slots, shape.kv_heads, self.start + tokens, shape.head_dim,
            device=prompt_mask.device,
        )  # fmt: skip
        self._prompts: list[tuple[Tensor, Tensor]] = []
        seen = prompt_mask
        if self.shared:  # [K, K · P]: a prompt's own columns
            own = torch.eye(count, dtype=torch.bool, device=seen.device)
            seen = (own[:, :, None] & prompt_mask).flatten(1)
        everything = bool(seen.all())
        hidden = torch.zeros_like(seen, dtype=torch.float32).masked_fill_(~seen, -torch.inf)
        self._bias_of_prompt = None if everything else hidden[:, None, None]  # [K, 1, 1, columns]
        self._bias: Tensor | None = None

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
            self._store[2 * layer, : len(keys), :, : self.start] = keys
            self._store[2 * layer + 1, : len(keys), :, : self.start] = values

    def seat(self, prompts: Tensor) -> None:
        """The slots in use belong to these prompts [n]."""
        if self._bias_of_prompt is not None:
            self._bias = self._bias_of_prompt[prompts]

    def move(self, to: list[int], source: list[int], tokens: int) -> None:
        """Copy slots, with the tokens that they hold now."""
        device = self._store.device
        held = self._store[:, :, :, : self.start + tokens]
        rows = held.index_select(1, torch.tensor(source, device=device))
        held.index_copy_(1, torch.tensor(to, device=device), rows)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, at: int) -> Tensor:
        """Store token number `at` of each slot and let its query look back. q [n, heads, D], k and
        v [n, kv_heads, D] -> [n, heads · D]."""
        n, heads, d = q.shape
        kv, rep, end = k.shape[1], heads // k.shape[1], self.start + at + 1
        keys, values = self._store[2 * layer], self._store[2 * layer + 1]
        keys[:n, :, end - 1] = k
        values[:n, :, end - 1] = v
        keys, values = (t.flatten(0, 1)[: n * kv, :end] for t in (keys, values))
        own = torch.bmm(q.reshape(n * kv, rep, d), keys.transpose(1, 2)).view(n, kv, rep, end)
        if not self.shared:
            if self._bias is not None:
                own[..., : self.start] += self._bias
            weight = torch.softmax(own, -1).view(n * kv, rep, end)
            return torch.bmm(weight, values).view(n, heads * d)
        prompt_keys, prompt_values = self._prompts[layer]
        columns = prompt_keys.shape[2]
        by_head = q.view(n, kv, rep, d).transpose(0, 1).reshape(kv, n * rep, d)
        prompt = torch.bmm(by_head, prompt_keys).view(kv, n, rep, columns).transpose(0, 1)
        if self._bias is not None:
            prompt = prompt + self._bias
        weight = torch.softmax(torch.cat([prompt, own], -1), -1)
        mine = torch.bmm(weight[..., columns:].view(n * kv, rep, end), values)
        on_prompt = weight[..., :columns].transpose(0, 1).reshape(kv, n * rep, columns)
        theirs = torch.bmm(on_prompt, prompt_values).view(kv, n, rep, d).transpose(0, 1)
        return (mine.view(n, kv, rep, d) + theirs).reshape(n, heads * d)
