"""Log-probs and entropies from hidden states without materializing [tokens, vocabulary]: the frozen
head is applied to a tile of tokens at a time.

The log-prob's gradient is computed in the same pass, while the tile's logits are there, because a
loss only scales it. The entropy's gradient is not a multiple of it; where it is needed, which is
rare, the logits are computed again in the backward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.backbone.gpu.ops import block, fused, kernels
from grpolab.estimate import formulas

BLOCK = 4096
"""Tokens of the vocabulary that a kernel reads at once."""


class _TokenLogp(torch.autograd.Function):
    """`both`: the entropy is differentiable too."""

    @staticmethod
    def forward(  # pyright: ignore
        ctx, states: Tensor, weight: Tensor, tokens: Tensor, temperature: float, both: bool
    ) -> tuple[Tensor, Tensor]:
        logp, lse, entropy = (states.new_empty(len(states), dtype=torch.float32) for _ in range(3))
        slope = torch.empty_like(states) if ctx.needs_input_grad[0] and not both else None
        one, zero = torch.ones_like(logp), torch.zeros_like(logp)
        for at in _tiles(states, weight):
            logits = fp32_logits(states[at], weight)
            _stats(logits, tokens[at], 1 / temperature, logp[at], lse[at], entropy[at])
            if slope is not None:
                push = _slope(
                    logits, tokens[at], lse[at], entropy[at], one[at], zero[at], 1 / temperature,
                    weight.dtype,
                )  # fmt: skip
                torch.mm(push, weight, out=slope[at])
                del push
            del logits  # before the next tile's
        if both:
            ctx.save_for_backward(states, weight, tokens, lse, entropy)
        else:
            ctx.save_for_backward(slope)
            ctx.mark_non_differentiable(entropy)
        ctx.temperature, ctx.both = temperature, both
        return logp, entropy

    @staticmethod
    def backward(ctx, dlogp: Tensor, dentropy: Tensor):  # pyright: ignore
        if not ctx.both:
            (slope,) = ctx.saved_tensors
            return (slope * dlogp[:, None]).to(slope.dtype), None, None, None, None
        states, weight, tokens, lse, entropy = ctx.saved_tensors
        dlogp, dentropy = dlogp.contiguous(), dentropy.contiguous()
        out = torch.empty_like(states)
        for at in _tiles(states, weight):
            push = _slope(
                fp32_logits(states[at], weight), tokens[at], lse[at], entropy[at],
                dlogp[at], dentropy[at], 1 / ctx.temperature, weight.dtype,
            )  # fmt: skip
            torch.mm(push, weight, out=out[at])
            del push  # before the next tile's logits
        return out, None, None, None, None


def token_logp(
    states: Tensor, weight: Tensor, tokens: Tensor, temperature: float, *,
    entropy_grad: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """log p(token) and the entropy of each distribution softmax(states · weightᵀ / temperature).

    states [M, H], weight [V, H] of the same dtype, tokens [M] -> two of [M], fp32. Once
    differentiable, with respect to the states; the entropy only where `entropy_grad`.
    """
    return _TokenLogp.apply(states, weight, tokens, temperature, entropy_grad)  # pyright: ignore


def _tiles(states: Tensor, weight: Tensor) -> list[slice]:
    size = formulas.tile_rows(len(weight), weight.is_cuda)
    return [slice(at, at + size) for at in range(0, len(states), size)]


def fp32_logits(states: Tensor, weight: Tensor) -> Tensor:
    """states · weightᵀ, summed and kept in fp32. [m, V]."""
    if states.is_cuda and states.dtype != torch.float32:
        return torch.mm(states, weight.t(), out_dtype=torch.float32)
    return torch.mm(states, weight.t()).float()


def _stats(
    logits: Tensor, tokens: Tensor, inverse: float, logp: Tensor, lse: Tensor, entropy: Tensor
) -> None:
    rows, vocabulary = logits.shape
    if fused(logits):
        blocks = -(-vocabulary // BLOCK)
        parts = logits.new_empty(rows, blocks, 3)
        kernels().head_part[(rows, blocks)](
            logits, parts, vocabulary, inverse, BLOCK=BLOCK, num_warps=8
        )
        kernels().head_whole[(rows,)](
            logits, parts, tokens, logp, lse, entropy, vocabulary, blocks, inverse,
            BLOCK=block(blocks), num_warps=1,
        )  # fmt: skip
        return
    everything = torch.log_softmax(logits * inverse, -1)
    logp.copy_(everything.gather(1, tokens[:, None]).squeeze(1))
    lse.copy_((logits[:, 0] * inverse) - everything[:, 0])
    entropy.copy_(-(everything.exp() * everything).sum(-1))


def _slope(
    logits: Tensor, tokens: Tensor, lse: Tensor, entropy: Tensor, dlogp: Tensor, dentropy: Tensor,
    inverse: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    rows, vocabulary = logits.shape
    if fused(logits):
        out = logits.new_empty(rows, vocabulary, dtype=dtype)
        kernels().head_gradient[(rows, -(-vocabulary // BLOCK))](
            logits, tokens, lse, entropy, dlogp, dentropy, out, vocabulary, inverse, BLOCK=BLOCK,
            num_warps=8,
        )  # fmt: skip
        return out
    logp = logits * inverse - lse[:, None]
    p = logp.exp()
    push = -p * dlogp[:, None]
    push.scatter_add_(1, tokens[:, None], dlogp[:, None])
    push -= dentropy[:, None] * p * (logp + entropy[:, None])
    return (push * inverse).to(dtype)
