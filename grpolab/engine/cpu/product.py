"""Products of few rows with weights that are laid out once: what a sampler multiplies by.

A library lays a weight out anew in every product, which takes longer than the product itself where
there are few rows. Here its outputs lie in panels as wide as a handful of vectors, one behind the
other; a tile of some rows by one panel is summed in registers while the panel streams by. (Goto and
van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008, section 4.) Each sum runs
over the inputs in their order: a row comes out the same whatever other rows stand beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grpolab.engine.cpu.loop import Loop
from grpolab.engine.cpu.width import WIDTH

multiply, _lay = Loop("product.multiply"), Loop("product.lay")


def pack(weight: Tensor) -> Tensor:
    """[out, in] -> panels [P, in, WIDTH], fp32. The last one ends with the last output, over what
    the one before it holds; of fewer outputs than a panel has, the rest is zero."""
    outputs, inputs = weight.shape
    if outputs < WIDTH:
        weight = torch.nn.functional.pad(weight, (0, 0, 0, WIDTH - outputs))
    panels = torch.empty(-(-outputs // WIDTH), inputs, WIDTH)
    _lay(weight.float().contiguous().numpy(), panels.numpy())
    return panels
