"""The compiled loops of learning against torch: the same numbers and the same gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.cpu.attention import Padded, Rotary, attention
from grpolab.engine.backbone.cpu.elementwise import add_norm, gate
from grpolab.engine.backbone.cpu.plan import Plan
from grpolab.engine.backbone.model_folder import rotate
from grpolab.engine.backbone.norm import rms_norm

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_near(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    """To rounding: bf16 keeps eight bits of every number on the way."""
    close = 1e-5 if dtype == torch.float32 else 2e-2
    assert (found.float() - wanted).norm() <= close * wanted.norm() + 1e-6
    assert found.isfinite().all()


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Prompts of any lengths, rows that agree for a while, empty and one-token answers."""
    prompts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    group = draw(st.lists(st.integers(0, len(prompts) - 1), min_size=1, max_size=6))
    width = draw(st.integers(1, 7))
    lengths = [draw(st.integers(0, width)) for _ in group]
    tokens = [draw(st.lists(st.integers(0, 1), min_size=width, max_size=width)) for _ in group]
    padded = Prompts.pad([[1] * n for n in prompts], 0, CPU)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    multiple = draw(st.sampled_from([1, 8]))
    return Plan.of(padded, torch.tensor(group), torch.tensor(tokens), mask.float(), multiple)


@settings(max_examples=60)
@given(plans(), st.sampled_from([(1, 1), (4, 2), (3, 3), (4, 1)]), st.sampled_from([2, 6, 16, 40]),
       st.sampled_from(DTYPES))  # fmt: skip
def test_attention_is_torch_s(plan: Plan, heads: tuple[int, int], size: int, dtype: torch.dtype):
    (h, kv), m = heads, len(plan.position)
    angle = torch.arange(20)[:, None] * torch.linspace(0.1, 1, size // 2)
    cos, sin = angle.cos(), angle.sin()
    exact = randn(m, (h + 2 * kv) * size).to(dtype).float().requires_grad_()
    wide = torch.cat([cos, cos], -1)[plan.position], torch.cat([-sin, sin], -1)[plan.position]
    q, k, v = exact.view(m, -1, size).split((h, kv, kv), 1)
    q, k = rotate(torch.cat([q, k], 1), *wide).split((h, kv), 1)
    wanted = Padded.of(plan.stretches).attend(q, k, v)

    qkv = exact.detach().to(dtype).requires_grad_()
    found = attention(qkv, Rotary(plan, h, kv, cos, sin))
    assert_near(found, wanted, dtype)
    push = randn(*wanted.shape, seed=1).to(dtype)
    (slope,) = torch.autograd.grad(wanted, exact, push.float())
    (mine,) = torch.autograd.grad(found, qkv, push)
    assert mine.dtype == dtype
    assert_near(mine, slope, dtype)


def test_every_token_sees_what_came_before_it_and_nothing_else():
    prompts = Prompts.pad([[1, 1], [1]], 0, CPU)
    group = torch.tensor([0, 0, 1])
    answers = torch.tensor([[5, 6, 7], [5, 8, 7], [5, 6, 0]])
    plan = Plan.of(prompts, group, answers, torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]]), 8)
    # flat: prompts 0 1 | 2, answers 5 6 (row 0) = 3 4, 8 (row 1) = 5, 5 (row 2) = 6, filler 7
    looks, seen = plan.stretches, {}
    for s in range(len(looks.count)):
        keys = looks.keys[looks.start[s] : looks.start[s + 1]].tolist()
        n = int(looks.count[s])
        for i in range(n):
            seen[int(looks.first[s]) + i] = keys[: len(keys) - n + i + 1]
    assert seen == {
        0: [0], 1: [0, 1], 2: [2], 3: [0, 1, 3], 4: [0, 1, 3, 4], 5: [0, 1, 3, 5], 6: [2, 6],
        7: [7],
    }  # fmt: skip
    assert plan.position.tolist() == [0, 1, 0, 2, 3, 3, 1, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("asked", ["both", "stream", "normed"])
def test_add_and_norm(dtype: torch.dtype, asked: str):
    x, change = randn(7, 12).requires_grad_(), randn(7, 12, seed=1).to(dtype).requires_grad_()
    exact = x.detach().clone().requires_grad_(), change.detach().float().requires_grad_()
    whole = exact[0] + exact[1]
    wanted = whole, rms_norm(whole, torch.ones(12), 1e-3)
    found = add_norm(x, change, 1e-3)
    assert [t.dtype for t in found] == [torch.float32, dtype]
    push = randn(7, 12, seed=2), randn(7, 12, seed=3).to(dtype)
    pick = {"both": slice(0, 2), "stream": slice(0, 1), "normed": slice(1, 2)}[asked]
    slopes = torch.autograd.grad(wanted[pick], exact, [p.float() for p in push[pick]])
    mine = torch.autograd.grad(found[pick], (x, change), push[pick])
    for a, b in zip((*found, *mine), (*wanted, *slopes), strict=True):
        assert_near(a, b, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gate(dtype: torch.dtype):
    both = (4 * randn(9, 20)).to(dtype).requires_grad_()
    exact = both.detach().float().requires_grad_()
    g, up = exact.chunk(2, 1)
    wanted, found = F.silu(g) * up, gate(both)
    push = randn(9, 10, seed=1).to(dtype)
    assert_near(found, wanted, dtype)
    (mine,) = torch.autograd.grad(found, both, push)
    assert_near(mine, torch.autograd.grad(wanted, exact, push.float())[0], dtype)


def test_a_second_derivative_of_them_is_refused():
    both = randn(2, 4).requires_grad_()
    with pytest.raises(RuntimeError, match="differentiable_twice"):
        torch.autograd.grad(gate(both).sum(), both, create_graph=True)
