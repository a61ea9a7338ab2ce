"""Tiny scenarios and small random models for tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from grpolab import events as ev
from grpolab.engine.lab import Lab
from grpolab.resources import assets_dir
from grpolab.scenario import Scenario, build

POLICY = assets_dir() / "policy"

TINY: dict[str, Any] = {
    "name": "tiny",
    "task": "slots",
    "algorithm": "grpo",
    "rollout": {"prompts": 3, "group_size": 4, "max_tokens": 24},
    "train": {"steps": 4, "updates_per_rollout": 2, "microbatch": 4, "checkpoint_every": 2},
    "evaluate": {"every": 2, "prompts": 6},
}


def tiny(**changes: Any) -> Scenario:
    """The tiny scenario with sections replaced key by key."""
    data = {k: dict(v) if isinstance(v, dict) else v for k, v in TINY.items()}
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(data.get(key), dict) else value
    if "lanes" in changes:
        del data["algorithm"]
    return build(data)


OpenLab = Callable[..., tuple[Lab, list[ev.Event]]]


@pytest.fixture
def open_lab(tmp_path: Path) -> OpenLab:
    """Make and open a lab in this process; its events gather in a list."""

    def make(plan: Scenario | None = None, *, threads: int = 1, folder: Path | None = None):
        seen: list[ev.Event] = []
        lab = Lab(plan or tiny(), folder or tmp_path, seen.append, torch.device("cpu"), threads)
        lab.open()
        return lab, seen

    return make


def random_model(kind: str, folder: Path) -> Path:
    """A small random model of an architecture, with a character tokenizer, saved as transformers
    saves it."""
    import transformers as tf

    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "<eos>": 1} | {chr(c): c - 30 for c in range(32, 127)}
    sizes: dict[str, Any] = {
        "vocab_size": len(vocabulary), "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None,
    }  # fmt: skip
    llama_like = sizes | {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 128,
    }  # fmt: skip
    made: dict[str, Callable[[], Any]] = {
        "llama": lambda: tf.LlamaForCausalLM(
            tf.LlamaConfig(**llama_like, tie_word_embeddings=False)
        ),
        "mistral": lambda: tf.MistralForCausalLM(
            tf.MistralConfig(**llama_like, sliding_window=None)
        ),
        "qwen2": lambda: tf.Qwen2ForCausalLM(
            tf.Qwen2Config(**llama_like, tie_word_embeddings=True)
        ),
        "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**llama_like, head_dim=16)),
        "gpt2": lambda: tf.GPT2LMHeadModel(
            tf.GPT2Config(**sizes, n_embd=32, n_layer=2, n_head=4, n_positions=128)
        ),
    }
    model = made[kind]()
    with torch.no_grad():  # biases and norms start at 0 and 1: give each a say
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.2)
            elif "embed" not in name:
                p.mul_(4)
    path = folder / kind
    model.save_pretrained(path)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>"
    )
    fast.save_pretrained(path)
    return path
