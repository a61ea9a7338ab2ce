"""Numbers as compiled loops see them: fp32, and bf16 as 16-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

F = np.float32

Array = NDArray[Any]


def array(x: Tensor) -> Array:
    """The same memory for the loops: bf16 as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
