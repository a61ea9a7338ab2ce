"""How good a policy is on prompts that neither pretraining nor RL ever draws."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from grpolab.pretrain.corpus import encode
from grpolab.rewards import Graded, Reward, grade
from grpolab.rewards.accuracy import Accuracy
from grpolab.rewards.format import Format
from grpolab.rewards.parse import parse_completion
from grpolab.tasks import TASKS, Prompt, Task
from grpolab.tasks.words import is_mixed, languages_in

MAX_TOKENS = 128
SEED = 20_000
PASS_AT = (8, 64)
CHINESE = 0.5
"""Share of the prompts that ask in Chinese."""


def held_out(task: Task, count: int, seed: int = SEED) -> list[Prompt]:
    """`count` held-out prompts as the task draws them; a prompt may come twice."""
    rng = random.Random(f"{seed} {task.name}")
    return [task.draw(rng, held_out=True) for _ in range(count)]


@torch.inference_mode()
def answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    greedy: bool,
    batch: int = 8192,
) -> list[tuple[str, int]]:
    """One completion for each prompt, at temperature 1 unless greedy, and its length in tokens.

    The length counts the eos; a completion that never ends has MAX_TOKENS.
    """
    # equal lengths side by side, so that a batch is as short as its longest answer
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].text))
    done: dict[int, tuple[str, int]] = {}
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        inputs = tokenizer([prompts[index].text for index in some], padding=True)
        ids = torch.tensor(inputs["input_ids"], device=model.device)
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.tensor(inputs["attention_mask"], device=model.device),
            max_new_tokens=MAX_TOKENS,
            do_sample=not greedy,
            **({} if greedy else {"temperature": 1.0, "top_k": 0, "top_p": 1.0}),
        )
        completions = output[:, ids.size(1) :]
        lengths = (completions != tokenizer.pad_token_id).sum(1).tolist()
        texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
        done.update(zip(some, zip(texts, lengths, strict=True), strict=True))
    return [done[index] for index in range(len(prompts))]


def evaluate(
    folder: Path,
    *,
    prompts: int = 512,
    samples: int = 64,
    device: torch.device | str = "cpu",
    tasks: Sequence[str] = tuple(TASKS),
    seed: int = SEED,
) -> dict[str, Any]:
    """Figures of the policy in `folder` for each task with its default options, half of the prompts
    in Chinese (JSON-able).

    Accuracy is over `prompts` held-out prompts times `samples` answers at temperature 1. pass@k is
    the chance that k answers to a prompt hold a right one, unbiased (arXiv 2107.03374, eq. 1); it
    is left out where k exceeds `samples`. Thoughts are counted in tokens; a thought is mixed if it
    has a word of the language that its prompt does not ask in.
    """
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # Any: what transformers says of its models' generate and to is not what they take
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to(device).eval()
    figures: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "prompts": prompts,
        "samples": samples,
        "temperature": 1.0,
        "max_tokens": MAX_TOKENS,
        "chinese": CHINESE,
        "seed": seed,
        "tasks": {},
    }
    rewards: list[tuple[Reward, float]] = [(Accuracy(), 1.0), (Format(), 0.2)]
    for name in tasks:
        task = TASKS[name](TASKS[name].Options.model_validate({"chinese": CHINESE}))
        questions = held_out(task, prompts, seed)
        repeated = [question for question in questions for _ in range(samples)]
        sampled = answers(model, tokenizer, repeated, greedy=False)
        best = answers(model, tokenizer, questions, greedy=True)
        figures["tasks"][name] = _figures(
            questions,
            [
                _Answer(grade(task, rewards, question, text), question, text, length)
                for question, (text, length) in zip(repeated, sampled, strict=True)
            ],
            [
                _Answer(grade(task, rewards, question, text), question, text, length)
                for question, (text, length) in zip(questions, best, strict=True)
            ],
        )
        figures["tasks"][name]["examples"] = [
            question.text + text for question, (text, _) in zip(repeated, sampled, strict=True)
        ][: 4 * samples : samples]
    return figures


@dataclass(frozen=True, slots=True)
class _Answer:
    graded: Graded
    prompt: Prompt
    text: str
    length: int

    @property
    def thought(self) -> str:
        return parse_completion(self.text).thought or ""


def _figures(
    questions: list[Prompt], sampled: list[_Answer], greedy: list[_Answer]
) -> dict[str, Any]:
    samples = len(sampled) // len(questions)
    by_difficulty: dict[str, list[bool]] = defaultdict(list)
    for answer in sampled:
        by_difficulty[answer.prompt.difficulty].append(answer.graded.correct)
    right = [
        sum(answer.graded.correct for answer in sampled[start : start + samples])
        for start in range(0, len(sampled), samples)
    ]
    worded = [answer for answer in sampled if languages_in(answer.thought)]
    return {
        "accuracy": _mean([answer.graded.correct for answer in sampled]),
        "greedy_accuracy": _mean([answer.graded.correct for answer in greedy]),
        **{
            f"pass_at_{k}": _mean([pass_at(k, samples, count) for count in right])
            for k in PASS_AT
            if k <= samples
        },
        "score": _mean([answer.graded.parts["accuracy"] for answer in sampled]),
        "format_rate": _mean([answer.graded.parts["format"] > 0 for answer in sampled]),
        "greedy_format_rate": _mean([answer.graded.parts["format"] > 0 for answer in greedy]),
        "mean_length": _mean([answer.length for answer in sampled]),
        "max_length": max(answer.length for answer in sampled),
        "mean_thought": _mean([len(encode(answer.thought)) for answer in sampled]),
        "words_in_thoughts": len(worded) / len(sampled),
        "mixed_thoughts": _mean([is_mixed(a.prompt.text, a.thought) for a in worded] or [False]),
        "accuracy_by_difficulty": {
            level: _mean(by_difficulty[level]) for level in sorted(by_difficulty)
        },
    }


def pass_at(k: int, samples: int, right: int) -> float:
    """The chance that k of `samples` answers, `right` of which are right, hold a right one."""
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
