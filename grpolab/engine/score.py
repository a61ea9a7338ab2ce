"""Log-probs, entropies and values of answers that exist already. The one file that knows how
tokens and logits align."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grpolab.engine.backbone import Backbone
from grpolab.engine.sample import Rollout


@dataclass(frozen=True)
class Scores:
    """n rows of up to T tokens; 0 on padding."""

    logp: Tensor  # [n, T]
    entropy: Tensor  # [n, T], without gradient
    states: Tensor  # [n, T, H] from which each token was predicted


def part(rollout: Rollout, rows: Tensor) -> tuple[Rollout, int]:
    """Some rows, cut to their own longest answer, and with only the prompts that they answer."""
    width = int(rollout.mask[rows].sum(1).max())
    used, group = rollout.group[rows].unique(return_inverse=True)
    return Rollout(
        rollout.prompts.take(used), group, rollout.tokens[rows, :width], rollout.mask[rows, :width],
        rollout.logp[rows, :width], rollout.finished[rows], 0,
    ), width  # fmt: skip


def score(backbone: Backbone, adapter: str | None, rollout: Rollout, temperature: float) -> Scores:
    """Score whole rows in one pass; gradients reach the adapter if they are on."""
    states = backbone.states(adapter, rollout.prompts, rollout.group, rollout.tokens, rollout.mask)
    logits = backbone.head(states).float() / temperature
    everything = torch.log_softmax(logits, -1)
    logp = everything.gather(-1, rollout.tokens.unsqueeze(-1)).squeeze(-1) * rollout.mask
    with torch.no_grad():
        entropy = -(everything.exp() * everything).sum(-1) * rollout.mask
    return Scores(logp, entropy, states)


def states_only(backbone: Backbone, adapter: str | None, rollout: Rollout) -> Tensor:
    """[n, T, H], for a critic that needs no logits."""
    return backbone.states(adapter, rollout.prompts, rollout.group, rollout.tokens, rollout.mask)
