"""Log-probs and entropies of answers that were already sampled. The one file that knows how tokens
and logits align."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.backbone.base import Backbone
from grpolab.engine.backbone.head import token_logp
from grpolab.engine.backbone.sample import Rollout

SMALL = 1024
"""Vocabularies up to this size are scored without tiling."""


def part(rollout: Rollout, rows: Tensor) -> tuple[Rollout, int]:
    """Some rows of a rollout, with their prompts only, cut to their longest answer; and its length
    T."""
    width = int(rollout.mask[rows].sum(1).max())
    used, group = rollout.group[rows].unique(return_inverse=True)
    some = Rollout(
        prompts=rollout.prompts.take(used),
        group=group,
        tokens=rollout.tokens[rows, :width],
        mask=rollout.mask[rows, :width],
        logp=rollout.logp[rows, :width],
        finished=rollout.finished[rows],
        cache_bytes=0,
    )
    return some, width


def contexts(backbone: Backbone, adapter: str | None, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Hidden states of the rollout's U distinct contexts [U, H], and the index of each token's
    context [n, T]."""
    return backbone.contexts(adapter, rollout.prompts, rollout.group, rollout.tokens, rollout.mask)


def distinct(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probs of the whole vocabulary in each distinct context [U, V], and the index of each
    token's context [n, T]."""
    states, at = contexts(backbone, adapter, rollout)
    return torch.log_softmax(backbone.head(states).float() / temperature, -1), at


def distributions(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float
) -> Tensor:
    """Log-probs of the whole vocabulary at each answer token. [n, T, V]."""
    everything, at = distinct(backbone, adapter, rollout, temperature)
    return everything[at]


def compared(
    backbone: Backbone, states: Tensor, before: Tensor, at: Tensor, tokens: Tensor,
    temperature: float, room: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Log-prob, entropy and exact KL(before‖now) at each token, without gradient.

    states, before [U, H]: the same contexts under the policy now and before; at [n, T]: the context
    of each of `tokens`; room: bytes of distributions at a time. -> three of [n, T], undefined on
    padding.
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
    """Log-prob and entropy of each token, 0 on padding. Where gradients are enabled they reach the
    adapter, through the entropy only with `entropy_grad`. [n, T] each."""
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
    """`score` for a vocabulary that is too large for [U, V]."""
    real = rollout.mask.flatten().nonzero().squeeze(1)  # first, because it synchronizes a GPU
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
