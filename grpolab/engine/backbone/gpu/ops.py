"""The operations between two matrix products: Triton kernels on a GPU, plain torch operations
elsewhere. The plain form is the definition.

Those with a gradient are autograd functions that save half-precision tensors only. Second
derivatives (TRPO) use the plain forms, which torch differentiates itself.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.model_folder import rotate

TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton interprets the kernels on a CPU, line by line, for tests."""


def fused(x: Tensor) -> bool:
    """Whether the kernels can run on this tensor."""
    return TRITON and (x.is_cuda or INTERPRETED)


def kernels() -> Any:
    from grpolab.engine.backbone.gpu import kernels

    return kernels


def block(size: int) -> int:
    """The block size (a power of two) with which a kernel covers `size` elements."""
    return 1 << max(4, (size - 1).bit_length())


def roomy(like: Tensor, width: int, room: int, dtype: torch.dtype) -> Tensor:
    """An empty [M, width] in a buffer with `room` more columns, where `matrix` puts the adapter's
    part of the input."""
    return like.new_empty(len(like), width + room, dtype=dtype)[:, :width]


# --- RMS norm of the fp32 residual stream ---


def plain_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) · weight in the weight's dtype. x fp32 [M, H] -> [M, H]."""
    hat = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    return hat.to(weight.dtype) * weight


class _AddNorm(torch.autograd.Function):
    """(x, y) -> (x + y, norm of that). Keeps the normalized rows in half precision."""

    @staticmethod
    def forward(  # pyright: ignore
        ctx, x: Tensor, y: Tensor, weight: Tensor, eps: float, room: int, back: int
    ):
        rows, width = x.shape
        out = roomy(x, width, room, weight.dtype)
        if fused(x):
            total, scale = torch.empty_like(x), x.new_empty(rows, 1)
            hat = x.new_empty(rows, width, dtype=weight.dtype)
            if rows:
                kernels().add_norm[(rows,)](
                    x, y, total, weight, out, hat, scale, width, width + room, eps,
                    ADD=True, SAVE=True, BLOCK=block(width), num_warps=4,
                )  # fmt: skip
        else:
            total = x + y
            scale = (total.square().mean(-1, keepdim=True) + eps).rsqrt()
            hat = (total * scale).to(weight.dtype)
            torch.mul(hat, weight, out=out)
        ctx.save_for_backward(hat, weight, scale)
        ctx.dtype, ctx.back = y.dtype, back
        return total, out

    @staticmethod
    def backward(ctx, dtotal: Tensor | None, dout: Tensor):  # pyright: ignore
        hat, weight, scale = ctx.saved_tensors
        if fused(hat):
            dx = hat.new_empty(hat.shape, dtype=torch.float32)
            half = roomy(dx, dx.shape[1], ctx.back, ctx.dtype)
            if len(hat):
                dout = dout if dout.stride(1) == 1 else dout.contiguous()
                kernels().norm_backward[(len(hat),)](
                    dout, hat, weight, scale, dx if dtotal is None else dtotal.contiguous(), dx,
                    half, hat.shape[1], dout.stride(0), half.stride(0),
                    ADD=dtotal is not None, BLOCK=block(hat.shape[1]), num_warps=4,
                )  # fmt: skip
            return dx, half, None, None, None, None
        dhat = dout.float() * weight.float()
        wide = hat.float()
        dx = (dhat - wide * (dhat * wide).mean(-1, keepdim=True)) * scale
        if dtotal is not None:
            dx = dx + dtotal
        return dx, dx.to(ctx.dtype), None, None, None, None


