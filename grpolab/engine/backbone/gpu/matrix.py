"""Frozen linears and the adapters beside them.

Linears on one input (q, k and v; gate and up) lie one above the other in one `Matrix`. In half
precision it has room to the right of its weights: [W | B]. With x followed by u = x · (s A)ᵀ, one
product gives x Wᵀ + u Bᵀ, so an adapter that stays apart from the weights costs one small product
more. (Merged into half-precision weights, most of a small change would be rounded away.) A backward
asks for dy W + (dy B) · s A. Where there are fewer outputs than inputs, s A lies under W, and dy
followed by dy B gives that in one product too; elsewhere dy · [W | B] gives dy B along the way.

In 4 bit the weights are what bitsandbytes makes of each linear by itself, NF4 with twice quantized
scales. With a copy, they are dequantized once into [W | B]; without one, a layer at a time
into one scratch that all share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.lora import Lora

ROOM = 64
"""Columns reserved for an adapter are a multiple of this, so that rows stay aligned."""


@dataclass
class Packed:
    """One linear's weights in NF4."""

    data: Tensor  # uint8
    state: Any  # bitsandbytes' QuantState
    out: int

    @staticmethod
    def of(weight: Tensor) -> Packed:
        """Quantize a weight [out, in] in the precision that it is to be computed in."""
        import bitsandbytes.functional as bnb

        data, state = bnb.quantize_4bit(
            weight.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4"
        )
        return Packed(data, state, len(weight))

    def unpack(self, out: Tensor) -> None:
        """Dequantize into `out` [out, in], which is contiguous or gets a copy."""
        import bitsandbytes.functional as bnb

        if out.is_contiguous() and out.is_cuda:
            bnb.dequantize_4bit(self.data, self.state, out=out)
        else:
            out.copy_(bnb.dequantize_4bit(self.data, self.state))

    def scales(self) -> list[Tensor]:
        """Scales, their scales, and the lookup tables of both."""
        s = self.state
        more = [s.state2.absmax, s.state2.code, s.offset] if s.nested else []
        return [s.absmax, s.code, *more]

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + sum(t.nbytes for t in self.scales())


class Scratch:
    """Scratch memory for one dequantized matrix, shared by all of them."""

    def __init__(self) -> None:
        self.room: Tensor | None = None

    def of(self, rows: int, width: int, like: Tensor, dtype: torch.dtype) -> Tensor:
        size = rows * width
        if self.room is None or self.room.numel() < size:
            self.room = torch.empty(size, dtype=dtype, device=like.device)
        return self.room[:size].view(rows, width)


