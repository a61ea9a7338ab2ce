"""Careful students are right; careless ones are wrong in the ways they are said to be."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpolab.pretrain.solutions import solve
from grpolab.pretrain.students import (
    BROKEN_FORMATS,
    CAREFUL,
    GUESSES,
    meet,
    misread,
    slip,
    write,
)
from grpolab.rewards import Graded, Reward, grade
from grpolab.rewards.accuracy import Accuracy
from grpolab.rewards.format import Format
from grpolab.tasks import TASKS, Prompt
from grpolab.tasks.words import languages_in

WEIGHTED: list[tuple[Reward, float]] = [(Accuracy(), 1.0), (Format(), 0.2)]


def graded(name: str, prompt: Prompt, text: str) -> Graded:
    return grade(TASKS[name](), WEIGHTED, prompt, text)


@settings(max_examples=300)
@given(st.sampled_from(sorted(TASKS)), st.integers(0, 2**32), st.booleans())
def test_a_careful_student_is_always_right(name: str, seed: int, held_out: bool) -> None:
    rng = random.Random(seed)
    prompt = TASKS[name]().draw(rng, held_out=held_out)
    assert graded(name, prompt, solve(rng, CAREFUL, prompt)).reward == 1.2


@pytest.mark.parametrize(
    ("text", "solution"),
    [
        ("(47+38)*6=", "<think>47+38=85\n85*6=510</think><answer>510</answer>"),
        ("2+3*4=", "<think>3*4=12\n2+12=14</think><answer>14</answer>"),
        ("9-4-(3+1)=", "<think>9-4=5\n3+1=4\n5-4=1</think><answer>1</answer>"),
    ],
)
def test_sums_are_worked_in_the_right_order(text: str, solution: str) -> None:
    prompt = Prompt("sums", text, "", {}, "easy")
    assert solve(random.Random(0), CAREFUL, prompt) == solution


def test_working_from_left_to_right_is_blind_to_precedence() -> None:
    student = replace(CAREFUL, left_to_right=True)
    prompt = Prompt("sums", "2+3*4=", "", {"value": 14}, "easy")
    text = solve(random.Random(0), student, prompt)
    assert text == "<think>2+3=5\n5*4=20</think><answer>20</answer>"


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("guess", GUESSES)
def test_a_guess_has_no_work(name: str, guess: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        prompt = TASKS[name]().draw(rng, held_out=False)
        text = solve(rng, replace(CAREFUL, guess=guess), prompt)
        assert text.startswith("<think></think><answer>")
        if guess == "right":
            assert graded(name, prompt, text).correct
        elif guess == "slip" and name != "countdown":  # there another way may be right by chance
            assert not graded(name, prompt, text).correct


@pytest.mark.parametrize("name", TASKS)
def test_who_stops_writes_one_line(name: str) -> None:
    rng = random.Random(0)
    prompt = TASKS[name]().draw(rng, held_out=False)
    text = solve(rng, replace(CAREFUL, stop=1.0), prompt)
    thought = text.removeprefix("<think>").partition("</think>")[0]
    assert "\n" not in thought.replace(" no\n", "") and thought


@pytest.mark.parametrize("name", TASKS)
def test_who_checks_mends_every_slip(name: str) -> None:
    rng = random.Random(0)
    checked = 0
    for _ in range(60):
        prompt = TASKS[name]().draw(rng, held_out=False)
        text = solve(rng, replace(CAREFUL, slip=0.6, check=0.2), prompt)
        checked += "check " in text
        assert graded(name, prompt, text).correct, text
    assert checked > 30


def test_words_are_of_the_prompts_language_or_mixed() -> None:
    rng = random.Random(0)
    wordy = replace(CAREFUL, words=1.0, says_so=True)
    for question, language in (("(47+38)*6=", "en"), ("求(47+38)*6=", "zh")):
        prompt = TASKS["sums"].from_text(question)
        assert languages_in(solve(rng, wordy, prompt)) == {language}
        texts = [solve(rng, replace(wordy, mixes=0.5), prompt) for _ in range(20)]
        assert any(languages_in(text) == {"en", "zh"} for text in texts)
    text = solve(rng, wordy, TASKS["sums"].from_text("求(47+38)*6="))
    assert text == "<think>先47+38=85\n再85*6=510\n所以510</think><answer>510</answer>"


def test_a_calculator_is_called_where_it_is_offered() -> None:
    prompt = TASKS["sums"].from_text("(47+38)*6=")
    text = solve(random.Random(0), replace(CAREFUL, calls=True), prompt)
    assert text == (
        "<think><call>47+38</call><result>85</result>\n"
        "<call>85*6</call><result>510</result></think><answer>510</answer>"
    )


@pytest.mark.parametrize("broken", BROKEN_FORMATS)
def test_broken_formats_are_broken_and_as_gradable_as_stated(broken: str) -> None:
    rng = random.Random(0)
    prompt = Prompt("sums", "40+2=", "", {"value": 42}, "easy")
    text = write(rng, replace(CAREFUL, broken_format=broken), "40+2=42", "42")
    result = graded("sums", prompt, text)
    assert result.parts["format"] == 0.0
    assert result.correct == (BROKEN_FORMATS.index(broken) < 5)


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(ValueError, match="upside down"):
        write(random.Random(0), replace(CAREFUL, broken_format="upside down"), "", "")


@given(st.integers(), st.sampled_from("+-*"), st.integers(0, 999), st.integers(0, 9))
def test_a_slip_is_wrong(seed: int, operator: str, left: int, right: int) -> None:
    value = {"+": left + right, "-": left - right, "*": left * right}[operator]
    assert slip(random.Random(seed), operator, left, right, value) != value


@given(st.integers(), st.from_regex(r"\A-?[0-9]{1,4}\Z"))
def test_misreading_changes_one_digit(seed: int, text: str) -> None:
    other = misread(random.Random(seed), text)
    assert len(other) == len(text)
    assert sum(a != b for a, b in zip(text, other, strict=True)) == 1


@pytest.mark.parametrize("name", TASKS)
def test_the_class_is_careless_but_not_hopeless(name: str) -> None:
    rng = random.Random(0)
    task = TASKS[name]()
    results = []
    for _ in range(1000):
        prompt = task.draw(rng, held_out=False)
        results.append(graded(name, prompt, solve(rng, meet(rng, name, prompt.difficulty), prompt)))
    assert 0.25 < sum(result.correct for result in results) / 1000 < 0.55
    assert 0.2 < sum(result.parts["format"] == 0 for result in results) / 1000 < 0.35
