"""Log-probs in tiles of the vocabulary's head, and draws, against direct computation in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpolab.engine.backbone import head
from grpolab.engine.backbone.gpu.draw import Draw
from grpolab.estimate import formulas


@settings(max_examples=20, deadline=None)
@given(
    tokens=st.integers(0, 40), vocabulary=st.integers(2, 300), seed=st.integers(0, 999),
    temperature=st.floats(0.3, 3.0), both=st.booleans(),
)  # fmt: skip
def test_tiles_give_log_probs_entropies_and_gradients(tokens, vocabulary, seed, temperature, both):
    g = torch.Generator().manual_seed(seed)
    states = torch.randn(tokens, 12, generator=g, requires_grad=True)
    weight = torch.randn(vocabulary, 12, generator=g)
    target = torch.randint(vocabulary, (tokens,), generator=g)
    a, b = torch.randn(2, tokens, generator=g)
    with pytest.MonkeyPatch.context() as patch:  # sixteen tokens a tile
        patch.setattr(formulas, "TILE_BYTES", 1)
        logp, entropy = head.token_logp(states, weight, target, temperature, entropy_grad=both)
        assert entropy.requires_grad == both
        loss = (logp * a + entropy * b).sum() if both else (logp * a).sum()
        (slope,) = torch.autograd.grad(loss, states)
    exact = states.detach().double().requires_grad_()
    everything = torch.log_softmax(exact @ weight.double().t() / temperature, -1)
    want = everything.gather(1, target[:, None]).squeeze(1)
    want_entropy = -(everything.exp() * everything).sum(-1)
    loss = (want * a + want_entropy * b).sum() if both else (want * a).sum()
    (want_slope,) = torch.autograd.grad(loss, exact)
    torch.testing.assert_close(logp.double(), want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(entropy.double(), want_entropy, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slope.double(), want_slope, rtol=1e-3, atol=1e-3)


def drawn(logits: torch.Tensor, device: str, top_p: float) -> tuple[torch.Tensor, Draw]:
    """How often each token came in 64 rows at 40 places, three times."""
    rows, places, vocabulary = 64, 40, logits.shape[-1]
    time = torch.zeros(1, dtype=torch.int32, device=device)
    draw = Draw(rows, places, vocabulary, [3], 0.9, top_p, time, torch.device(device))
    counts = torch.zeros(vocabulary)
    for seed in range(3):
        draw.begin(seed, None)
        for place in range(places):
            time.fill_(place)
            draw(logits.expand(rows, -1).contiguous(), torch.arange(rows, device=device).int())
        counts += torch.bincount(draw.tokens[:rows].flatten().cpu(), minlength=vocabulary)
    return counts, draw


@pytest.mark.parametrize("top_p", [1.0, 0.8])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_draws_follow_the_softmax(device, top_p):
    """Chi-square against the exact distribution, and the log-probs that come with the tokens."""
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)) * 1.2
    counts, draw = drawn(logits.to(device), device, top_p)
    p = torch.softmax(logits[0] / 0.9, -1)
    noted = draw.logp[:64].cpu()
    torch.testing.assert_close(noted, p.log()[draw.tokens[:64].cpu()], rtol=1e-4, atol=1e-4)
    if top_p < 1:
        order = p.sort(descending=True)
        kept = order.indices[order.values.cumsum(0) - order.values < top_p]
        nucleus = torch.zeros_like(p)
        nucleus[kept] = p[kept] / p[kept].sum()
        p = nucleus
        assert counts[p == 0].sum() == 0
    expected = p * counts.sum()
    often = expected > 5
    chi = ((counts - expected) ** 2 / expected)[often].sum()
    freedom = int(often.sum()) - 1
    # the .9999 quantile by Wilson and Hilferty
    limit = freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert chi < limit


def test_a_row_ends_where_its_end_token_comes_first():
    logits = torch.zeros(1, 5)
    _, draw = drawn(logits, "cpu", 1.0)
    for row in range(64):
        ends = (draw.tokens[row] == 3).nonzero()
        assert int(draw.lengths[row]) == (int(ends[0]) + 1 if len(ends) else 41)
