"""One rollout: tokens and the log-probs they were sampled with, streamed while it runs.

The loop is the same for every backbone that decodes step by step (`Stepwise`); it provides a
session that turns tokens into logits. The random numbers of every row and position are drawn
beforehand, so neither finished rows nor their removal change what others draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grpolab.engine.backbone.base import Backbone, Looping, Prompts, Stepwise

COMPACT_EVERY = 4
"""Positions between removals of finished rows; only then the host reads what was drawn."""

STREAM_EVERY = 8
"""Positions between streamed texts; a multiple of the above."""

Listener = Callable[[Tensor, Tensor, int], None]
"""Called with (tokens [N, T], lengths [N], position) every `STREAM_EVERY` positions."""

BELOW_ONE = 1 - 2**-23
"""Largest uniform number: multiplied by the sum of the probabilities it stays below that sum."""


@dataclass(frozen=True)
class Rollout:
    """Sampled answers. N rows, T longest of them, right-padded."""

    prompts: Prompts  # K distinct prompts
    group: Tensor  # [N] which prompt each row answers
    tokens: Tensor  # [N, T] long
    mask: Tensor  # [N, T] 1.0 on answer tokens, the end token included
    logp: Tensor  # [N, T] under the sampling distribution at its temperature, before top-p
    finished: Tensor  # [N] bool: ended by itself
    cache_bytes: int

    @property
    def lengths(self) -> Tensor:
        return self.mask.sum(1).long()


@torch.no_grad()
def sample(
    backbone: Backbone, adapter: str | None, prompts: Prompts, group: Tensor, *, max_tokens: int,
    temperature: float, top_p: float, generator: torch.Generator, greedy: Tensor | None = None,
    listener: Listener | None = None,
) -> Rollout:  # fmt: skip
    """Sample one answer for each entry of `group` [N]; rows marked in `greedy` [N] take the argmax.

    Log-probs are those of softmax(logits / temperature).
    """
    if isinstance(backbone, Looping):
        return backbone.rollout(
            adapter, prompts, group, max_tokens=max_tokens, temperature=temperature, top_p=top_p,
            generator=generator, greedy=greedy, listener=listener,
        )  # fmt: skip
    device, count = backbone.device, len(group)
    ends = torch.tensor(sorted(backbone.text.eos), device=device)
    tokens = torch.full((max_tokens, count), backbone.text.pad, device=device)
    chosen = torch.ones(max_tokens, count, device=device)  # probabilities
    lengths = torch.full((count,), max_tokens, device=device)
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    live = torch.arange(count, device=device)
    noise = uniforms(max_tokens, count, generator, device)
    session, logits = cast(Stepwise, backbone).decode(adapter, prompts, group, max_tokens)
    new: list[tuple[Tensor, Tensor]] = []  # drawn since the last look
    for t in range(1, max_tokens + 1):
        new.append(draw(logits, noise[t - 1], temperature, top_p, greedy))
        last = t == max_tokens
        if t % COMPACT_EVERY == 0 or last:
            start = t - len(new)
            drawn = torch.stack([d for d, _ in new])  # [t − start, live rows]
            tokens[start:t, live] = drawn
            chosen[start:t, live] = torch.stack([p for _, p in new])
            new = []
            ending = torch.isin(drawn, ends)
            over = ending.any(0) & ~finished[live]
            lengths[live[over]] = start + 1 + ending.int().argmax(0)[over]
            finished[live[over]] = True
            keep = (~finished[live]).nonzero().squeeze(1)
            last |= len(keep) == 0
            if listener is not None and (t % STREAM_EVERY == 0 or last):
                listener(tokens.t(), lengths.clamp(max=t), t)
            if last:
                break
            if len(keep) < len(live):
                session.keep(keep)
                live, noise, tail = live[keep], noise[:, keep], drawn[-1, keep]
                greedy = None if greedy is None else greedy[keep]
            else:
                tail = drawn[-1]
        else:
            tail = new[-1][0]
        logits = session.step(tail)
    width = int(lengths.max())
    mask = (torch.arange(width, device=device) < lengths[:, None]).float()
    return Rollout(
        prompts=prompts, group=group,
        tokens=torch.where(mask.bool(), tokens[:width].t(), backbone.text.pad),
        mask=mask,
        logp=chosen[:width].t().log() * mask,
        finished=finished, cache_bytes=session.cache_bytes,
    )  # fmt: skip


def join(prompts: Prompts, group: Tensor, parts: Sequence[Rollout], pad: int) -> Rollout:
    """Chunks of one rollout joined again, in order."""
    width = max(p.tokens.shape[1] for p in parts)

    def wide(x: Tensor, fill: float) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=fill)

    return Rollout(
        prompts=prompts,
        group=group,
        tokens=torch.cat([wide(p.tokens, pad) for p in parts]),
        mask=torch.cat([wide(p.mask, 0) for p in parts]),
        logp=torch.cat([wide(p.logp, 0) for p in parts]),
        finished=torch.cat([p.finished for p in parts]),
        cache_bytes=sum(p.cache_bytes for p in parts),
    )


def uniforms(tokens: int, rows: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """The random numbers of a whole rollout, in [0, 1). [tokens, rows]."""
    drawn = torch.rand(tokens, rows, generator=generator, device=device)
    return drawn.clamp_(max=BELOW_ONE)


@torch.inference_mode()
def draw(
    logits: Tensor, uniform: Tensor, temperature: float, top_p: float, greedy: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Tokens [R] by inversion of the cumulative distribution, and their probabilities [R] under
    softmax(logits / temperature), before top-p.

    logits [R, V]; uniform [R] in [0, 1); rows marked in `greedy` [R] take the argmax.
    """
    scores = logits if logits.dtype == torch.float32 else logits.float()
    probability = torch.softmax(scores if temperature == 1 else scores / temperature, -1)
    kept = probability if top_p >= 1 else nucleus(probability, top_p)
    reached = kept.cumsum(-1)
    drawn = torch.searchsorted(reached, uniform[:, None] * reached[:, -1:], right=True)
    if greedy is not None:
        drawn = torch.where(greedy[:, None], scores.argmax(-1, keepdim=True), drawn)
    return drawn.squeeze(1), probability.gather(1, drawn).squeeze(1)


def nucleus(probability: Tensor, top_p: float) -> Tensor:
    """Probabilities with everything outside the smallest set of mass ≥ top_p at 0. [n, V] -> [n,
    V]."""
    ordered, index = probability.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probability).scatter(
        -1, index, ordered.masked_fill(before >= top_p, 0.0)
    )
