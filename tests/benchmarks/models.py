"""Model folders that both sides load: Qwen2.5 shapes with random weights, and the embedded policy
without an end, so that every answer has all its tokens."""

from __future__ import annotations

import json
import random
import shutil
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpolab.rewards import Reward
from grpolab.rewards.base import RewardOptions
from grpolab.tasks import Grade, Prompt, Task, TaskOptions

END = "<never>"
"""A token whose id is just past the embedding: it ends an answer and is never sampled."""

PAD = "<pad>"

SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151936,
             "tie_word_embeddings": True},
    "1.5b": {"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936,
             "tie_word_embeddings": True},
    "7b": {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
           "tie_word_embeddings": False},
    # to try the command out, on a CPU too
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 2048,
             "tie_word_embeddings": True},
}  # fmt: skip

POSITIONS = 2048


def random_model(name: str, folder: Path, device: str) -> Path:
    """The folder of a Qwen2 model of this shape, in bf16, made if it is not there yet. Drawn on
    `device`, which for billions of parameters should be a GPU."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    path = folder / name
    if (path / "done").exists():
        return path
    shape = SHAPES[name]
    config = Qwen2Config(
        **shape, max_position_embeddings=POSITIONS, eos_token_id=shape["vocab_size"],
        pad_token_id=0, bos_token_id=None, initializer_range=0.02,
    )  # fmt: skip
    with torch.device("meta"):
        model: Any = Qwen2ForCausalLM(config)
    model = model.to(torch.bfloat16).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() > 1:
                p.normal_(0, 0.02, generator=generator)
            else:
                p.fill_(1.0 if key.endswith("norm.weight") else 0.0)
    if shape["tie_word_embeddings"]:
        model.tie_weights()
    model.generation_config.eos_token_id = shape["vocab_size"]
    model.generation_config.pad_token_id = 0
    model.save_pretrained(path)
    _tokenizer(shape["vocab_size"]).save_pretrained(path)
    (path / "done").write_text("")
    return path


def _tokenizer(vocabulary: int) -> Any:
    """Bytes, each a token, as transformers' Qwen2 tokenizer splits them; the other ids are words
    with their number in it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = [PAD, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    known += [f"w{i}" for i in range(len(known), vocabulary)]
    words = Tokenizer(models.BPE({word: i for i, word in enumerate(known)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=END, pad_token=PAD, unk_token=PAD, padding_side="left",
        model_max_length=POSITIONS, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def endless(source: Path, target: Path) -> Path:
    """A copy of a model folder in which no token ends an answer."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    end = config["vocab_size"]
    for name in ("config.json", "generation_config.json"):
        _change(target / name, eos_token_id=end)
    _change(target / "tokenizer_config.json", eos_token=END)
    words = json.loads((target / "tokenizer.json").read_text())
    token = words["added_tokens"][0] | {"id": end, "content": END, "special": True}
    _change(target / "tokenizer.json", added_tokens=[*words["added_tokens"], token])
    return target


def _change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class Given(Task):
    """Another task's grader on prompts that are given: step after step, in their order, the same
    for both sides."""

    name = "given"
    description = "prompts from a list, over and over"
    Options = TaskOptions

    def __init__(self, inner: Task | None, prompts: Sequence[Prompt]) -> None:
        super().__init__()
        self.inner, self.prompts, self.at = inner, list(prompts), 0

    def propose(self, rng: random.Random) -> Prompt:
        prompt = self.prompts[self.at % len(self.prompts)]
        self.at += 1
        return prompt

    def draw(self, rng: random.Random, *, held_out: bool) -> Prompt:
        return self.propose(rng)

    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        if self.inner is None:
            return Grade(0.0, False, "")
        return self.inner.grade(prompt, answer)


class Sevens(Reward):
    """A reward that tells the babble of random models apart: how often there is a seven."""

    name = "format"  # among the metrics that a step may have
    description = "share of sevens"
    Options = RewardOptions

    def score(self, prompt: Any, completion: Any, grade: Any, steps: Any) -> float:
        return completion.text.count("7") / max(len(completion.text), 1)


def text_prompts(count: int, shortest: int, longest: int) -> list[Prompt]:
    """Prompts of that many random letters, each a token; the first is as long as any."""
    rng, found = random.Random(0), list[Prompt]()
    for i in range(count):
        length = rng.randint(shortest, longest) if i else longest
        text = "".join(rng.choices(string.ascii_lowercase, k=length))
        found.append(Prompt("given", text, f"given {i}", {}, "medium"))
    return found
