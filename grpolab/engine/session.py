"""Sampling with the own decoder: each distinct prefix of the rollout is computed once.

In inference mode, which saves a tenth: a step is some hundred small operations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone import Prompts
from grpolab.engine.cache import Cache
from grpolab.engine.fused import FusedWeights
from grpolab.engine.tree import Nodes


class NativeSession:
    """Implements `backbone.Session`. R rows that decode together, n distinct prefixes of them."""

    def __init__(
        self, weights: FusedWeights, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> None:
        self.weights, self.device = weights, group.device
        self.tokens = 0  # of each answer so far
        self._nodes = Nodes(group.tolist())
        self._lengths = prompts.mask.sum(1)
        self._cache = Cache(weights.shape, prompts.mask, len(group), max_tokens)

    @staticmethod
    @torch.inference_mode()
    def open(
        weights: FusedWeights, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> tuple[NativeSession, Tensor]:
        """A session that has read the prompts, and its first logits [R, V]."""
        used = torch.tensor(list(dict.fromkeys(group.tolist())), device=group.device)
        place = torch.empty(len(prompts.ids), dtype=torch.long, device=group.device)
        place[used] = torch.arange(len(used), device=group.device)
        prompts, group = prompts.take(used), place[group]  # slot k is prompt k's
        session = NativeSession(weights, prompts, group, max_tokens)
        logits = session._read(prompts)
        session._seat()
        return session, session._by_row(logits)

    def _read(self, prompts: Prompts) -> Tensor:
        """Put the prompts into the cache; logits of their ends [K, V]."""
        w, s = self.weights, self.weights.shape
        count, width = prompts.ids.shape
        turns = w.turns_at((prompts.mask.cumsum(1) - 1).clamp(min=0).flatten())
        causal = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        eye = torch.eye(width, dtype=torch.bool, device=self.device)
        seen = (causal & prompts.mask[:, None, :] | eye)[:, None]  # padding sees itself
        x = w.enter(prompts.ids.flatten())
        for i, layer in enumerate(w.layers):
            qkv = w.attention_inputs(layer, x, turns).unflatten(0, (count, width)).transpose(1, 2)
            q, k, v = qkv.split((s.heads, s.kv_heads, s.kv_heads), 1)
            self._cache.add_prompts(i, k, v)
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=seen, enable_gqa=s.heads != s.kv_heads, scale=1.0
            )
            w.rest(layer, x, out.transpose(1, 2).reshape(count * width, -1))
        return w.logits(x.unflatten(0, (count, width))[:, -1])

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed each row's newest token [R]; logits of the next [R, V]."""
        w = self.weights
        fed, sources = self._nodes.grow(tokens.tolist())
        if sources:
            first = len(fed) - len(sources)
            self._cache.move(list(range(first, len(fed))), sources, self.tokens)
            self._seat()
        turns = w.turns_at(self._starts + self.tokens)
        x = w.enter(torch.tensor(fed, device=self.device))
        held = self._cache.open(len(fed), self.tokens)
        for i, layer in enumerate(w.layers):
            qkv = w.attention_inputs(layer, x, turns)
            w.rest(layer, x, self._cache.attend(i, qkv, *held[i]))
        self.tokens += 1
        return self._by_row(w.logits(x))

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        to, source = self._nodes.keep(rows.tolist())
        if to:
            self._cache.move(to, source, self.tokens)
        self._seat()

    def _seat(self) -> None:
        """Note whose prompt each slot belongs to now."""
        prompts = torch.tensor(self._nodes.prompt, device=self.device)
        self._starts = self._lengths[prompts]
        self._cache.seat(prompts)

    def _by_row(self, logits: Tensor) -> Tensor:
        """[n, V] -> [R, V]."""
        rows = torch.tensor(self._nodes.of_row, device=self.device)
        return logits.index_select(0, rows)

    @property
    def cache_bytes(self) -> int:
        """Largest size that the cache had."""
        return self._cache.bytes
