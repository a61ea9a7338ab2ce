"""The shipped policy is small, loads as any model does, and is as good as its figures say."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from grpolab.pretrain.card import model_card
from grpolab.pretrain.evaluate import evaluate, pass_at
from grpolab.pretrain.recipe import POSITIONS, Recipe, policy_config, schedule
from grpolab.pretrain.students import HABITS
from grpolab.pretrain.tokenizer import build_tokenizer
from grpolab.pretrain.vocabulary import SPECIAL_WORDS, TAG_IDS, TAGS, TOKENS
from grpolab.resources import assets_dir
from grpolab.tasks import TASKS

POLICY = assets_dir() / "policy"
FIGURES = json.loads((POLICY / "evaluation.json").read_text())
TOKENIZER = AutoTokenizer.from_pretrained(POLICY)

ascii_text = st.text(st.sampled_from("\n\t\r" + "".join(map(chr, range(0x20, 0x7F)))))


@given(
    st.one_of(
        ascii_text,
        st.lists(st.sampled_from([*TAGS, *SPECIAL_WORDS, "5", "<", "\n", "so", " "])).map("".join),
    )
)
def test_decoding_undoes_encoding(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert ids == build_tokenizer(POSITIONS).encode(text)


def test_tags_are_single_tokens_that_survive_decoding() -> None:
    text = "<think>1</think>\n<answer>2</answer>"
    ids = TOKENIZER.encode(text)
    assert tuple(id for id in ids if id in TAG_IDS) == TAG_IDS and len(ids) == 7
    ended = [*ids, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id]
    assert TOKENIZER.decode(ended, skip_special_tokens=True) == text
    assert TOKENIZER.decode(ended) == text + "<eos><pad>"


def test_every_word_is_one_token() -> None:
    assert [TOKENIZER.encode(word) for word in SPECIAL_WORDS] == [
        [TOKENS.index(word)] for word in SPECIAL_WORDS
    ]


def test_what_is_not_in_the_vocabulary_becomes_a_question_mark() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("é\0٣")) == "???"


def test_the_weights_are_small_and_half_precise() -> None:
    weights = POLICY / "model.safetensors"
    assert weights.stat().st_size <= 16 * 2**20
    with safe_open(weights, framework="pt") as tensors:
        shapes = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    assert {tensor.dtype for tensor in shapes.values()} == {torch.float16}
    assert sum(tensor.numel() for tensor in shapes.values()) == FIGURES["parameters"] <= 4_000_000


def test_the_policy_loads_as_a_llama_in_single_precision() -> None:
    model = AutoModelForCausalLM.from_pretrained(POLICY)
    assert isinstance(model, LlamaForCausalLM) and model.dtype == torch.float32
    config, recipe = model.config, policy_config()
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"):
        assert getattr(config, name) == getattr(recipe, name)
    assert config.vocab_size == len(TOKENIZER) and config.max_position_embeddings == POSITIONS
    assert config.tie_word_embeddings and config.eos_token_id == TOKENIZER.eos_token_id


@pytest.mark.parametrize("name", TASKS)
def test_the_recorded_figures_leave_room_to_learn(name: str) -> None:
    task = FIGURES["tasks"][name]
    assert 0.15 <= task["greedy_accuracy"] <= 0.5 and 0.2 <= task["accuracy"] <= 0.45
    assert task["pass_at_8"] >= 0.8 and task["pass_at_64"] >= 0.95
    assert 5 <= task["mean_thought"] <= 12 and 0.6 <= task["format_rate"] <= 0.8
    assert 0.2 <= task["mixed_thoughts"] <= 0.4


def test_the_figures_are_of_this_recipe() -> None:
    training = FIGURES["training"]
    recipe = Recipe(POLICY)
    for setting in ("seed", "steps", "rows_per_step", "workers", "hidden", "layers"):
        assert training[setting] == getattr(recipe, setting)
    assert training["habits"] == json.loads(json.dumps(asdict(HABITS)))
    assert (POLICY / "README.md").read_text() == model_card(FIGURES)


@pytest.mark.parametrize(("k", "samples", "right"), [(1, 4, 1), (2, 5, 2), (3, 3, 0), (2, 4, 3)])
def test_pass_at_k_counts_the_draws(k: int, samples: int, right: int) -> None:
    draws = list(itertools.combinations(range(samples), k))
    hits = sum(any(draw < right for draw in some) for some in draws)
    assert pass_at(k, samples, right) == pytest.approx(hits / len(draws))


@pytest.mark.slow
def test_the_shipped_weights_are_what_their_figures_say() -> None:
    prompts, samples = 48, 4
    again = evaluate(POLICY, prompts=prompts, samples=samples, tasks=["sums", "slots"], seed=1)
    for name, measured in again["tasks"].items():
        recorded = FIGURES["tasks"][name]
        for figure, count in [
            # answers to one prompt are alike: count them as half
            ("accuracy", prompts * samples / 2),
            ("format_rate", prompts * samples),
            ("greedy_accuracy", prompts),
        ]:
            share = min(max(recorded[figure], 0.02), 0.98)
            noise = math.sqrt(share * (1 - share) / count)
            assert abs(measured[figure] - recorded[figure]) < 4 * noise, (name, figure)


def test_the_schedule_rises_and_ends_at_zero() -> None:
    assert schedule(0.0) == 0.0 and schedule(0.2) == 1.0 and schedule(1.0) == 0.0
    assert schedule(0.7) == pytest.approx(0.5)
