"""Log-probs, entropies and values of answers that exist already. The one file that knows how
tokens and logits align."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.backbone.base import Backbone
from grpolab.engine.backbone.head import token_logp
from grpolab.engine.backbone.sample import Rollout

SMALL = 1024
"""Vocabularies up to this size are scored in one piece."""


def part(rollout: Rollout, rows: Tensor) -> tuple[Rollout, int]:
    """Some rows, cut to their own longest answer, and with only the prompts that they answer."""
    width = int(rollout.mask[rows].sum(1).max())
    used, group = rollout.group[rows].unique(return_inverse=True)
    return Rollout(
        rollout.prompts.take(used), group, rollout.tokens[rows, :width], rollout.mask[rows, :width],
        rollout.logp[rows, :width], rollout.finished[rows], 0,
    ), width  # fmt: skip


def contexts(backbone: Backbone, adapter: str | None, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """States of the rollout's distinct contexts [U, H], and which of them each token has [n,
    T]."""
    return backbone.contexts(adapter, rollout.prompts, rollout.group, rollout.tokens, rollout.mask)


def distinct(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probs of the whole vocabulary in each distinct context [U, V], and which of them each
    token was drawn from [n, T]."""
    states, at = contexts(backbone, adapter, rollout)
    return torch.log_softmax(backbone.head(states).float() / temperature, -1), at


def distributions(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float
) -> Tensor:
    """Log-probs of the whole vocabulary where each answer token was drawn. [n, T, V]."""
    everything, at = distinct(backbone, adapter, rollout, temperature)
    return everything[at]


def compared(
    backbone: Backbone, states: Tensor, before: Tensor, at: Tensor, tokens: Tensor,
    temperature: float, room: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Log-prob, entropy and exact KL(before‖now) where each token was drawn, without gradient.

    states, before [U, H] of the same contexts; at [n, T] the context of each of `tokens`; no more
    than `room` bytes of distributions at a time. -> three of [n, T], meaningless on padding.
    """
    count = len(states)
    size = max(1, min(count, room // (4 * backbone.vocabulary)))
    entropy, kl = (states.new_zeros(count, dtype=torch.float32) for _ in range(2))
    logp = torch.zeros(at.shape, device=at.device)
    for first in range(0, count, size):
        here = slice(first, first + size)
        now, old = (
            torch.log_softmax(backbone.head(x[here]).float() / temperature, -1)
            for x in (states, before)
        )
        entropy[here] = -(now.exp() * now).sum(-1)
        kl[here] = (old.exp() * (old - now)).sum(-1)
        if size == count:
            logp = now[at, tokens]
        else:
            inside = (at >= first) & (at < first + size)
            logp[inside] = now[at[inside] - first, tokens[inside]]
        del now, old  # before the next ones
    return logp, entropy[at], kl[at]


def score(
    backbone: Backbone,
    adapter: str | None,
    rollout: Rollout,
    temperature: float,
    *,
    entropy_grad: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-prob and entropy of each token of whole rows, 0 on padding; gradients reach the adapter
    if they are on, through the entropy only if asked for. [n, T] each."""
    weight = backbone.head_weight
    if weight is not None and len(weight) > SMALL:
        return _tiled(backbone, adapter, rollout, temperature, weight, entropy_grad)
    everything, at = distinct(backbone, adapter, rollout, temperature)
    logp = everything[at, rollout.tokens] * rollout.mask
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy = -(everything.exp() * everything).sum(-1)[at] * rollout.mask
    return logp, entropy


def _tiled(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float, weight: Tensor,
    entropy_grad: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`score` where the vocabulary is too large for [U, V]."""
    real = rollout.mask.flatten().nonzero().squeeze(1)  # first: it waits for what is under way
    states, at = contexts(backbone, adapter, rollout)
    flat = token_logp(
        states[at.flatten()[real]], weight, rollout.tokens.flatten()[real], temperature,
        entropy_grad=entropy_grad,
    )  # fmt: skip
    logp, entropy = (
        torch.zeros_like(rollout.mask).flatten().index_copy(0, real, x).view(rollout.mask.shape)
        for x in flat
    )
    return logp, entropy
