"""The user's own question, put to the current policy, to its reference and to the initial policy.

Done between two steps with random numbers of its own: nothing that a later step depends on changes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from grpolab import rewards
from grpolab.engine.backbone.base import BASE, ModelError, Prompts
from grpolab.engine.backbone.sample import sample
from grpolab.engine.lane import Lane
from grpolab.engine.record import row_ids
from grpolab.engine.seeds import torch_generator
from grpolab.record import events as ev
from grpolab.scenario.spec import ChatCue
from grpolab.tasks import Prompt

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def chat(lab: Lab, lane: Lane, cue: ChatCue) -> ev.Chatted:
    """Answers to `cue.text`, graded where the task can parse it as one of its own questions.

    All policies use the same random numbers: where they agree, their answers are the same. The
    reference is skipped where it is the initial policy. Raises ValueError for a question that does
    not fit into the model's positions or that its tokens cannot spell.
    """
    start = time.perf_counter()
    prompt, note = _read(lab, cue.text)
    text = cue.text if prompt is None else prompt.text
    note = _lost(lab, text) or note
    policies: dict[str, str | None] = {"now": lane.adapter}
    if lane.snapshots.reference != BASE:
        policies["reference"] = lane.snapshots.reference
    policies["start"] = BASE
    lab.emit(ev.PhaseChanged("sampling", lab.step_number, lane.name, "chat"))
    answers: list[ev.ChatAnswer] = []
    with lab.memory.phase("evaluate", lane.doing):
        for name, adapter in policies.items():
            answers += _ask(lab, lane, cue, name, adapter, text, prompt)
    return ev.Chatted(
        step=lab.step_number,
        lane=lane.name,
        algorithm=lane.algorithm.name,
        asked=cue.text,
        prompt=text,
        temperature=lane.rollout.temperature,
        graded=prompt is not None,
        note=note,
        seconds=time.perf_counter() - start,
        answers=answers,
    )


def _read(lab: Lab, text: str) -> tuple[Prompt | None, str]:
    """The question as one of the task's prompts, or None and why it is not one; and a note."""
    try:
        prompt = lab.task.from_text(text)
    except ValueError as error:
        return None, f"not graded: {error}"
    return prompt, "" if prompt.text == text else f"asked as {prompt.text}"


def _lost(lab: Lab, text: str) -> str:
    """A note where the model has no token for some character of the question, else empty."""
    read = lab.backbone.text.decode([lab.backbone.text.encode(text)])[0]
    missing = sorted(set(text) - set(read) - {" "})
    return f"the model has no token for {' '.join(missing)}" if missing else ""


def _ask(
    lab: Lab, lane: Lane, cue: ChatCue, name: str, adapter: str | None, text: str,
    prompt: Prompt | None,
) -> list[ev.ChatAnswer]:  # fmt: skip
    """One policy's answers: the greedy one first, if asked for, then the sampled ones."""
    backbone, settings = lab.backbone, lane.rollout
    device, count = backbone.device, int(cue.greedy) + cue.samples
    ids = backbone.text.encode(text)
    if not ids:
        raise ValueError("the model's tokens cannot spell this question")
    shape = lane.model_shape
    if shape is not None and len(ids) + settings.max_tokens > shape.longest:
        raise ValueError(
            f"a question of {len(ids)} tokens and answers of {settings.max_tokens} exceed the "
            f"model's {shape.longest} positions"
        )
    backbone.prepare(adapter)
    greedy = torch.arange(count, device=device) < int(cue.greedy)
    noise = torch_generator(lane.seed, "chat", lab.step_number, cue.turn, text, device=device)
    try:
        rollout = sample(
            backbone, adapter, Prompts.pad([ids], backbone.text.pad, device),
            torch.zeros(count, dtype=torch.long, device=device), max_tokens=settings.max_tokens,
            temperature=settings.temperature, top_p=settings.top_p, generator=noise, greedy=greedy,
        )  # fmt: skip
    except ModelError as error:
        raise ValueError(str(error)) from None
    rows = row_ids(rollout)
    answers = [
        ev.ChatAnswer(policy=name, text=answer, greedy=wanted, tokens=len(row), finished=finished)
        for row, answer, wanted, finished in zip(
            rows,
            backbone.text.decode(rows),
            greedy.tolist(),
            rollout.finished.tolist(),
            strict=True,
        )
    ]
    return answers if prompt is None else [_graded(lab, prompt, a) for a in answers]


def _graded(lab: Lab, prompt: Prompt, answer: ev.ChatAnswer) -> ev.ChatAnswer:
    found = rewards.grade(lab.task, lab.parts, prompt, answer.text)
    return replace(
        answer, reward=found.reward, correct=found.correct, answer=found.answer, detail=found.detail
    )
