"""Log-probs, entropies and values of answers that exist already. The one file that knows how
tokens and logits align."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.backbone import Backbone
from grpolab.engine.head import token_logp
from grpolab.engine.sample import Rollout

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


def distributions(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float
) -> Tensor:
    """Log-probs of the whole vocabulary where each answer token was drawn. [n, T, V]."""
    states = backbone.states(adapter, rollout.prompts, rollout.group, rollout.tokens, rollout.mask)
    return torch.log_softmax(backbone.head(states).float() / temperature, -1)


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
    everything = distributions(backbone, adapter, rollout, temperature)
    logp = everything.gather(-1, rollout.tokens.unsqueeze(-1)).squeeze(-1) * rollout.mask
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy = -(everything.exp() * everything).sum(-1) * rollout.mask
    return logp, entropy


def _tiled(
    backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float, weight: Tensor,
    entropy_grad: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`score` where the vocabulary is too large for [n, T, V]."""
    states = states_only(backbone, adapter, rollout)
    real = rollout.mask.bool()
    flat = token_logp(states[real], weight, rollout.tokens[real], temperature)
    logp, entropy = (torch.zeros_like(rollout.mask).masked_scatter(real, x) for x in flat)
    return logp, entropy if entropy_grad else entropy.detach()


def states_only(backbone: Backbone, adapter: str | None, rollout: Rollout) -> Tensor:
    """[n, T, H], for a critic that needs no logits."""
    return backbone.states(adapter, rollout.prompts, rollout.group, rollout.tokens, rollout.mask)
