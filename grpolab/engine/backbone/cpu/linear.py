"""One linear layer of the sampler: products of few rows with weights that are laid out once.

A library lays a weight out anew in every product, which takes longer than the product itself where
there are few rows. Here the outputs are stored in panels, each as wide as a few vector registers; a
tile of some rows by one panel is summed in registers while the panel is read once. (Goto and van de
Geijn, Anatomy of High-Performance Matrix Multiplication, 2008, section 4.) Each sum runs over the
inputs in their order, so a row's result does not depend on the other rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.backbone.cpu.loop import Array, Loop
from grpolab.engine.backbone.cpu.target import WIDTH

multiply, _lay = Loop("product.multiply"), Loop("product.lay")


def pack(weight: Tensor) -> Tensor:
    """[out, in] -> panels [P, in, WIDTH], fp32. The last panel ends with the last output and
    repeats outputs of the one before it; with fewer outputs than WIDTH the rest is zero."""
    outputs, inputs = weight.shape
    if outputs < WIDTH:
        weight = torch.nn.functional.pad(weight, (0, 0, 0, WIDTH - outputs))
    panels = torch.empty(-(-outputs // WIDTH), inputs, WIDTH)
    _lay(weight.float().contiguous().numpy(), panels.numpy())
    return panels


class Linear:
    """x Wᵀ + bias in fp32. x [n, in] -> [n, out]."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs = len(weight)
        self.width = max(self.outputs, WIDTH)  # columns that a product writes
        self.weight = pack(weight.detach())
        self._start = np.zeros((1, self.width), np.float32)
        if bias is not None:
            self._start[0, : self.outputs] = bias.detach().float().numpy()

    def tensors(self) -> Tensor:
        """The panels."""
        return self.weight

    def about(self) -> list[int]:
        """What a compiled loop takes for it: address and number of its panels, address of the
        initial sums (the bias), and `width`."""
        start = self._start.ctypes.data
        return [self.weight.data_ptr(), len(self.weight), start, self.width]

    def __call__(self, x: Array) -> Array:
        out = np.empty((len(x), self.width), np.float32)
        multiply(x, self.weight.numpy(), self._start, out)
        narrow = self.outputs < self.width
        return np.ascontiguousarray(out[:, : self.outputs]) if narrow else out
