"""One linear of the sampler."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from grpolab.engine.cpu.numbers import Array
from grpolab.engine.cpu.product import multiply, pack
from grpolab.engine.cpu.width import WIDTH


class Linear:
    """x Wᵀ + bias in fp32. x [n, in] -> [n, out]. The weights are laid out once, see `product`."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs = len(weight)
        self.width = max(self.outputs, WIDTH)  # of what a product writes
        self.weight = pack(weight.detach())
        self._start = np.zeros((1, self.width), np.float32)
        if bias is not None:
            self._start[0, : self.outputs] = bias.detach().float().numpy()

    def held(self) -> Tensor:
        """What it keeps in memory."""
        return self.weight

    def about(self) -> list[int]:
        """What a loop knows it by: where its panels begin, how many they are, where the sums
        start, and `width`."""
        start = self._start.ctypes.data
        return [self.weight.data_ptr(), len(self.weight), start, self.width]

    def __call__(self, x: Array) -> Array:
        out = np.empty((len(x), self.width), np.float32)
        multiply(x, self.weight.numpy(), self._start, out)
        narrow = self.outputs < self.width
        return np.ascontiguousarray(out[:, : self.outputs]) if narrow else out
