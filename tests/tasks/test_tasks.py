"""Draws and graders of the tasks."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from grpolab.tasks import TASKS, Prompt, Task, is_held_out
from grpolab.tasks.countdown import Countdown, CountdownOptions
from grpolab.tasks.expression import ExpressionError, Node, apply, numbers, parse
from grpolab.tasks.program import Program, ProgramOptions, parabola, value_at
from grpolab.tasks.slots import Slots, SlotsOptions
from grpolab.tasks.sums import Sums, SumsOptions
from grpolab.tasks.words import is_mixed, language_of, languages_in

every_task = pytest.mark.parametrize("name", TASKS)


def draws(task: Task, count: int, seed: int = 0, *, held_out: bool = False) -> list[Prompt]:
    rng = random.Random(seed)
    return [task.draw(rng, held_out=held_out) for _ in range(count)]


def test_the_table_uses_each_tasks_own_name() -> None:
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}
    assert all(task.description and task.Options.model_fields for task in TASKS.values())


@every_task
def test_draws_repeat_with_their_seed(name: str) -> None:
    first = draws(TASKS[name](), 40, seed=3)
    assert first == draws(TASKS[name](), 40, seed=3)
    assert first != draws(TASKS[name](), 40, seed=4)


@every_task
def test_held_out_prompts_are_never_drawn_for_training(name: str) -> None:
    task = TASKS[name]()
    training = {prompt.key for prompt in draws(task, 3000)}
    evaluation = {prompt.key for prompt in draws(task, 200, held_out=True)}
    assert not training & evaluation
    assert not any(map(is_held_out, training))
    assert all(map(is_held_out, evaluation))


def test_the_held_out_wall_does_not_move() -> None:
    keys = [f"sums {number}" for number in range(10_000)]
    held = [key for key in keys if is_held_out(key)]
    assert 500 < len(held) < 750  # one in sixteen
    assert held[:5] == ["sums 45", "sums 51", "sums 70", "sums 74", "sums 82"]


@every_task
def test_the_difficulties_are_mixed_as_asked(name: str) -> None:
    task = TASKS[name]()
    counts = Counter(prompt.difficulty for prompt in draws(task, 2000))
    for level, share in zip(("easy", "medium", "hard"), task.options.mix, strict=True):
        assert abs(counts[level] / 2000 - share) < 0.05


@every_task
def test_prompts_travel_as_json(name: str) -> None:
    for prompt in draws(TASKS[name](), 20):
        assert Prompt.from_dict(json.loads(json.dumps(prompt.to_dict()))) == prompt


def test_a_broken_prompt_record_is_named() -> None:
    with pytest.raises(ValueError, match="key, text"):
        Prompt.from_dict({"task": "sums", "data": {}, "difficulty": "easy"})
    with pytest.raises(ValueError, match="colour"):
        Prompt.from_dict({**draws(Sums(), 1)[0].to_dict(), "colour": 1})


def test_a_record_of_the_wrong_types_is_named() -> None:
    with pytest.raises(ValueError, match="text must be a text"):
        Prompt.from_dict({**draws(Sums(), 1)[0].to_dict(), "text": 3})


@settings(max_examples=300)
@given(st.sampled_from(sorted(TASKS)), st.integers(0, 2**32))
def test_a_prompts_text_says_all_that_grading_needs(name: str, seed: int) -> None:
    prompt = TASKS[name]().propose(random.Random(seed))
    again = TASKS[name].from_text(prompt.text)
    assert again == replace(prompt, difficulty="medium")


@pytest.mark.parametrize(
    ("task", "text", "proper", "data"),
    [
        (Sums, " (47 + 38)*6", "(47+38)*6=", {"value": 510}),
        (Sums, "((2*3))+(4)=", "2*3+4=", {"value": 10}),
        (Sums, "3-9=", "3-9=", {"value": -6}),
        (Slots, "3+4;7*2 ; 9-5", "3+4; 7*2; 9-5=", {"values": [7, 14, 4]}),
        (Sums, "求(47 + 38)*6", "求(47+38)*6=", {"value": 510}),
        (Slots, "求3+4;7*2", "求3+4; 7*2=", {"values": [7, 14]}),
        (Countdown, "求29用8 3 5", "求29用8 3 5:", {"target": 29, "numbers": [8, 3, 5]}),
        (
            Countdown,
            "make 29 from 08 3  5",
            "make 29 from 8 3 5:",
            {"target": 29, "numbers": [8, 3, 5]},
        ),
    ],
)
def test_a_question_is_read_freely(
    task: type[Task], text: str, proper: str, data: dict[str, object]
) -> None:
    prompt = task.from_text(text)
    assert (prompt.task, prompt.text, prompt.data) == (task.name, proper, data)


@pytest.mark.parametrize(
    ("task", "text", "why"),
    [
        (Sums, "", "expected a sum like .*a number should stand"),
        (Sums, "make 29 from 3 5 8:", "expected a sum like"),
        (Sums, "7/2=", "remainder"),
        (Sums, "1+1==", "does not belong"),
        (Sums, "1+" * 1000 + "1", "longer than"),
        (Slots, "3+4=", "expected 2 to 8 parts"),
        (Slots, "1;" * 1000, "expected 2 to 8 parts"),
        (Slots, "3+4; seven", "expected parts like"),
        (Program, "f(2)=5 f(3)=7", "expected a text like f"),
        (Program, "f(2)=5 f(3)=7 f(5)=9:", "three consecutive x"),
        (Program, "f(2)=5 f(3)=7 f(4)=10:", "whole a, b and c"),
        (Countdown, "29 from 3 5 8", "expected a text like make 29 from 3 5 8:"),
        (Countdown, "make 29 from 29:", "expected a text like"),
        (Countdown, "make 29 from" + " 3" * 9, "expected a text like"),
    ],
)
def test_a_text_that_is_no_question_is_refused_in_one_line(
    task: type[Task], text: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        task.from_text(text)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(sorted(TASKS)), st.text(max_size=60))
def test_any_question_is_read_or_refused_in_one_line(name: str, text: str) -> None:
    try:
        prompt = TASKS[name].from_text(text)
    except ValueError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert TASKS[name].from_text(prompt.text) == prompt


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (SumsOptions, {"digits": (3, 2)}),
        (SumsOptions, {"digits": (0, 2)}),
        (SumsOptions, {"operations": (2, 9)}),
        (SumsOptions, {"mix": (0, 0, 0)}),
        (SumsOptions, {"brackest": True}),
        (CountdownOptions, {"largest": 500}),
        (CountdownOptions, {"target": (99, 5)}),
        (SlotsOptions, {"k": 1}),
        (SlotsOptions, {"k": 9}),
        (ProgramOptions, {"slope": 1}),
        (ProgramOptions, {"mix": (0, 0, 0)}),
        (SumsOptions, {"chinese": 1.5}),
    ],
)
def test_wrong_options_are_refused(options: type, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        options(**wrong)


def test_a_task_refuses_the_options_of_another() -> None:
    with pytest.raises(TypeError, match="SumsOptions"):
        Sums(SlotsOptions())


def steps(node: Node) -> list[tuple[str, int, int, int]]:
    """Every step of an expression: operator, left, right, value."""
    if isinstance(node, int):
        return []
    left, right = steps(node[1]), steps(node[2])
    left_value = left[-1][3] if left else node[1]
    right_value = right[-1][3] if right else node[2]
    assert isinstance(left_value, int) and isinstance(right_value, int)
    value = apply(node[0], left_value, right_value)
    return [*left, *right, (node[0], left_value, right_value, value)]


def test_sums_stay_in_reach_of_one_line_a_step() -> None:
    for prompt in draws(Sums(), 2000):
        node = parse(prompt.text.removesuffix("="))
        worked = steps(node)
        assert 2 <= len(worked) <= 4
        assert worked[-1][3] == prompt.data["value"]
        for operator, left, right, value in worked:
            assert abs(value) <= 2 * 9999 and right >= 0
            if operator == "*":
                assert min(left, right) <= 9 and 0 <= max(left, right) <= 999


def test_sums_obey_their_options() -> None:
    task = Sums(SumsOptions(digits=(2, 2), operations=(1, 3), brackets=False))
    lengths = set()
    for prompt in draws(task, 300):
        assert "(" not in prompt.text
        worked = steps(parse(prompt.text.removesuffix("=")))
        lengths.add(len(worked))
        if all(operator != "*" for operator, *_ in worked):
            assert all(10 <= number <= 99 for number in numbers(parse(prompt.text[:-1])))
    assert lengths == {1, 2, 3}


def test_sums_grades() -> None:
    task, prompt = Sums(), Prompt("sums", "(47+38)*6=", "", {"value": 510}, "easy")
    assert task.grade(prompt, "510").correct and task.grade(prompt, " 510 ").score == 1.0
    for wrong in (None, "", "511", "510.0", "5 10", "51O", "85*6", "٥١٠", "--510", "510\n", "1e9"):
        assert task.grade(prompt, wrong).score == 0.0 and task.grade(prompt, wrong).detail
    negative = Prompt("sums", "3-5=", "", {"value": -2}, "easy")
    assert task.grade(negative, "-2").correct and not task.grade(negative, "2").correct


def test_countdown_grades() -> None:
    task = Countdown()
    prompt = Prompt(
        "countdown", "make 29 from 3 5 8:", "", {"target": 29, "numbers": [3, 5, 8]}, "medium"
    )
    for right in ("3*8+5", "5+8*3", "(8*3)+5", " 5 + 3 * 8 "):
        assert task.grade(prompt, right).correct
    for wrong, why in [
        ("29", "29 is not one of"),
        ("8+8+8+5", "8 is not one of"),
        ("3*8+6", "6 is not one of"),
        ("3*(8+5)", "39, not 29"),
        ("8/3+5", "remainder"),
        ("3*8+5=29", "does not belong"),
        (None, "no answer"),
    ]:
        grade = task.grade(prompt, wrong)
        assert not grade.correct and grade.score == 0.0 and why in grade.detail
    twice = Prompt("countdown", "", "", {"target": 21, "numbers": [7, 7, 7]}, "easy")
    assert task.grade(twice, "7+7+7").correct and not task.grade(twice, "7+7+7+7-7").correct
    fewer = Prompt("countdown", "", "", {"target": 8, "numbers": [3, 5, 9]}, "easy")
    assert task.grade(fewer, "3+5").correct


def test_countdown_keys_do_not_see_the_order_of_the_numbers() -> None:
    for prompt in draws(Countdown(), 200):
        given = sorted(prompt.data["numbers"])
        assert prompt.key == f"countdown {prompt.data['target']} {' '.join(map(str, given))}"
        assert prompt.data["target"] not in given


def test_slots_grades_are_fractions() -> None:
    task = Slots()
    prompt = Prompt("slots", "3+4; 7*2; 9-5; 1+1=", "", {"values": [7, 14, 4, 2]}, "easy")
    assert task.grade(prompt, "7; 14; 4; 2").correct
    assert task.grade(prompt, "7;14;4;2").correct
    for answer, score in [
        ("7; 14; 4; 3", 0.75),
        ("7; 14; 4", 0.75),  # a part is missing: the others keep their places
        ("14; 4; 2", 0.0),  # the first is missing: the others lost theirs
        ("7; 14; 4; 2; 9", 0.8),
        ("7, 14, 4, 2", 0.0),
        ("", 0.0),
        (None, 0.0),
    ]:
        grade = task.grade(prompt, answer)
        assert grade.score == pytest.approx(score) and not grade.correct


FUNCTION = Program.from_text("f(2)=5 f(3)=7 f(4)=9:")


@pytest.mark.parametrize(
    ("answer", "score", "detail"),
    [
        ("2*x+1", 1.0, "right"),
        (" 1 + x*2 ", 1.0, "right"),
        ("x+x+1", 1.0, "right"),
        ("x*x-3*x+7", 0.0, "f"),
        ("x+3", 0.0, "f"),
        ("2x+1", 0.0, "a sign is missing beside x"),
        ("x2+1", 0.0, "a sign is missing beside x"),
        ("x**2", 0.0, "number"),
        ("7", 0.0, "f"),
        ("y+1", 0.0, "number"),
        (None, 0.0, "no answer"),
        ("x+" * 60 + "1", 0.0, "longer than"),
    ],
)
def test_programs_are_graded_by_hidden_cases(answer: str | None, score: float, detail: str) -> None:
    grade = Program().grade(FUNCTION, answer)
    assert grade.score == score and grade.correct == (score == 1.0) and detail in grade.detail


def test_hidden_cases_are_hidden_and_the_functions_own() -> None:
    for prompt in draws(Program(), 300):
        shown = [tuple(pair) for pair in prompt.data["shown"]]
        square, slope, offset = parabola(shown)
        for x, value in prompt.data["tests"]:
            assert (x, value) not in shown and value == square * x * x + slope * x + offset
        assert len(prompt.data["tests"]) == 4


def test_a_fit_of_the_shown_values_alone_is_not_enough() -> None:
    """(x-2)*(x-3)*(x-4) is 0 at every shown x, and nowhere else."""
    grade = Program().grade(FUNCTION, "2*x+1+(x-2)*(x-3)*(x-4)")
    assert not grade.correct and grade.score == 0.0


@given(st.integers(0, 12), st.integers(0, 99), st.integers(0, 99))
def test_an_expression_in_x_has_its_value(x: int, a: int, b: int) -> None:
    assert value_at(f"{a}*x*x+(x+{b})*{a}", x) == a * x * x + (x + b) * a
    with pytest.raises(ExpressionError):
        value_at(f"x/0+{a}", x)


@every_task
def test_prompts_ask_in_either_language(name: str) -> None:
    task = TASKS[name](TASKS[name].Options.model_validate({"chinese": 0.5}))
    prompts = draws(task, 400)
    share = sum(language_of(prompt.text) == "zh" for prompt in prompts) / 400
    assert 0.4 < share < 0.6
    assert all(language_of(prompt.text) == "en" for prompt in draws(TASKS[name](), 50))
    for prompt in prompts[:40]:
        again = TASKS[name].from_text(prompt.text)
        assert again == replace(prompt, difficulty="medium")
        assert "求" not in prompt.key  # a prompt is held out in both languages or in none


def test_languages_of_a_thought() -> None:
    assert languages_in("first 1+1=2\n所以2") == {"en", "zh"} and languages_in("1+1=2") == set()
    assert is_mixed("1+1=", "first 1+1=2\n所以2") and not is_mixed("1+1=", "first 1+1=2")
    assert is_mixed("求1+1=", "first 1+1=2") and not is_mixed("求1+1=", "先1+1=2")


@pytest.mark.parametrize("k", range(2, 9))
def test_slots_have_k_parts(k: int) -> None:
    for prompt in draws(Slots(SlotsOptions(k=k)), 20):
        assert len(prompt.data["values"]) == prompt.text.count(";") + 1 == k
        assert all(value >= 0 for value in prompt.data["values"])


HOSTILE = [
    "(",
    ")",
    "9",
    "1;",
    ";",
    "**",
    "\0",
    "٣",
    "１",
    "-",
    " ",
    "\n",
    "1+",
    "<answer>",
    "\ud800",
]


@every_task
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_answers_are_wrong_at_once(name: str, piece: str) -> None:
    task = TASKS[name]()
    prompt = draws(task, 1)[0]
    began = time.process_time()
    grade = task.grade(prompt, piece * (100_000 // len(piece)))
    assert time.process_time() - began < 0.25
    assert not grade.correct and 0.0 <= grade.score < 1.0


@given(st.sampled_from(sorted(TASKS)), st.text(max_size=60))
def test_no_text_makes_a_grader_raise(name: str, answer: str) -> None:
    task = TASKS[name]()
    grade = task.grade(draws(task, 1)[0], answer)
    assert 0.0 <= grade.score <= 1.0 and grade.correct == (grade.score == 1.0)


def test_tasks_and_rewards_load_no_torch() -> None:
    code = "import sys, grpolab.tasks, grpolab.rewards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