def add_norm(
    x: Tensor, y: Tensor | None, weight: Tensor, eps: float, *, room: int = 0, back: int = 0,
    plain: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The residual stream x (fp32) with y added, and its RMS norm. [M, H] -> two of [M, H]. `room`
    to the right of the latter, `back` to the right of y's gradient."""
    if y is None or plain or weight.requires_grad:
        total = x if y is None else x + y
        return total, plain_norm(total, weight, eps)
    return _AddNorm.apply(x, y, weight, eps, room, back)  # pyright: ignore[reportReturnType]


class _NormHeads(torch.autograd.Function):
    """Saves its input in half precision."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # pyright: ignore
        wide = x.float()
        scale = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).to(weight.dtype) * weight

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        x, weight, scale = ctx.saved_tensors
        hat, dhat = x.float() * scale, dy.float() * weight.float()
        dx = (dhat - hat * (dhat * hat).mean(-1, keepdim=True)) * scale
        return dx.to(x.dtype), None, None


def norm_heads(x: Tensor, weight: Tensor, eps: float, *, plain: bool = False) -> Tensor:
    """Each head's RMS norm (Qwen3). [M, heads, D] -> [M, heads, D]."""
    if plain:
        return plain_norm(x.float(), weight, eps)
    return _NormHeads.apply(x, weight, eps)  # pyright: ignore[reportReturnType]


# --- SwiGLU ---


def plain_swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, gate and up side by side. [M, 2 I] -> [M, I]."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate_up: Tensor, room: int) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(gate_up)
        rows, width = len(gate_up), gate_up.shape[1] // 2
        out = roomy(gate_up, width, room, gate_up.dtype)
        if not fused(gate_up):
            return out.copy_(plain_swiglu(gate_up))
        if rows:
            size = min(1024, block(width))
            kernels().swiglu[(rows, -(-width // size))](
                gate_up, out, width, width + room, BLOCK=size
            )
        return out

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        (gate_up,) = ctx.saved_tensors
        rows, width = len(gate_up), gate_up.shape[1] // 2
        if not fused(gate_up):
            gate, up = gate_up.float().chunk(2, -1)
            s, dy = gate.sigmoid(), dy.float()
            whole = torch.cat([dy * up * s * (1 + gate * (1 - s)), dy * gate * s], 1)
            return whole.to(gate_up.dtype), None
        out = torch.empty_like(gate_up)
        if rows:
            size, dy = min(1024, block(width)), dy if dy.stride(1) == 1 else dy.contiguous()
            kernels().swiglu_backward[(rows, -(-width // size))](
                gate_up, dy, out, width, dy.stride(0), BLOCK=size
            )
        return out, None


def swiglu(gate_up: Tensor, *, room: int = 0, plain: bool = False) -> Tensor:
    """The gated activation. [M, 2 I] -> [M, I]."""
    return plain_swiglu(gate_up) if plain else _Swiglu.apply(gate_up, room)  # pyright: ignore


# --- rotary positions ---


def plain_turn(x: Tensor, bias: Tensor | None, cos: Tensor, sin: Tensor, turned: int) -> Tensor:
    """Bias added to heads [M, heads, D] and the first `turned` of them rotated; cos and sin
    [M, D / 2]."""
    if bias is not None:
        x = x + bias.view(x.shape[1:])
    wide = x[:, :turned].float()
    done = rotate(wide, torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)).to(x.dtype)
    return torch.cat([done, x[:, turned:]], 1)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias, cos, sin, position, turned: int):  # pyright: ignore
        ctx.save_for_backward(cos, sin, position)
        ctx.turned = turned
        return _turned(x, bias, cos, sin, position, turned, back=False)

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        cos, sin, position = ctx.saved_tensors
        dx = _turned(dy.contiguous(), None, cos, sin, position, ctx.turned, back=True)
        return dx, None, None, None, None, None


def _turned(x, bias, cos, sin, position, turned: int, *, back: bool) -> Tensor:
    if not fused(x):
        sin = -sin if back else sin
        return plain_turn(x, bias, cos[position], sin[position], turned)
    out = torch.empty_like(x)
    rows, heads, d = x.shape
    if rows:
        kernels().rotate_heads[(rows,)](
            x, x if bias is None else bias, cos, sin, position, out, heads, turned,
            HALF=d // 2, HEADS=block(heads), BIAS=bias is not None, BACK=back,
        )  # fmt: skip
    return out


def turn(
    x: Tensor, bias: Tensor | None, cos: Tensor, sin: Tensor, position: Tensor, turned: int,
    *, plain: bool = False,
) -> Tensor:  # fmt: skip
    """Heads [M, heads, D] with their bias, the first `turned` rotated to `position` [M]; cos and
    sin [longest, D / 2] by position."""
    if plain:
        return plain_turn(x, bias, cos[position], sin[position], turned)
    return _Turn.apply(x, bias, cos, sin, position, turned)  # pyright: ignore[reportReturnType]
