"""Log-probs, entropies and values of answers that exist already. The one file that knows how
tokens and logits align."""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.backbone import Backbone
from grpolab.engine.sample import Rollout


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
    everything, at = distinct(backbone, adapter, rollout, temperature)
    logp = everything[at, rollout.tokens] * rollout.mask
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy = -(everything.exp() * everything).sum(-1)[at] * rollout.mask
    return logp, entropy
