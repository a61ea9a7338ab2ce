"""From logits to tokens: one uniform number a row, looked up in the cumulated probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

BELOW_ONE = 1 - 2**-23
"""Largest uniform number: times a total of the probabilities it stays below that total."""


def uniforms(tokens: int, rows: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """The noise of a whole rollout, drawn at once: neither rows that end nor their removal change
    what others draw. [tokens, rows]."""
    drawn = torch.rand(tokens, rows, generator=generator, device=device)
    return drawn.clamp_(max=BELOW_ONE)


@torch.inference_mode()
def draw(
    logits: Tensor, uniform: Tensor, temperature: float, top_p: float, greedy: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Tokens [R] by inversion of the distribution function, and their probabilities [R] under
    softmax(logits / temperature), before top-p.

    logits [R, V]; uniform [R] in [0, 1); rows marked in `greedy` [R] take the likeliest token.
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
