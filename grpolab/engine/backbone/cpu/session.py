"""Sampling on a CPU, in fp32, in compiled loops. They release the interpreter's lock, so several
threads sample chunks of rows at the same time.

Each distinct prefix of the rows is computed once (see `tree`); each prompt is read once and cached
without padding.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.cpu.linear import Linear
from grpolab.engine.backbone.cpu.loop import F32, Array, Loop
from grpolab.engine.backbone.cpu.target import LANES
from grpolab.engine.backbone.cpu.tree import Tree
from grpolab.engine.backbone.cpu.weights import SamplingLayer, SamplingWeights
from grpolab.engine.backbone.model_folder import Shape
from grpolab.engine.backbone.sample import Listener, Rollout, nucleus, uniforms
from grpolab.estimate.formulas import READ

_distribution, _draw = Loop("decoding.distribution"), Loop("decoding.draw")

STREAM_EVERY = 8
"""Tokens between streamed texts."""


@torch.no_grad()
def rollout(
    weights: SamplingWeights, prompts: Prompts, group: Tensor, *, max_tokens: int,
    temperature: float, top_p: float, generator: torch.Generator, greedy: Tensor | None,
    listener: Listener | None, ends: Collection[int], pad: int,
) -> Rollout:  # fmt: skip
    """One answer to each entry of `group` [N]; the arguments are those of `sample.sample`. All
    random numbers are drawn beforehand: rows that end do not change what others draw."""
    count = len(group)
    noise = uniforms(max_tokens, count, generator, group.device).numpy()
    best = np.zeros(count, bool) if greedy is None else greedy.numpy()
    closing = np.isin(np.arange(len(weights.embed)), sorted(ends))
    tokens = np.full((count, max_tokens), pad, np.int64)
    chosen = np.ones((count, max_tokens), F32)  # probabilities
    lengths = np.full(count, max_tokens, np.int64)
    finished = np.zeros(count, bool)
    session = Session(weights, prompts, group, max_tokens)
    tree = session.tree
    for t in range(max_tokens):
        logits = session.logits
        probability = np.empty_like(logits)
        _distribution(logits, F32(1 / temperature), probability)
        kept = probability
        if top_p < 1:
            kept = nucleus(torch.from_numpy(probability), top_p).numpy()
        row = tree.row
        drawn, share = np.empty(len(row), np.int64), np.empty(len(row), F32)
        _draw(kept, probability, tree.node, noise[t, row], best[row], drawn, share)
        tokens[row, t], chosen[row, t] = drawn, share
        over = closing[drawn]
        lengths[row[over]], finished[row[over]] = t + 1, True
        last = t + 1 == max_tokens or bool(over.all())
        if listener is not None and (last or (t + 1) % STREAM_EVERY == 0):
            told = np.minimum(lengths, t + 1)
            listener(torch.from_numpy(tokens), torch.from_numpy(told), t + 1)
        if last:
            break
        if over.any():
            tree.keep(~over)
            drawn = drawn[~over]
        session.step(drawn)
    width = int(lengths.max())
    mask = (torch.arange(width) < torch.from_numpy(lengths)[:, None]).float()
    return Rollout(
        prompts=prompts, group=group, tokens=torch.from_numpy(tokens)[:, :width].contiguous(),
        mask=mask, logp=torch.from_numpy(chosen)[:, :width].log() * mask,
        finished=torch.from_numpy(finished), cache_bytes=session.cache_bytes,
    )  # fmt: skip


class Session:
    """Key/value cache and newest logits of N rows. K prompts of up to P tokens, T answer tokens."""

    def __init__(
        self, weights: SamplingWeights, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> None:
        self.weights = weights
        used = group.unique()  # prompt k of this session is prompts' used[k]
        self.tree = Tree(torch.searchsorted(used, group).numpy())
        mask = prompts.mask[used].numpy()
        self._lengths = mask.sum(1)
        s, layers = weights.shape, len(weights.layers)

        def store(places: int, tokens: int) -> tuple[Array, Array]:
            # torch's memory, so that the memory account sees it
            made = torch.empty(2, layers, places, s.kv_heads, tokens, s.head_dim)
            self.cache_bytes += made.nbytes
            return made[0].numpy(), made[1].numpy()

        self.cache_bytes = 0
        self._prompts = store(len(used), int(self._lengths.max()))
        self._answers = store(len(group), max_tokens)
        self._tokens = 0  # of each answer so far
        seen = int(self._lengths.max()) + max_tokens
        self._room = np.empty((3, max(s.head_dim, seen) + LANES), F32)
        self._work = weights.room(min(READ, int(mask.sum())))
        self.logits: Array = self._read(prompts.ids[used].numpy(), mask)  # [n, V]
        self._work = weights.room(len(group))

    def _read(self, ids: Array, mask: Array) -> Array:
        """Put the prompts into the cache; logits of their ends [K, V]."""
        prompt, column = (x.copy() for x in mask.nonzero())
        tokens, before = ids[prompt, column], mask.cumsum(1)[prompt, column]
        ends = self._lengths.cumsum() - 1
        normed = np.empty((len(mask), self.weights.shape.hidden), F32)
        for start in range(0, len(tokens), READ):  # a token finds those before it in the cache
            here = slice(start, start + READ)
            states = self._run(tokens[here], prompt[here], before[here], prompt[here], -1)
            inside = (ends >= start) & (ends < start + READ)
            normed[inside] = states[ends[inside] - start]
        return self.weights.logits(normed)

    def step(self, tokens: Array) -> None:
        """Append each live row's newest token [live] and compute the next logits."""
        tree, at = self.tree, self._tokens
        fed = tree.grow(tokens, *self._answers, at)
        normed = self._run(fed, tree.prompt, self._lengths[tree.prompt], tree.slot, at)
        self.logits = self.weights.logits(normed)
        self._tokens += 1

    def _run(self, tokens: Array, prompt: Array, before: Array, slot: Array, at: int) -> Array:
        seen = prompt, before, slot, at, *self._prompts, *self._answers, self._room
        return self.weights.run(tokens, seen, self._work)


@cache
def warm() -> None:
    """Compile all loops of sampling (about ten seconds), or load them from the cache (some tens of
    milliseconds)."""
    shape = Shape(
        hidden=4, layers=1, heads=1, kv_heads=1, head_dim=4, eps=1e-6, theta=1e4, longest=8
    )
    angle = torch.zeros(8, 2)
    weights = SamplingWeights(
        layers=[
            SamplingLayer(
                Linear(torch.ones(12, 4), None), Linear(torch.ones(4, 4), None),
                Linear(torch.ones(16, 4), None), Linear(torch.ones(4, 8), None),
            )
        ],
        norms=np.empty((1, 0, 4), F32), embed=np.ones((5, 4), F32),
        head=Linear(torch.ones(5, 4), None), cos=angle.cos().numpy(), sin=angle.sin().numpy(),
        scale=F32(1), eps=F32(1e-6), shape=shape,
    )  # fmt: skip
    prompt = Prompts.pad([[1, 2]], 0, torch.device("cpu"))
    rollout(
        weights, prompt, torch.zeros(8, dtype=torch.long), max_tokens=3, temperature=1.0,
        top_p=1.0, generator=torch.Generator(), greedy=None, listener=None, ends=(), pad=0,
    )  # fmt: skip
