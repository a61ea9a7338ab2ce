"""Tiny scenarios and small random models for tests of the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from grpolab.engine.lab import Lab
from grpolab.engine.lane import Lane
from grpolab.engine.memory.account import Memory
from grpolab.record import events as ev
from grpolab.resources import assets_dir
from grpolab.rewards import Reward
from grpolab.rewards.base import RewardOptions
from grpolab.scenario.spec import Scenario, build

POLICY = assets_dir() / "policy"

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"compute": "float32"},  # the same on every machine
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


TRPO = {"name": "trpo", "cg_steps": 2, "backtracks": 3}
"""In a fraction of the time."""

OpenLab = Callable[..., tuple[Lab, list[ev.Event]]]


@pytest.fixture(autouse=True)
def _uncounted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """To count every tensor takes a third of a small step and changes no result (test_memory.py):
    where slow tests are left out, only modules that say COUNTED count."""
    quick = "not slow" in request.config.option.markexpr
    if quick and not getattr(request.module, "COUNTED", False):
        monkeypatch.setattr(Memory, "_wants", lambda self, name, of: False)


@pytest.fixture
def open_lab(tmp_path: Path) -> OpenLab:
    """Open a lab in this process; its events are collected in a list."""

    def make(plan: Scenario | None = None, *, threads: int = 1, folder: Path | None = None):
        seen: list[ev.Event] = []
        lab = Lab(plan or tiny(), folder or tmp_path, seen.append, torch.device("cpu"), threads)
        return lab, seen

    return make


class EveryText(Reward):
    """A reward that tells the babble of random models apart: how many letters it has."""

    name = "format"  # among the metrics that a step may have
    description = "share of letters"
    Options = RewardOptions

    def score(self, prompt: Any, completion: Any, grade: Any, steps: Any) -> float:
        text = completion.text
        return sum(c.isalpha() for c in text) / max(len(text), 1)


SMALL: dict[str, Any] = {
    "rollout": {"prompts": 2, "group_size": 4, "max_tokens": 12},
    "train": {"updates_per_rollout": 2, "microbatch": 3, "learning_rate": 0.02, "warmup_updates": 0}
    | {"max_grad_norm": 1.0, "schedule": "constant"},
    "evaluate": {"every": 100, "prompts": 1},
    "record": {"stream": False},
}


def small(path: Path, **changes: Any) -> Scenario:
    """A scenario on a model of `random_model`, with steps of milliseconds that move it visibly."""
    sections: dict[str, Any] = SMALL | {"model": {"path": str(path), "lora": {"rank": 2}}}
    for key, value in changes.items():
        merged = isinstance(value, dict) and isinstance(sections.get(key), dict)
        sections = sections | {key: sections[key] | value if merged else value}
    return tiny(**sections)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a random model, made once for all tests."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = random_model(kind, tmp_path_factory.mktemp("models"))
        return made[kind]

    return folder


@pytest.fixture
def open_small(open_lab: OpenLab, model: Callable[[str], Path]) -> OpenLab:
    """`open_lab` for `small`: an algorithm by name or section, on a random Llama, graded by
    `EveryText`."""

    def make(algorithm: Any = None, *, kind: str = "llama", threads: int = 1, **how: Any):
        folder = how.pop("folder", None)
        if algorithm is not None:
            how["algorithm"] = algorithm
        lab, seen = open_lab(small(model(kind), **how), threads=threads, folder=folder)
        lab.parts = [(EveryText(), 1.0)]
        return lab, seen

    return make


def finish(lab: Lab) -> str:
    """Run a lab to its end, as the host does; its digest."""
    from grpolab.engine import lab_checkpoint

    if lab.step_number == 0:
        lab.evaluate()
    while True:
        lab.apply_cues()
        if lab.step_number >= lab.plan.train.steps:
            return lab_checkpoint.digest(lab)
        lab.advance()


def only(events: list[ev.Event], kind: type) -> list:
    return [e for e in events if isinstance(e, kind)]


def bytes_of(tensors: dict[str, torch.Tensor]) -> str:
    h = hashlib.sha256()
    for name, t in sorted(tensors.items()):
        h.update(name.encode() + t.detach().contiguous().numpy().tobytes())
    return h.hexdigest()


def state_of(lane: Lane) -> dict[str, str]:
    """Digests of whatever a lane has: policy, moments, critic, reference and snapshot."""
    backbone, critic = lane.backbone, lane.critic
    found = {"policy": bytes_of(lane.optimizer.tensors)}
    found["moments"] = bytes_of(lane.optimizer.state("x"))
    if critic is not None:
        found["critic"] = bytes_of(critic.tensors())
        found["critic moments"] = bytes_of(critic.optimizer.state("x"))
    for name in lane.snapshots.names():
        found[name] = bytes_of(backbone.adapter(name))
    return found


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip


def random_model(kind: str, folder: Path, *, wide: bool = False) -> Path:
    """A small random model of an architecture, with a character tokenizer, saved as transformers
    saves it. `wide`: with heads of 32, as the kernels on a GPU want them."""
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
    if wide:
        llama_like |= {"hidden_size": 128, "intermediate_size": 192}
    made: dict[str, Callable[[], Any]] = {
        "llama": lambda: tf.LlamaForCausalLM(
            tf.LlamaConfig(**llama_like, tie_word_embeddings=False)
        ),
        "llama3": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**llama_like, rope_parameters=LLAMA3)),
        "mistral": lambda: tf.MistralForCausalLM(
            tf.MistralConfig(**llama_like, sliding_window=None)
        ),
        "qwen2": lambda: tf.Qwen2ForCausalLM(
            tf.Qwen2Config(**llama_like, tie_word_embeddings=True)
        ),
        "qwen3": lambda: tf.Qwen3ForCausalLM(
            tf.Qwen3Config(**llama_like, head_dim=32 if wide else 16)
        ),
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
