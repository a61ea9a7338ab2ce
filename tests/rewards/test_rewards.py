"""Taking completions apart, and summing rewards."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grpolab.rewards import REWARDS, Reward, grade, parse_completion
from grpolab.rewards.accuracy import Accuracy, AccuracyOptions
from grpolab.rewards.format import Format, FormatOptions
from grpolab.rewards.process import Process, ProcessOptions
from grpolab.tasks import Prompt
from grpolab.tasks.slots import Slots
from grpolab.tasks.sums import Sums

PROMPT = Prompt("sums", "(47+38)*6=", "", {"value": 510}, "easy")
WEIGHTED: list[tuple[Reward, float]] = [(Accuracy(), 1.0), (Format(), 0.2)]
RIGHT = "<think>47+38=85\n85*6=510</think><answer>510</answer>"


@pytest.mark.parametrize(
    ("text", "thought", "answer", "well_formed"),
    [
        (RIGHT, "47+38=85\n85*6=510", "510", True),
        ("<think></think><answer></answer>", "", "", True),
        (RIGHT + " ok", "47+38=85\n85*6=510", "510", False),
        (" " + RIGHT, "47+38=85\n85*6=510", "510", False),
        ("<think>1</think>\n<answer>2</answer>", "1", "2", False),
        ("1</think><answer>2</answer>", None, "2", False),
        ("<think>1<answer>2</answer>", None, "2", False),
        ("<think>1</think><answer>2</answer><answer>3</answer>", "1", "3", False),
        ("<think>1</think><answer>2</answer><answer>3", "1", None, False),
        ("<think>1</think><answer>2", "1", None, False),
        ("<think>1</think>2</answer>", "1", None, False),
        ("<answer>2</answer><think>1</think>", "1", "2", False),
        ("<think><answer>2</answer></think>", "<answer>2</answer>", "2", False),
        ("", None, None, False),
    ],
)
def test_parse(text: str, thought: str | None, answer: str | None, well_formed: bool) -> None:
    parsed = parse_completion(text)
    assert (parsed.text, parsed.thought, parsed.answer) == (text, thought, answer)
    assert parsed.well_formed is well_formed
    for part, at in ((parsed.thought, parsed.thought_at), (parsed.answer, parsed.answer_at)):
        assert (at is None) == (part is None)
        assert part is None or text[at:].startswith(part)
    if answer is not None:
        assert parsed.answer_at == text.rindex("<answer>") + 8


def test_the_table_uses_each_rewards_own_name_and_weight() -> None:
    assert {name: reward.name for name, reward in REWARDS.items()} == {n: n for n in REWARDS}
    assert AccuracyOptions().weight == ProcessOptions().weight == 1.0
    assert FormatOptions().weight == 0.2
    with pytest.raises(ValidationError):
        FormatOptions.model_validate({"wieght": 1.0})


def test_the_reward_is_the_sum_of_its_weighted_parts() -> None:
    graded = grade(Sums(), WEIGHTED, PROMPT, RIGHT)
    assert graded.parts == {"accuracy": 1.0, "format": 0.2} and graded.reward == 1.2
    assert graded.correct and graded.answer == "510"
    wrong = grade(Sums(), WEIGHTED, PROMPT, RIGHT.replace("510</a", "511</a"))
    assert wrong.parts == {"accuracy": 0.0, "format": 0.2} and not wrong.correct
    assert wrong.detail == "511, not 510"
    broken = grade(Sums(), WEIGHTED, PROMPT, RIGHT + "!")
    assert broken.parts == {"accuracy": 1.0, "format": 0.0} and broken.correct


def test_parts_of_a_task_give_a_fraction_of_the_weight() -> None:
    prompt = Prompt("slots", "1+1; 2+2=", "", {"values": [2, 4]}, "easy")
    text = "<think></think><answer>2; 5</answer>"
    graded = grade(Slots(), [(Accuracy(), 2.0), (Format(), 0.5)], prompt, text)
    assert graded.parts == {"accuracy": 1.0, "format": 0.5} and graded.reward == 1.5
    assert not graded.correct


def test_process_is_the_mean_of_the_steps() -> None:
    weighted: list[tuple[Reward, float]] = [(Process(), 2.0), (Accuracy(), 1.0)]
    assert grade(Sums(), weighted, PROMPT, RIGHT).parts == {"process": 2.0, "accuracy": 1.0}
    slip = RIGHT.replace("85*6=510", "85*6=500")
    assert grade(Sums(), weighted, PROMPT, slip).parts == {"process": 1.0, "accuracy": 1.0}
    assert grade(Sums(), weighted, PROMPT, "510").parts == {"process": 0.0, "accuracy": 0.0}


def test_steps_are_graded_whatever_the_rewards() -> None:
    graded = grade(Sums(), [], PROMPT, RIGHT)
    assert [(RIGHT[: step.end], step.score) for step in graded.steps] == [
        ("<think>47+38=85", 1.0),
        ("<think>47+38=85\n85*6=510", 1.0),
    ]


def test_no_rewards_is_a_reward_of_zero() -> None:
    graded = grade(Sums(), [], PROMPT, RIGHT)
    assert graded.reward == 0 and graded.parts == {} and graded.correct


tags = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "5", "510", "\n", "\0"])


@given(st.one_of(st.text(), st.lists(tags).map("".join)))
def test_any_text_is_graded(text: str) -> None:
    graded = grade(Sums(), WEIGHTED, PROMPT, text)
    assert graded.reward == sum(graded.parts.values())
    assert 0.0 <= graded.reward <= 1.2


@pytest.mark.parametrize("piece", ["<answer>", "</answer>", "<think>", "<", "\0", "("])
def test_long_text_is_graded_at_once(piece: str) -> None:
    began = time.process_time()
    grade(Sums(), WEIGHTED, PROMPT, piece * (100_000 // len(piece)))
    assert time.process_time() - began < 0.25
