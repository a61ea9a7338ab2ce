"""Attention over flat tokens: where each stands, and what a query sees, against one sequence after
the other; the kernels against the plain operations."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.gpu import attention
from grpolab.engine.backbone.gpu.flat import Flat

CPU = torch.device("cpu")


def laid(
    lengths: list[int], answers: list[tuple[int, int]], device: torch.device = CPU
) -> tuple[Flat, torch.Tensor, torch.Tensor]:
    """Prompts of these lengths, and answers as (prompt, tokens): flat, with the prompts' ids and
    the answers' tokens, all of them different numbers."""
    width, longest = max(lengths), max([1, *(tokens for _, tokens in answers)])
    ids = torch.arange(len(lengths) * width, device=device).view(-1, width)
    there = (
        torch.arange(width, device=device) >= width - torch.tensor(lengths, device=device)[:, None]
    )
    group = torch.tensor([p for p, _ in answers], dtype=torch.long, device=device)
    sizes = torch.tensor([tokens for _, tokens in answers], dtype=torch.long, device=device)
    mask = (torch.arange(longest, device=device) < sizes[:, None]).float()
    tokens = 1000 + torch.arange(mask.numel(), device=device).view(mask.shape)
    return Flat.of(Prompts(ids, there), group, mask), ids, tokens


@st.composite
def shapes(draw):
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    answer = st.tuples(st.integers(0, len(lengths) - 1), st.integers(0, 8))
    return lengths, draw(st.lists(answer, max_size=5))


def alone(q, k, v):
    """One sequence's causal attention, its newest query at its newest key. [T, heads, D]."""
    per = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(per, 1), v.repeat_interleave(per, 1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    last = torch.arange(len(q)) + len(k) - len(q)
    hidden = torch.arange(len(k)) > last[:, None]
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, float("-inf")).softmax(-1), v)


@settings(max_examples=60, deadline=None)
@given(shapes())
def test_each_token_stands_where_it_belongs(shape):
    lengths, answers = shape
    flat, ids, tokens = laid(*shape)
    prompts = [row[len(row) - n :].tolist() for row, n in zip(ids, lengths, strict=True)]
    rows = [row[:n].tolist() for row, (_, n) in zip(tokens, answers, strict=True)]
    whole = [*chain(*prompts), *chain(*(row[:-1] for row in rows))]
    laid_out = torch.cat([ids.view(-1)[flat.prompt_at], tokens.view(-1)[flat.answer_at]])
    assert laid_out.tolist() == whole
    after = [list(range(len(p))) for p in prompts]
    after += [
        list(range(lengths[p], lengths[p] + max(n - 1, 0))) for p, n in answers
    ]  # fmt: skip
    assert flat.position.tolist() == [*chain(*after)]
    assert tokens.view(-1)[flat.token_at].tolist() == [*chain(*rows)]
    # what predicts a token is the one before it: of an answer's first, the prompt's last
    before = [[prompts[p][-1], *row][: len(row)] for (p, _), row in zip(answers, rows, strict=True)]
    assert laid_out[flat.state_at].tolist() == [*chain(*before)]


@settings(max_examples=40, deadline=None)
@given(shapes(), st.integers(0, 99))
def test_a_query_sees_its_prompt_and_its_own_sequence(shape, seed):
    lengths, answers = shape
    flat, _, _ = laid(*shape)
    g = torch.Generator().manual_seed(seed)
    qkv = torch.randn(len(flat.position), 4 + 2 * 2, 8, generator=g, dtype=torch.float64)
    qkv.requires_grad_()
    q, k, v = qkv.split((4, 2, 2), 1)
    starts, out = flat.starts.tolist(), []
    for i, (first, last) in enumerate(pairwise(starts)):
        own = list(range(first, last))
        p = answers[i - len(lengths)][0] if i >= len(lengths) else None
        seen = own if p is None else [*range(starts[p], starts[p + 1]), *own]
        out.append(alone(q[own], k[seen], v[seen]))
    want = torch.cat(out).flatten(1)
    mine = attention.attend(qkv, flat, 4, plain=True)
    torch.testing.assert_close(mine, want)
    push = torch.randn(want.shape, generator=g, dtype=torch.float64)
    grads = [torch.autograd.grad(x, qkv, push, retain_graph=True)[0] for x in (mine, want)]
    torch.testing.assert_close(grads[0], grads[1])


def check_blocks() -> None:
    """In Triton's interpreter, see `test_half`: the kernels over several blocks of a sequence,
    answers of no and of one token, and a prompt that nobody answers."""
    flat, _, _ = laid([3, 37, 20], [(0, 0), (0, 1), (0, 40), (1, 17), (1, 33)])
    g = torch.Generator().manual_seed(3)
    qkv = torch.randn(len(flat.position), 4 + 2 * 2, 16, generator=g)
    push = torch.randn(len(qkv), 4 * 16, generator=g)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for tiles in (attention.FORWARD, attention.QUERIES, attention.KEYS):
            patch.setitem(tiles, 64, (16, 16, 4, 1))
        for plain in (False, True):
            x = qkv.clone().requires_grad_()
            out = attention.attend(x, flat, 4, room=8, plain=plain)
            assert (type(out.grad_fn).__name__ == "_AttendBackward") != plain
            found.append([out.detach(), *torch.autograd.grad(out, x, push)])
    for mine, want in zip(*found, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(("heads", "kv", "d"), [(14, 2, 64), (12, 2, 128), (4, 4, 32), (8, 1, 256)])
def test_the_kernels_are_as_near_to_float64_as_the_plain_operations(heads, kv, d):
    device, g = torch.device("cuda"), torch.Generator("cuda").manual_seed(3)
    flat, _, _ = laid(
        [3, 90, 64], [(i % 3, n) for i, n in enumerate((1, 2, 64, 65, 200, 131))], device
    )
    size = (len(flat.position), heads + 2 * kv, d)
    qkv = torch.randn(size, generator=g, device=device).bfloat16()
    push = torch.randn(size[0], heads * d, generator=g, device=device).bfloat16()

    def found(of: torch.Tensor, **how) -> list[torch.Tensor]:
        x = of.detach().clone().requires_grad_()
        out = attention.attend(x, flat, heads, room=64, **how)
        (grad,) = torch.autograd.grad(out, x, push.to(out.dtype))
        return [out.detach().double(), grad[:, :heads].double(), grad[:, heads:].double()]

    exact = found(qkv.double(), plain=True)
    for mine, plain, want in zip(found(qkv), found(qkv, plain=True), exact, strict=True):
        apart, allowed = ((x - want).norm() / want.norm() for x in (mine, plain))
        assert apart < allowed < 0.01
