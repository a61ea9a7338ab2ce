"""How good a policy is on prompts that neither pretraining nor RL ever draws."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from grpolab.rewards import Graded, Reward, grade
from grpolab.rewards.accuracy import Accuracy
from grpolab.rewards.format import Format
from grpolab.tasks import TASKS, Prompt, Task

MAX_TOKENS = 128
SEED = 20_000


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
    prompts: int = 1024,
    samples: int = 8,
    device: torch.device | str = "cpu",
    tasks: Sequence[str] = tuple(TASKS),
    seed: int = SEED,
) -> dict[str, Any]:
    """Figures of the policy in `folder` for each task with its default options (JSON-able).

    Accuracy is over `prompts` held-out prompts times `samples` answers at temperature 1; a prompt
    passes if any of its answers is right.
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
        "seed": seed,
        "tasks": {},
    }
    rewards: list[tuple[Reward, float]] = [(Accuracy(), 1.0), (Format(), 0.2)]
    for name in tasks:
        task = TASKS[name]()
        questions = held_out(task, prompts, seed)
        repeated = [question for question in questions for _ in range(samples)]
        sampled = answers(model, tokenizer, repeated, greedy=False)
        best = answers(model, tokenizer, questions, greedy=True)
        figures["tasks"][name] = _figures(
            [
                grade(task, rewards, question, text)
                for question, (text, _) in zip(repeated, sampled, strict=True)
            ],
            [
                grade(task, rewards, question, text)
                for question, (text, _) in zip(questions, best, strict=True)
            ],
            questions,
            samples,
            [length for _, length in sampled],
        )
        figures["tasks"][name]["examples"] = [
            question.text + text for question, (text, _) in zip(repeated, sampled, strict=True)
        ][: 4 * samples : samples]
    return figures


def _figures(
    sampled: list[Graded],
    greedy: list[Graded],
    questions: list[Prompt],
    samples: int,
    lengths: list[int],
) -> dict[str, Any]:
    by_difficulty: dict[str, list[bool]] = defaultdict(list)
    for index, verdict in enumerate(sampled):
        by_difficulty[questions[index // samples].difficulty].append(verdict.correct)
    passed = [
        any(verdict.correct for verdict in sampled[start : start + samples])
        for start in range(0, len(sampled), samples)
    ]
    return {
        "accuracy": _mean([verdict.correct for verdict in sampled]),
        "greedy_accuracy": _mean([verdict.correct for verdict in greedy]),
        f"pass_at_{samples}": _mean(passed),
        "score": _mean([verdict.parts["accuracy"] for verdict in sampled]),
        "format_rate": _mean([verdict.parts["format"] > 0 for verdict in sampled]),
        "greedy_format_rate": _mean([verdict.parts["format"] > 0 for verdict in greedy]),
        "mean_length": _mean(lengths),
        "max_length": max(lengths),
        "accuracy_by_difficulty": {
            level: _mean(by_difficulty[level]) for level in sorted(by_difficulty)
        },
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
