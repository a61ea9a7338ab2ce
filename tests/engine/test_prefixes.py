"""Rows that agree so far are computed once: the same numbers as each row alone, in sampling and in
learning, whatever the length of the prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from grpolab.engine.backbone.base import BASE, Backbone, Prompts
from grpolab.engine.backbone.cpu import session
from grpolab.engine.backbone.cpu.plan import Plan
from grpolab.engine.backbone.cpu.tree import Tree
from grpolab.engine.backbone.cpu.weights import SamplingWeights
from grpolab.engine.backbone.flat_ops import gather, pick, place
from grpolab.engine.backbone.load import load_backbone
from grpolab.engine.backbone.sample import Rollout, sample
from grpolab.engine.score import contexts, part, score
from grpolab.scenario.spec import ModelSection
from tests.engine.conftest import random_model

CPU = torch.device("cpu")


def test_nodes_split_where_rows_part_and_close_up_where_they_end():
    tree = Tree(np.array([0, 0, 0, 1]))
    room = np.zeros((1, 4, 1, 5, 1), np.float32)
    assert tree.node.tolist() == [0, 0, 0, 1] and tree.prompt.tolist() == [0, 1]
    assert tree.grow(np.array([7, 8, 7, 7]), room, room, 0).tolist() == [7, 8, 7]
    assert tree.node.tolist() == [0, 1, 0, 2] and tree.prompt.tolist() == [0, 0, 1]
    tree.keep(np.array([True, True, False, False]))
    assert tree.row.tolist() == [0, 1]
    assert tree.grow(np.array([5, 5]), room, room, 1).tolist() == [5, 5]  # same token, other past
    assert len(tree) == 2 and len(set(tree.slot.tolist())) == 2


@given(st.data())
def test_every_slot_holds_its_rows_whole_answer(data: st.DataObject):
    """Whatever rows say and whichever end: a row's slot has the tokens of its answer, and rows
    share one if and only if prompt and answer agree."""
    group = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=9))
    prompts = np.unique(group, return_inverse=True)[1]
    tree = Tree(prompts)
    length = 5
    keys = np.full((2, len(group), 1, length, 1), -1.0, np.float32)
    values = keys.copy()
    said: list[tuple[int, ...]] = [() for _ in group]
    for t in range(length):
        drawn = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(tree.row),
                                            max_size=len(tree.row))))  # fmt: skip
        for row, token in zip(tree.row.tolist(), drawn.tolist(), strict=True):
            said[row] += (token,)
        fed = tree.grow(drawn, keys, values, t)
        assert len(set(tree.slot.tolist())) == len(tree) == len(fed)
        for node, slot in enumerate(tree.slot.tolist()):
            keys[:, slot, 0, t], values[:, slot, 0, t] = fed[node], -fed[node]
        of_node: dict[int, tuple[int, ...]] = {}
        for row, node in zip(tree.row.tolist(), tree.node.tolist(), strict=True):
            whole = (int(prompts[row]), *said[row])
            assert of_node.setdefault(node, whole) == whole and tree.prompt[node] == whole[0]
            held = keys[1, tree.slot[node], 0, : t + 1, 0]
            assert held.tolist() == list(whole[1:])
            assert (values[0, tree.slot[node], 0, : t + 1, 0] == -held).all()
        assert len(set(of_node.values())) == len(of_node)
        stay = np.array(data.draw(st.lists(st.booleans(), min_size=len(tree.row),
                                           max_size=len(tree.row))))  # fmt: skip
        if not stay.any():
            return
        tree.keep(stay)


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


def test_sampling_gives_each_row_what_it_would_get_alone(backbone: Backbone):
    """Unequal prompts, rows in any order."""
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


@pytest.mark.parametrize("read", [1, 4, 7])
def test_long_prompts_are_read_in_pieces(backbone: Backbone, read: int, monkeypatch):
    """To the bit what they give at once, wherever the pieces end."""
    words = ("12+34=", "(4+5)*7=", "x", "8*8=")
    padded = Prompts.pad([backbone.text.encode(p) for p in words], backbone.text.pad, CPU)

    def sampled() -> Rollout:
        return sample(
            backbone, "a", padded, torch.tensor([0, 3, 1, 2, 1]), max_tokens=6, temperature=1.0,
            top_p=1.0, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip

    whole = sampled()
    rooms: list[int] = []
    room = SamplingWeights.room

    def counted(self: SamplingWeights, rows: int):
        rooms.append(rows)
        return room(self, rows)

    monkeypatch.setattr(session, "READ", read)
    monkeypatch.setattr(SamplingWeights, "room", counted)
    pieces = sampled()
    assert torch.equal(pieces.tokens, whole.tokens) and torch.equal(pieces.logp, whole.logp)
    assert rooms == [read, 5]


def test_the_second_token_follows_the_softmax_too(backbone: Backbone):
    """Chi-square over pairs of tokens: rows that share a node draw independently."""
    count = 20000
    prompt = Prompts.pad([backbone.text.encode("12+")], backbone.text.pad, CPU)
    one = torch.zeros(count, dtype=torch.long)
    rollout = sample(
        backbone, BASE, prompt, one, max_tokens=2, temperature=2.0, top_p=1.0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip

    def following(tokens: list[int]) -> torch.Tensor:
        answer = torch.tensor([[*tokens, 0]])
        states, at = backbone.contexts(BASE, prompt, one[:1], answer, torch.ones_like(answer))
        return (backbone.head(states[at[0, -1]]) / 2).softmax(-1).detach().double()

    likely = following([]).topk(4).indices
    end = next(iter(backbone.text.eos))
    for token in likely.tolist():
        if token == end:
            continue
        then = following([token])
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
