"""Sampling: the right distribution, unmoved by neighbours, ends and streaming where they belong."""

from __future__ import annotations

import math

import torch

from grpolab.engine.backbone.base import BASE, Prompts
from grpolab.engine.backbone.load import load_backbone
from grpolab.engine.backbone.sample import BELOW_ONE, draw, nucleus, sample
from grpolab.engine.score import score
from grpolab.scenario.spec import ModelSection

CPU = torch.device("cpu")
BACKBONE = load_backbone(ModelSection(compute="float32"), CPU)


def rollout_of(prompts: list[str], group: list[int], *, seed: int = 0, **how):
    padded = Prompts.pad([BACKBONE.text.encode(p) for p in prompts], BACKBONE.text.pad, CPU)
    settings = {"max_tokens": 40, "temperature": 1.0, "top_p": 1.0} | how
    generator = torch.Generator().manual_seed(seed)
    return sample(BACKBONE, BASE, padded, torch.tensor(group), generator=generator, **settings)


def test_the_first_token_follows_the_softmax():
    """Chi-square against the exact distribution; 40 is beyond the .999 quantile for up to 15
    degrees."""
    prompt = "make 20 from 3 5 7:"
    padded = Prompts.pad([BACKBONE.text.encode(prompt)], BACKBONE.text.pad, CPU)
    nothing = torch.zeros(1, 1, dtype=torch.long)
    states, _ = BACKBONE.contexts(BASE, padded, nothing[0], nothing, nothing + 1)
    exact = (BACKBONE.head(states)[0] / 2.0).softmax(-1).detach()
    count = 20000
    rollout = rollout_of([prompt], [0] * count, max_tokens=1, temperature=2.0)
    seen = torch.bincount(rollout.tokens[:, 0], minlength=len(exact)).double()
    big = exact * count >= 5
    expected = torch.cat([exact[big] * count, (exact[~big].sum() * count)[None]]).double()
    observed = torch.cat([seen[big], seen[~big].sum()[None]])
    expected, observed = expected[expected > 0.5], observed[expected > 0.5]
    chi = ((observed - expected) ** 2 / expected).sum().item()
    freedom = len(expected) - 1
    assert chi < freedom + 4.5 * math.sqrt(2 * freedom) + 10


def test_log_probs_are_those_of_the_trainer():
    for temperature in (1.0, 0.7):
        rollout = rollout_of(
            ["12+7-3=", "(3+4)*5=", "2*8-1="], [0, 0, 1, 2, 2, 2], temperature=temperature
        )
        logp, _ = score(BACKBONE, BASE, rollout, temperature)
        torch.testing.assert_close(logp, rollout.logp, rtol=1e-4, atol=1e-4)


def test_rows_that_end_change_nothing_for_the_others(monkeypatch):
    prompts, group = ["12+7-3=", "9+9+9+1234+77="], [0, 0, 0, 1, 1, 1]
    ending = rollout_of(prompts, group)
    monkeypatch.setattr(BACKBONE.text, "eos", set())
    going_on = rollout_of(prompts, group)
    assert not going_on.finished.any()
    assert ending.finished.any() and len(set(ending.lengths.tolist())) > 1
    for i, n in enumerate(ending.lengths.tolist()):
        assert torch.equal(ending.tokens[i, :n], going_on.tokens[i, :n])
        torch.testing.assert_close(ending.logp[i, :n], going_on.logp[i, :n], rtol=1e-5, atol=1e-5)


def test_rows_end_at_the_end_token_or_at_the_limit():
    rollout = rollout_of(["12+7-3="] * 1, [0] * 16, max_tokens=20)
    eos = next(iter(BACKBONE.text.eos))
    for row, n, done in zip(rollout.tokens, rollout.lengths, rollout.finished, strict=True):
        kept = row[:n].tolist()
        assert (kept[-1] == eos) == bool(done)
        assert eos not in kept[:-1]
        assert done or n == 20
        assert (row[n:] == BACKBONE.text.pad).all()


def test_greedy_rows_take_the_likeliest_and_leave_others_alone():
    plain = rollout_of(["12+7-3="], [0] * 4)
    mixed = rollout_of(["12+7-3="], [0] * 4, greedy=torch.tensor([False, True, False, True]))
    width = min(plain.tokens.shape[1], mixed.tokens.shape[1])
    assert torch.equal(plain.tokens[0, :width], mixed.tokens[0, :width])
    assert torch.equal(mixed.tokens[1], mixed.tokens[3])
    assert BACKBONE.text.decode([mixed.tokens[1][: mixed.lengths[1]].tolist()])[0].endswith(
        "16</answer>"
    )


def test_top_p_keeps_the_nucleus_only():
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    assert (nucleus(p, 0.7) > 0).tolist() == [[True, True, False, False]]
    assert (nucleus(p, 0.1) > 0).tolist() == [[True, False, False, False]]
    uniform = torch.linspace(0, BELOW_ONE, 1000)
    drawn, chosen = draw(p.log().expand(1000, 4), uniform, 1.0, 0.7, None)
    share = torch.bincount(drawn, minlength=4) / 1000
    torch.testing.assert_close(share, torch.tensor([0.625, 0.375, 0, 0]), atol=2e-3, rtol=0)
    torch.testing.assert_close(chosen, p[0, drawn])  # before top-p


def test_the_largest_uniform_number_stays_within_the_vocabulary():
    """Also where tokens without any probability come last."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5000, 7, generator=g) * 3
    logits[:, 5:] = -200.0
    drawn, chosen = draw(logits, torch.full((5000,), BELOW_ONE), 1.0, 1.0, None)
    assert drawn.max() <= 4 and chosen.min() > 0


def test_streamed_text_adds_up_to_the_answers():
    from grpolab.engine.record import Stream, row_ids

    events: list = []
    stream = Stream(BACKBONE.text, events.append, 1, "main")
    rows = torch.arange(5)
    rollout = rollout_of(
        ["12+7-3=", "3*4+1="], [0, 0, 0, 1, 1], listener=lambda t, n, at: stream(rows, t, n, at)
    )
    text = [""] * 5
    ended: set[int] = set()
    for e in events:
        for row, new in e.text:
            text[row] += new
        ended |= set(e.ended)
    assert text == BACKBONE.text.decode(row_ids(rollout))
    assert ended == set(rollout.finished.nonzero().squeeze(1).tolist())
