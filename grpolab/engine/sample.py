"""One rollout: tokens and the log-probs they were sampled with, streaming while it goes.

The loop is the same for every backbone; a backbone only brings the session that turns tokens into
logits. Noise is drawn for every row at every position, in order, so neither finished rows nor
their removal change what others draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grpolab.engine.backbone import Backbone, Looping, Prompts, Stepwise

COMPACT_EVERY = 8
"""Positions between removals of finished rows, and between streamed texts."""

Listener = Callable[[Tensor, Tensor, int], None]
"""Told (tokens [N, T], lengths [N], position) now and then while rows are sampled."""


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
    """Sample one answer for each entry of `group` [N]; rows marked in `greedy` [N] take the
    likeliest token.

    log-probs are those of softmax(logits / temperature).
    """
    if isinstance(backbone, Looping):
        return backbone.rollout(
            adapter, prompts, group, max_tokens=max_tokens, temperature=temperature, top_p=top_p,
            seed=generator.initial_seed(), greedy=greedy, listener=listener,
        )  # fmt: skip
    device, count = backbone.device, len(group)
    ends = torch.tensor(sorted(backbone.text.eos), device=device)
    tokens = torch.full((count, max_tokens), backbone.text.pad, device=device)
    logp = torch.zeros(count, max_tokens, device=device)
    lengths = torch.full((count,), max_tokens, device=device)
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    live = torch.arange(count, device=device)
    session, logits = cast(Stepwise, backbone).decode(adapter, prompts, group, max_tokens)
    for t in range(max_tokens):
        scores = torch.log_softmax(logits.float() / temperature, -1)
        noise = torch.empty(count, scores.shape[-1], device=device).exponential_(
            generator=generator
        )
        choice = scores if top_p >= 1 else _nucleus(scores, top_p)
        drawn = (choice - noise[live].log()).argmax(-1)  # Gumbel-max, as −log of an exponential
        if greedy is not None:
            drawn = torch.where(greedy[live], scores.argmax(-1), drawn)
        tokens[live, t] = drawn
        logp[live, t] = scores.gather(-1, drawn[:, None]).squeeze(-1)
        over = torch.isin(drawn, ends) & ~finished[live]
        lengths[live[over]] = t + 1
        finished[live[over]] = True
        last = t + 1 == max_tokens
        if (t + 1) % COMPACT_EVERY == 0 or last:
            if listener is not None:
                listener(tokens, lengths.clamp(max=t + 1), t + 1)
            keep = (~finished[live]).nonzero().squeeze(1)
            if len(keep) == 0:
                break
            if len(keep) < len(live) and not last:
                session.keep(keep)
                live, drawn = live[keep], drawn[keep]
        if not last:
            logits = session.step(drawn)
    width = int(lengths.max())
    mask = (torch.arange(width, device=device) < lengths[:, None]).float()
    tokens = torch.where(mask.bool(), tokens[:, :width], backbone.text.pad)
    return Rollout(
        prompts, group, tokens, mask, logp[:, :width] * mask, finished, session.cache_bytes
    )


def _nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Log-probs with everything outside the smallest set of mass ≥ top_p at −∞. [n, V] -> [n,
    V]."""
    ordered, index = scores.sort(-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()
    return torch.full_like(scores, -torch.inf).scatter(
        -1, index, ordered.masked_fill(before >= top_p, -torch.inf)
    )
