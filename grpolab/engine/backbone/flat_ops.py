"""Gather and scatter of rows of a flat tensor whose backwards are gathers and scatters again, so
that every derivative is as cheap. torch's own backward of indexing adds up row by row."""

from __future__ import annotations

import torch
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(index)
        ctx.rows = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        return _Add.apply(dy, ctx.saved_tensors[0], ctx.rows), None


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, rows: int) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(index)
        flat = x.reshape(len(index), -1)
        out = torch.ops.aten.embedding_dense_backward(flat, index, rows, -1, False)
        return out.view(rows, *x.shape[1:])

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        return _Gather.apply(dy, ctx.saved_tensors[0]), None, None


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, rows: int) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(index)
        return x.new_zeros(rows, *x.shape[1:]).index_copy_(0, index, x)

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        return _Pick.apply(dy, ctx.saved_tensors[0]), None, None


class _Pick(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(index)
        ctx.rows = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore
        return _Place.apply(dy, ctx.saved_tensors[0], ctx.rows), None


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Row index[i] of x at i; indices may repeat. [M, …], [m] -> [m, …]."""
    return _Gather.apply(x, index)  # pyright: ignore[reportReturnType]


def pick(x: Tensor, index: Tensor) -> Tensor:
    """`gather` for indices without repeats. [M, …], [m] -> [m, …]."""
    return _Pick.apply(x, index)  # pyright: ignore[reportReturnType]


def place(x: Tensor, index: Tensor, rows: int) -> Tensor:
    """Row i of x at index[i], zeros elsewhere; no index repeats. [m, …], [m] -> [rows, …]."""
    return _Place.apply(x, index, rows)  # pyright: ignore[reportReturnType]