@dataclass
class Matrix:
    """Linears stacked on one input: `names` with `outs` outputs each, `width` inputs."""

    names: list[str]
    outs: list[int]
    width: int
    room: int  # columns for B and rows for A: the adapters' ranks, rounded up
    dtype: torch.dtype
    scratch: Scratch
    packed: list[Packed] | None = None
    wide: Tensor | None = None  # [Σ out + under, width + room]; None without a copy
    bias: Tensor | None = None
    a: Tensor | None = None  # [room, width]: s A of the adapter that is in place, maybe in `wide`
    b: Tensor | None = None  # [Σ out, room]: its B, in the copy's room or on its own
    tag: object = None  # which adapter that is

    @property
    def out(self) -> int:
        """Outputs of all its linears."""
        return sum(self.outs)

    @property
    def under(self) -> int:
        """Rows reserved for A under the weights; 0 where A is stored apart."""
        return self.room if self.out < self.width else 0

    @property
    def back(self) -> int:
        """Columns that a gradient of its outputs needs to its right."""
        return self.under if self.wide is not None else 0

    @property
    def copied(self) -> int:
        """Elements of a copy, columns for an adapter included."""
        return (self.out + self.under) * (self.width + self.room)

    @property
    def along(self) -> Tensor:
        """[W | B] of the copy. [Σ out, width + room]."""
        assert self.wide is not None
        return self.wide[: self.out]

    def room_for_weights(self, like: Tensor) -> Tensor:
        """An empty copy on `like`'s device, filled with zeros."""
        size = (self.out + self.under, self.width + self.room)
        return torch.zeros(size, dtype=self.dtype, device=like.device)

    def dense(self) -> Tensor:
        """The weights [Σ out, width]: a view, or the scratch, which the next call overwrites."""
        if self.wide is not None:
            return self.along[:, : self.width]
        assert self.packed is not None
        room = self.scratch.of(self.out, self.width, self.packed[0].data, self.dtype)
        for part, piece in zip(room.split(self.outs), self.packed, strict=True):
            piece.unpack(part)
        return room

    def widen(self) -> None:
        """Make the dequantized copy."""
        if self.wide is None and self.packed is not None:
            wide = self.room_for_weights(self.packed[0].data)
            for part, piece in zip(wide[: self.out].split(self.outs), self.packed, strict=True):
                piece.unpack(part[:, : self.width])
            self.wide, self.a, self.b, self.tag = wide, None, None, None

    def narrow(self) -> None:
        """Free the dequantized copy."""
        if self.packed is not None:
            self.wide, self.a, self.b, self.tag = None, None, None, None

    # --- the adapter in place ---

    def place(self, lora: Lora | None, tag: object) -> None:
        """Copy s A and B of these linears' adapters to where products read them."""
        if self.room == 0:
            return
        slots = [] if lora is None else self.slots(lora)
        if lora is not None:  # versions count the changes that were made in place
            tag = (tag, *(x[name]._version for name, _, _ in slots for x in (lora.a, lora.b)))
        if self.tag == tag:
            return
        with torch.no_grad():
            a, b = self._adapter_room()
            if lora is None:
                a.zero_()
            else:
                for name, rows, columns in slots:
                    a[columns].copy_(lora.a[name] * lora.scale)
                    b[rows, columns].copy_(lora.b[name])
        self.tag = tag

    def _adapter_room(self) -> tuple[Tensor, Tensor]:
        if self.wide is not None and self.b is None:
            self.b = self.along[:, self.width :]
            self.a = self.wide[self.out :, : self.width] if self.under else self.a
        if self.a is None or self.b is None:
            assert self.wide is not None or self.packed is not None
            like = self.wide if self.packed is None else self.packed[0].data
            how: Any = {"dtype": self.dtype, "device": like.device}  # pyright: ignore
            if self.a is None:
                self.a = torch.zeros(self.room, self.width, **how)
            if self.b is None:
                self.b = torch.zeros(self.out, self.room, **how)
        return self.a, self.b

    def slots(self, lora: Lora) -> list[tuple[str, slice, slice]]:
        """(name, its outputs, its columns of the room) of the linears that have an adapter."""
        found, row, column = [], 0, 0
        for name, out in zip(self.names, self.outs, strict=True):
            if name in lora.a:
                rank = len(lora.a[name])
                found.append((name, slice(row, row + out), slice(column, column + rank)))
                column += rank
            row += out
        return found

    def nbytes(self) -> tuple[int, int]:
        """(weights as loaded, dequantized copy)."""
        copy = 0 if self.wide is None else self.wide.nbytes
        bias = 0 if self.bias is None else self.bias.nbytes
        if self.packed is None:
            return copy + bias, 0
        return sum(p.nbytes for p in self.packed) + bias, copy


