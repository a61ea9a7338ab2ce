"""Rows that agree so far are computed once: the same numbers as each row alone, in sampling and in
learning, whatever the length of the prompts."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from grpolab.engine import cache as cache_module
from grpolab.engine.backbone import BASE, Backbone, Prompts, load_backbone
from grpolab.engine.flat import gather, pick, place
from grpolab.engine.plan import Plan
from grpolab.engine.sample import Rollout, sample
from grpolab.engine.score import contexts, part, score
from grpolab.engine.tree import Nodes
from grpolab.scenario import ModelSection
from tests.engine.conftest import random_model

CPU = torch.device("cpu")


def test_nodes_split_where_rows_part_and_close_up_where_they_end():
    nodes = Nodes([0, 0, 0, 1])
    assert nodes.of_row == [0, 0, 0, 1] and nodes.prompt == [0, 1]
    fed, sources = nodes.grow([7, 8, 7, 7])
    assert (fed, sources) == ([7, 7, 8], [0])  # the first child stays, the second branches off
    assert nodes.of_row == [0, 2, 0, 1] and nodes.prompt == [0, 1, 0]
    fed, sources = nodes.grow([5, 5, 6, 5])
    assert (fed, sources) == ([5, 5, 5, 6], [0])
    assert nodes.of_row == [0, 2, 3, 1]
    assert nodes.keep([1, 2]) == ([0, 1], [2, 3])  # slots 0 and 1 are free: filled from the end
    assert nodes.of_row == [0, 1] and nodes.prompt == [0, 0]
    assert nodes.keep([0, 1]) == ([], [])


def tokens_of(*answers: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, answers))
    ids = torch.tensor([[ord(c) for c in a.ljust(width, "\0")] for a in answers])
    return ids, (ids > 0).float()


def test_a_plan_holds_every_prefix_once():
    prompts = Prompts.pad([[1, 2], [3]], 0, CPU)
    answers = ("abcd", "abce", "abcd", "xbc", "abcd", "a")
    group = torch.tensor([0, 0, 0, 0, 1, 1])
    ids, mask = tokens_of(*answers)
    plan = Plan.of(prompts, group, ids, mask)
    pairs = zip(group.tolist(), answers, strict=True)
    inputs = {(g, a[: t + 1]) for g, a in pairs for t in range(len(a) - 1)}
    assert len(plan.answer_at) == len(inputs) == 8
    assert len(plan.context_at) == 2 + 8
    seen: dict[int, tuple[int, str]] = {}
    for i, (g, a) in enumerate(zip(group.tolist(), answers, strict=True)):
        for t in range(len(a)):
            context = (g, a[:t])
            assert seen.setdefault(int(plan.contexts[i, t]), context) == context
    assert len(seen) == 10


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A random model with grouped heads and norms on queries and keys, and an adapter that does
    something."""
    path = random_model("qwen3", tmp_path_factory.mktemp("models"))
    made = load_backbone(ModelSection(path=str(path), compute="float32"), CPU)
    made.create_adapter("a", 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in made.adapter("a").values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return made


def few_letters(backbone: Backbone, prompts: list[str], group: list[int], width: int) -> Rollout:
    """Answers from an alphabet of two, so that prefixes agree often."""
    padded = Prompts.pad([backbone.text.encode(p) for p in prompts], backbone.text.pad, CPU)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(40, 42, (len(group), width), generator=generator)
    lengths = torch.randint(1, width + 1, (len(group), 1), generator=generator)
    mask = (torch.arange(width) < lengths).float()
    mask[0] = 1
    ended = torch.ones(len(group), dtype=torch.bool)
    return Rollout(padded, torch.tensor(group), tokens, mask, mask * 0, ended, 0)


def test_log_probs_and_gradients_are_those_of_each_row_alone(backbone: Backbone):
    rollout = few_letters(backbone, ["12+7=", "x"], [0, 1, 0, 0, 1, 0, 1, 0], 7)
    states, at = contexts(backbone, "a", rollout)
    assert len(states) < rollout.mask.sum() and at.shape == rollout.mask.shape
    push = torch.linspace(-1, 1, rollout.mask.numel()).view_as(rollout.mask)
    tensors = list(backbone.adapter("a").values())
    together, entropy = score(backbone, "a", rollout, 0.9)
    whole = torch.autograd.grad((together * push).sum(), tensors)
    summed = [torch.zeros_like(t) for t in tensors]
    for i in range(len(rollout.group)):
        piece, width = part(rollout, torch.tensor([i]))
        alone, its = score(backbone, "a", piece, 0.9)
        torch.testing.assert_close(alone[0], together[i, :width], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(its[0], entropy[i, :width], rtol=1e-4, atol=1e-5)
        grads = torch.autograd.grad((alone * push[i, :width]).sum(), tensors)
        for total, grad in zip(summed, grads, strict=True):
            total += grad
    for mine, theirs in zip(whole, summed, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("long", [1, 1000])
def test_sampling_gives_each_row_what_it_would_get_alone(long, backbone: Backbone, monkeypatch):
    """With prompts kept once for all and with prompts copied, unequal ones, rows in any order."""
    monkeypatch.setattr(cache_module, "LONG", long)
    padded = Prompts.pad(
        [backbone.text.encode(p) for p in ("12+34=", "(4+5)*7=", "x")], backbone.text.pad, CPU
    )
    group = torch.tensor([2, 0, 1, 0, 2, 0, 1])
    rollout = sample(
        backbone, "a", padded, group, max_tokens=24, temperature=0.3, top_p=1.0,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    logp, _ = score(backbone, "a", rollout, 0.3)
    torch.testing.assert_close(logp.detach(), rollout.logp, rtol=1e-4, atol=1e-4)
    greedy = torch.ones(3, dtype=torch.bool)
    for rows in ([0, 1, 2], [2, 2, 1]):
        best = sample(
            backbone, "a", padded, torch.tensor(rows), max_tokens=9, temperature=1.0, top_p=1.0,
            generator=torch.Generator().manual_seed(1), greedy=greedy,
        )  # fmt: skip
        if rows[0] == rows[1]:
            assert torch.equal(best.tokens[0], best.tokens[1])
            assert torch.equal(best.logp[0], best.logp[1])


def test_the_second_token_follows_the_softmax_too(backbone: Backbone):
    """Chi-square over pairs of tokens: rows that share a node draw independently."""
    count = 20000
    prompt = Prompts.pad([backbone.text.encode("12+")], backbone.text.pad, CPU)
    one = torch.zeros(count, dtype=torch.long)
    rollout = sample(
        backbone, BASE, prompt, one, max_tokens=2, temperature=2.0, top_p=1.0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    _, logits = backbone.decode(BASE, prompt, one[:1], 2)
    start = (logits[0] / 2).softmax(-1)
    likely = start.topk(4).indices
    end = next(iter(backbone.text.eos))
    for token in likely.tolist():
        if token == end:
            continue
        session, _ = backbone.decode(BASE, prompt, one[:1], 2)
        then = (session.step(torch.tensor([token]))[0] / 2).softmax(-1).double()
        rows = rollout.tokens[:, 0] == token
        seen = torch.bincount(rollout.tokens[rows, 1], minlength=len(then)).double()
        wanted = then * rows.sum()
        big = wanted >= 5
        chi = ((seen - wanted)[big] ** 2 / wanted[big]).sum().item()
        freedom = int(big.sum())
        assert chi < freedom + 4.5 * (2 * freedom) ** 0.5 + 10, token


def test_moves_of_rows_have_derivatives_of_any_order():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, dtype=torch.float64, generator=g, requires_grad=True)
    several, once = torch.tensor([2, 0, 2, 3, 2]), torch.tensor([3, 0, 5, 1])
    for move in (
        lambda x: gather(x, several) ** 3,
        lambda x: pick(x, once[:2]) ** 3,
        lambda x: place(x, once, 7) ** 3,
    ):
        assert torch.autograd.gradcheck(move, (x,)) and torch.autograd.gradgradcheck(move, (x,))
    torch.testing.assert_close(gather(x, several), F.embedding(several, x))


def test_groups_and_orders_do_not_matter_to_the_slots():
    for order in itertools.permutations([0, 0, 1]):
        nodes = Nodes(list(order))
        nodes.grow([1, 2, 1])
        held = {(nodes.prompt[s], t) for s, t in zip(nodes.of_row, [1, 2, 1], strict=True)}
        assert len(nodes) == len(held)
