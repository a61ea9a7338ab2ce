"""The recipe from nothing to a folder, at toy size, and its loss and optimizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from grpolab.pretrain.optimizer import Optimizer, orthogonal
from grpolab.pretrain.recipe import Recipe, loss_of, policy_config, run
from grpolab.tasks import TASKS


def test_the_loss_counts_completions_and_their_end_only() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(policy_config(hidden=32, layers=1))
    ids = torch.tensor([[9, 10, 11, 12, 1, 0], [9, 10, 11, 12, 13, 1]])
    starts = torch.tensor([2, 3])
    logs = functional.log_softmax(model(input_ids=ids).logits, dim=-1)
    wanted = -(
        logs[0, 1, 11] + logs[0, 2, 12] + logs[0, 3, 1]  # from the third token to the eos
        + logs[1, 2, 12] + logs[1, 3, 13] + logs[1, 4, 1]
    )  # fmt: skip
    torch.testing.assert_close(loss_of(model, ids, starts), wanted)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 24), (2, 24, 8)])
def test_orthogonal_updates_have_even_singular_values(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.3 and values.max() < 1.4


def test_the_optimizer_moves_every_parameter_and_clears_gradients() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(policy_config(hidden=32, layers=2))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = Optimizer(model, compiled=False)
    ids = torch.randint(2, 100, (4, 12))
    loss_of(model, ids, torch.zeros(4, dtype=torch.long)).backward()
    optimizer.step(1.0)
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name
        assert value.grad is None


@pytest.mark.slow
def test_a_toy_run_leaves_a_folder_that_loads(tmp_path: Path) -> None:
    toy = {"rows_per_step": 24, "workers": 0, "eval_prompts": 2, "eval_samples": 8}
    recipe = Recipe(tmp_path / "a", steps=3, hidden=32, layers=1, compiled=False, **toy)
    run(recipe)
    model = AutoModelForCausalLM.from_pretrained(recipe.out)
    assert model.config.num_hidden_layers == 1 and len(AutoTokenizer.from_pretrained(recipe.out))
    figures = json.loads((recipe.out / "evaluation.json").read_text())
    assert figures["training"]["steps"] == 3 and set(figures["tasks"]) == set(TASKS)
    card = (recipe.out / "README.md").read_text()
    assert "--seed 0 --steps 3" in card and "CPU" in card