class _LoraMatrix(torch.autograd.Function):
    """x [W + s B A]ᵀ with both parts apart. Keeps x and u in half precision; the masters A and B
    stay in fp32 and so do their gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, m: Matrix, lora: Lora, tag: object, *ab: Tensor) -> Tensor:  # pyright: ignore
        m.place(lora, tag)
        assert m.a is not None and m.b is not None
        xa = _with_room(x, m.room)
        torch.mm(xa[:, : m.width], m.a.t(), out=xa[:, m.width :])
        ctx.save_for_backward(xa)
        ctx.m, ctx.lora, ctx.tag = m, lora, tag
        if m.wide is not None:
            return F.linear(xa, m.along)
        y = F.linear(x, m.dense())
        return y.addmm_(xa[:, m.width :], m.b.t())

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        (xa,) = ctx.saved_tensors
        m, lora = ctx.m, ctx.lora
        m.place(lora, ctx.tag)
        assert m.a is not None and m.b is not None
        dy = dy if dy.stride(1) == 1 else dy.contiguous()
        if m.wide is not None and m.under:
            dyu = _with_room(dy, m.room)
            du = torch.mm(dy, m.b, out=dyu[:, m.out :])
            dx = torch.mm(dyu, m.wide[:, : m.width])
        elif m.wide is not None:
            whole = torch.mm(dy, m.wide)
            dx, du = whole[:, : m.width], whole[:, m.width :]
            if ctx.needs_input_grad[0]:
                dx.addmm_(du, m.a)
        else:
            du, dx = torch.mm(dy, m.b), None
            if ctx.needs_input_grad[0]:
                dx = torch.mm(dy, m.dense()).addmm_(du, m.a)
        grads: list[Tensor] = []
        slots = m.slots(lora)
        ranks = slots[-1][2].stop  # columns of the room that are in use
        da = _product(du[:, :ranks].t(), xa[:, : m.width]).mul_(lora.scale)
        for _name, rows, columns in slots:
            grads.append(da[columns])
            at = slice(m.width + columns.start, m.width + columns.stop)
            grads.append(_product(dy[:, rows].t(), xa[:, at]))
        return dx, None, None, None, *grads


def _with_room(x: Tensor, room: int) -> Tensor:
    """x [M, width] with `columns` more to its right: its own (`ops.roomy`), or in a copy."""
    wide = x.shape[1] + room
    storage = x.untyped_storage().nbytes() // x.element_size()
    if x.stride() == (wide, 1) and x.storage_offset() == 0 and storage >= len(x) * wide:
        return x.as_strided((len(x), wide), (wide, 1))
    out = x.new_empty(len(x), wide)
    out[:, : x.shape[1]] = x
    return out


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a · b in fp32."""
    if a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b).float()


class _Frozen(torch.autograd.Function):
    """x Wᵀ (`down`) or y W, W frozen and fetched when it is used; differentiable any number of
    times."""

    @staticmethod
    def forward(ctx, x: Tensor, m: Matrix, down: bool) -> Tensor:  # pyright: ignore
        ctx.m, ctx.down = m, down
        return F.linear(x, m.dense()) if down else torch.mm(x, m.dense())

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        return _Frozen.apply(dy, ctx.m, not ctx.down), None, None


def _low_rank(x: Tensor, m: Matrix, lora: Lora) -> Tensor:
    """s B A x of every linear, 0 where one has no adapter. [M, Σ out]."""
    by_name = {name: x.float() @ lora.a[name].t() for name, _, _ in m.slots(lora)}
    parts = [
        by_name[name] @ lora.b[name].t() * lora.scale
        if name in by_name
        else x.new_zeros(len(x), out, dtype=torch.float32)
        for name, out in zip(m.names, m.outs, strict=True)
    ]
    return torch.cat(parts, 1).to(x.dtype)


def lora_matrix(
    x: Tensor, m: Matrix, lora: Lora | None, tag: object, *, plain: bool = False
) -> Tensor:
    """The stacked linears with their adapters, without bias. [M, width] -> [M, Σ out].

    lora: the adapter or None; tag: which one, no two ever the same;
    plain: in operations that can be differentiated any number of times.
    """
    slots = [] if lora is None else m.slots(lora)
    if lora is None or not slots or plain:
        y: Tensor = _Frozen.apply(x, m, True)  # pyright: ignore[reportAssignmentType]
        return y if lora is None or not slots else y + _low_rank(x, m, lora)
    ab = [t for name, _, _ in slots for t in (lora.a[name], lora.b[name])]
    if torch.is_grad_enabled() and any(t.requires_grad for t in ab):
        return _LoraMatrix.apply(x, m, lora, tag, *ab)  # pyright: ignore[reportReturnType]
    m.place(lora, tag)
    assert m.a is not None and m.b is not None
    if m.wide is None:
        return F.linear(x, m.dense()).addmm_(F.linear(x, m.a), m.b.t())
    xa = _with_room(x, m.room)
    torch.mm(xa[:, : m.width], m.a.t(), out=xa[:, m.width :])
    return F.linear(xa, m.along)
