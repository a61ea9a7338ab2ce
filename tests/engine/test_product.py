"""The sampler's products: against float64, on sizes that fill no panel, no tile, no vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpolab.engine.backbone.cpu import linear as product
from grpolab.engine.backbone.cpu.linear import Linear
from grpolab.engine.backbone.cpu.target import ROWS, WIDTH


@given(
    rows=st.integers(1, 2 * ROWS + 1), inputs=st.integers(1, 9) | st.integers(250, 520),
    outputs=st.integers(1, 3 * WIDTH + 1), biased=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_product_is_the_product(rows, inputs, outputs, biased, seed):
    g = torch.Generator().manual_seed(seed)
    weight, x = torch.randn(outputs, inputs, generator=g), torch.randn(rows, inputs, generator=g)
    bias = torch.randn(outputs, generator=g) if biased else None
    exact = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    found = Linear(weight, bias)(x.numpy())
    assert found.shape == (rows, outputs) and found.flags.c_contiguous
    size = (x.abs().double() @ weight.abs().double().T).numpy() + 1
    assert (np.abs(found - exact.numpy()) < 1e-6 * np.sqrt(inputs) * size).all()


def test_a_row_is_the_same_whatever_stands_beside_it():
    g = torch.Generator().manual_seed(0)
    linear = Linear(torch.randn(100, 300, generator=g), None)
    x = torch.randn(2 * ROWS + 3, 300, generator=g).numpy()
    together = linear(x)
    for r in range(len(x)):
        assert np.array_equal(linear(x[r : r + 1])[0], together[r])


def test_weights_that_change_later_do_not_change_what_was_packed():
    weight = torch.ones(50, 8)
    linear = Linear(weight, None)
    weight.zero_()
    assert (linear(np.ones((1, 8), np.float32)) == 8).all()


def test_only_plain_arrays_are_read():
    from numba.core.errors import TypingError

    panels, bias = product.pack(torch.ones(50, 8)).numpy(), np.zeros((1, 50), np.float32)
    out = np.empty((2, 50), np.float32)
    with pytest.raises(ValueError, match="takes contiguous arrays only"):
        product.multiply(np.ones((8, 2), np.float32).T, panels, bias, out)
    with pytest.raises(TypingError, match="plain arrays"):
        product.multiply(np.ones((2, 8)), panels, bias, out)
