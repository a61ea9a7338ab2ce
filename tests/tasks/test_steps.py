"""Single steps: exact cases, an independent check of each rule, and what must earn nothing."""

from __future__ import annotations

import itertools
import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpolab.pretrain.solutions import solve
from grpolab.pretrain.students import CAREFUL, meet
from grpolab.rewards import grade, parse_completion
from grpolab.tasks import TASKS, Prompt, Span, Step
from grpolab.tasks.countdown import Countdown
from grpolab.tasks.expression import apply, numbers, parse
from grpolab.tasks.program import Program
from grpolab.tasks.slots import Slots
from grpolab.tasks.steps import MOST_LINES
from grpolab.tasks.sums import Sums

SUM = Sums.from_text("(47+38)*6=")
GOAL = Countdown.from_text("make 29 from 3 5 8:")
PARTS = Slots.from_text("3+4; 7*2; 9-5; 1+1=")

seeds = st.integers(0, 2**32)
every_task = pytest.mark.parametrize("name", TASKS)


def in_thought(prompt: Prompt, thought: str) -> tuple[Step, ...]:
    return TASKS[prompt.task]().steps(prompt, Span(thought, 7), None)


def scores(prompt: Prompt, thought: str) -> list[float]:
    return [step.score for step in in_thought(prompt, thought)]


def steps_of(prompt: Prompt, completion: str) -> tuple[Step, ...]:
    return grade(TASKS[prompt.task](), [], prompt, completion).steps


def mean(steps: tuple[Step, ...]) -> float:
    return sum(step.score for step in steps) / len(steps) if steps else 0.0


@pytest.mark.parametrize(
    ("question", "thought", "wanted"),
    [
        ("(47+38)*6", "47+38=85\n85*6=510", [1, 1]),
        ("(47+38)*6", "47 + 38 = 85\n85 * 6 = 510", [1, 1]),
        ("(47+38)*6", "first 47+38\n38+47=85\nnow\n6*85=510\n", [1, 1]),  # other lines are no steps
        ("(47+38)*6", "47+38=86\n86*6=516", [0, 0]),  # what builds on a slip is not there
        ("(47+38)*6", "47+38=86\n47+38=85\n85*6=510", [0, 1, 1]),  # a slip can be repaired
        ("(47+38)*6", "47+38=85\n85*6=511", [1, 0]),
        ("(47+38)*6", "85*6=510", [0, 0]),  # 85 does not stand there yet; a step is missing
        ("(47+38)*6", "38*6=228\n228+47=275", [0, 0]),
        ("(47+38)*6", "", [0, 0]),
        ("(47+38)*6", "47+38=85", [1, 0]),
        ("(47+38)*6", "47+38=85\n47+38=85\n85*6=510", [1, 0, 1]),
        ("(47+38)*6", "47+38=85\n85*6=510\n510-1=509", [1, 1, 0]),
        ("(47+38)*6", "47+38=85 no\n47+38=86 no", [0, 0]),  # dead ends earn nothing
        ("2+3*4", "2+3=5\n5*4=20", [0, 0]),
        ("2+3*4", "3*4=12\n2+12=14", [1, 1]),
        ("9-4-3", "4-3=1\n9-1=8", [0, 0]),
        ("9-4+3", "4+3=7\n9-7=2", [0, 0]),
        ("9+4-3", "4-3=1\n9+1=10", [1, 1]),  # the operations may be done in another order
        ("5+7+4", "7+4=11\n5+11=16", [1, 1]),
        ("2*3*4", "3*4=12\n2*12=24", [1, 1]),
        ("8/4/2", "4/2=2\n8/2=4", [0, 0]),
        ("3-5+4", "3-5=-2\n-2+4=2", [1, 1]),
        ("1-(3-9)", "3-9=-6\n1--6=7", [1, 1]),
        ("(3+4)*2+(3+4)*5", "3+4=7\n7*5=35\n3+4=7\n7*2=14\n14+35=49", [1, 1, 1, 1, 1]),
        ("(3+4)*2+(3+4)*5", "3+4=7\n7*5=35\n7*2=14", [1, 1, 0, 0, 0]),
        ("7/1+1", "7/2=3\n7/0=0\n7/1=7\n7+1=8", [0, 0, 1, 1]),
    ],
)
def test_sums(question: str, thought: str, wanted: list[float]) -> None:
    assert scores(Sums.from_text(question), thought) == wanted


def test_a_step_says_where_it_ends_and_what_is_wrong() -> None:
    steps = steps_of(SUM, "<think>47+38=85\n85*6=511</think><answer>511</answer>")
    assert steps == (
        Step(15, 1.0, "right", "47+38=85"),
        Step(24, 0.0, "85*6 is 510, not 511", "85*6=511"),
    )
    (step,) = steps_of(Sums.from_text("1+2"), "<think>1+1=2</think>")
    assert step == Step(12, 0.0, "1+1 does not stand in 1+2", "1+1=2")
    text = "<think>47+38=85</think>"
    assert steps_of(SUM, text)[1] == Step(16, 0.0, "a step is missing")
    assert text[15] == "<"  # the tag that closes the thought too early
    assert steps_of(SUM, "47+38=85</think>") == steps_of(SUM, "<think>47+38=85") == ()


@pytest.mark.parametrize(
    ("question", "thought", "wanted"),
    [
        ("make 29 from 3 5 8:", "29-5=24\n3*8=24", [1, 1]),  # back from the target
        ("make 29 from 3 5 8:", "3*8=24\n24+5=29", [1, 1]),  # forward
        ("make 29 from 3 5 8:", "8*3=24\n29-5=24", [1, 1]),  # both, meeting in the middle
        ("make 29 from 3 5 8:", "29-5=25\n3*8=24", [0, 1]),
        ("make 29 from 3 5 8:", "3+5=8\n8+8=16", [0, 0]),  # 29 is out of reach after that
        ("make 29 from 3 5 8:", "29-3=26\n5+8=13", [0, 0]),
        ("make 29 from 3 5 8:", "3*8=24\n3*8=24\n24+5=29", [1, 0, 1]),
        ("make 29 from 3 5 8:", "8*8=64", [0]),
        ("make 29 from 3 5 8:", "", [0]),
        ("make 29 from 3 5 8:", "3*8=24", [1, 0]),  # stops before the target is met
        ("make 29 from 3 5 8:", "29-3=26 no\n29-5=24\n3*8=24", [1, 1]),
        ("make 29 from 3 5 8:", "29-3=25 no\n29-7=22 no\n29-5=24\n3*8=24", [0, 0, 1, 1]),
        ("make 8 from 3 5 9:", "3+5=8", [1]),  # not all numbers are needed
        ("make 8 from 3 5 9:", "3+5=8\n8+9=17", [1, 0]),
        ("make 16 from 4 4 9 9:", "16-9=7\n7+9=16\n4*4=16", [1, 1, 1]),  # meets 16 on the way
        ("make 7 from 2 14 3:", "14/7=2", [1]),
        ("make 5 from 12 8 4:", "5-12=-7", [0]),
        ("make 5 from 4 4 5 9:", "4-4=0\n5*0=0", [1, 0]),  # 5 cannot be won back from 0
        ("make 5 from 4 4 5 9:", "9-4=5\n5*5=25", [1, 0]),
    ],
)
def test_countdown(question: str, thought: str, wanted: list[float]) -> None:
    assert scores(Countdown.from_text(question), thought) == wanted


def test_countdown_says_what_is_wrong() -> None:
    details = [step.detail for step in in_thought(GOAL, "8*8=64\n3+5=8")]
    assert details == ["8 and 8 are not both available", "29 cannot be made from 8 8"]


def test_countdown_with_too_many_numbers_to_try_has_no_steps() -> None:
    assert in_thought(Countdown.from_text("make 29 from 1 2 3 4 5 6"), "1+2=3") == ()


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("7; 14; 4; 2", [1, 1, 1, 1]),
        ("7;14;5;2", [1, 1, 0, 1]),
        ("7; 14", [1, 1, 0, 0]),
        ("14; 4; 2", [0, 0, 0, 0]),
        ("7; 14; 4; 2; 7; 7", [1, 1, 1, 1, 0, 0]),
        (";;;", [0, 0, 0, 0]),
        ("", [0, 0, 0, 0]),
    ],
)
def test_slots(answer: str, wanted: list[float]) -> None:
    steps = steps_of(PARTS, f"<think></think><answer>{answer}</answer>")
    assert [step.score for step in steps] == wanted
    assert mean(steps) == pytest.approx(Slots().grade(PARTS, answer).score)


def test_parts_say_where_they_end() -> None:
    text = "<answer>7; 15</answer>"
    assert steps_of(PARTS, text) == (
        Step(9, 1.0, "right", "7"),
        Step(13, 0.0, "not 14", "15"),
        *[Step(14, 0.0, "a part is missing")] * 2,
    )
    assert text[13] == "<" and steps_of(PARTS, "<answer>7; 15") == ()


@settings(max_examples=400)
@given(st.sampled_from(sorted(TASKS)), seeds)
def test_all_steps_of_a_careful_student_are_right(name: str, seed: int) -> None:
    rng = random.Random(seed)
    prompt = TASKS[name]().propose(rng)
    steps = steps_of(prompt, solve(rng, CAREFUL, prompt))
    assert steps and all(step.score == 1.0 for step in steps), steps
    if name == "sums":
        assert len(steps) == len(list(numbers(parse(prompt.text[:-1])))) - 1


@given(seeds, seeds)
def test_any_order_of_the_operations_is_right(seed: int, order: int) -> None:
    """Operations whose numbers are ready, in random order; `path` leads to one of them."""
    prompt = Sums().propose(random.Random(seed))
    rng = random.Random(order)
    left, written = parse(prompt.text[:-1]), []

    def ready(node: object, path: tuple[int, ...]) -> list[tuple[int, ...]]:
        if not isinstance(node, tuple):
            return []
        below = [*ready(node[1], (*path, 1)), *ready(node[2], (*path, 2))]
        return below or [path]

    def done(node: object, path: tuple[int, ...]) -> object:
        assert isinstance(node, tuple)
        if not path:
            operator, a, b = node
            written.append(f"{a}{operator}{b}={apply(operator, a, b)}")
            return apply(operator, a, b)
        return tuple(done(n, path[1:]) if i == path[0] else n for i, n in enumerate(node))

    while not isinstance(left, int):
        left = done(left, rng.choice(ready(left, ())))  # pyright: ignore
    assert left == prompt.data["value"]
    steps = in_thought(prompt, "\n".join(written))
    assert [step.score for step in steps] == [1.0] * len(written)


def reaches(goal: Fraction, there: list[Fraction]) -> bool:
    """Brute force, apart from the task's own search: every order, every tree, whole values only."""
    if goal in there:
        return True
    for i, j in itertools.permutations(range(len(there)), 2):
        a, b = there[i], there[j]
        others = [n for k, n in enumerate(there) if k not in (i, j)]
        made = [a + b, a - b, a * b] + ([a / b] if b and (a / b).denominator == 1 else [])
        if any(reaches(goal, [*others, value]) for value in made):
            return True
    return False


@settings(max_examples=150, deadline=None)
@given(seeds, st.data())
def test_a_countdown_step_is_right_just_if_the_target_stays_in_reach(
    seed: int, data: st.DataObject
) -> None:
    prompt = Countdown().propose(random.Random(seed))
    target, there = prompt.data["target"], list(prompt.data["numbers"])
    pairs = [(i, j) for i in range(len(there)) for j in range(len(there)) if i != j]
    i, j = data.draw(st.sampled_from(pairs))
    operator = data.draw(st.sampled_from("+-*"))
    back = data.draw(st.booleans())
    a, b = (target, there[j]) if back else (there[i], there[j])
    value = {"+": a + b, "-": a - b, "*": a * b}[operator]
    others = [n for k, n in enumerate(there) if k != j and (back or k != i)]
    if back:
        wanted = reaches(Fraction(value), [Fraction(n) for n in others])
    else:
        wanted = reaches(Fraction(target), [Fraction(n) for n in [*others, value]])
    first = in_thought(prompt, f"{a}{operator}{b}={value}")[0]
    assert first.score == wanted, first


@given(st.sampled_from(["sums", "countdown"]), seeds)
def test_right_steps_lead_to_the_target(name: str, seed: int) -> None:
    """If all that a careless student wrote is right, nothing is left to be done."""
    rng = random.Random(seed)
    prompt = TASKS[name]().propose(rng)
    steps = steps_of(prompt, solve(rng, meet(rng, name, prompt.difficulty), prompt))
    if mean(steps) < 1.0:
        return
    last = int(steps[-1].text.rpartition("=")[2])
    if name == "sums":
        assert last == prompt.data["value"]
    else:  # what the last line makes is what the lines before left to be made
        goals = [prompt.data["target"], *(int(s.text.rpartition("=")[2]) for s in steps[:-1])]
        assert last in goals


padding = st.lists(
    st.sampled_from(["1+1=2", "1+1=2 no", "2*1=2", "47+38=85", "29-5=24", "29+3=32 no", "3-3=0"]),
    max_size=30,
)


@given(st.sampled_from([SUM, GOAL]), padding, padding)
def test_padding_earns_nothing(prompt: Prompt, before: list[str], after: list[str]) -> None:
    honest = ["47+38=85", "85*6=510"] if prompt is SUM else ["29-5=24", "3*8=24"]
    for kept in (honest, honest[:1], []):
        alone = in_thought(prompt, "\n".join(kept))
        padded = in_thought(prompt, "\n".join([*before, *kept, *after]))
        assert sum(step.score for step in padded) <= 2
        if kept is honest:
            assert mean(padded) <= mean(alone) == 1.0
        elif not set(honest) & {*before, *after}:
            assert mean(padded) <= mean(alone)


CHECKED = """47+38=85
检查47+38=85
85*6=510"""


@pytest.mark.parametrize(
    ("thought", "wanted"),
    [
        ("first 47+38=85\nthen 85*6=510\nso 510", [1.0, 1.0]),
        ("先47+38=85\n再85*6=510\n所以510", [1.0, 1.0]),
        (CHECKED, [1.0, 1.0]),  # a right check is no step
        ("47+38=85\ncheck 47+38=84\n85*6=510", [1.0, 0.0, 1.0]),
        ("47+38=83\ncheck 47+38=85\n85*6=510", [0.0, 1.0, 1.0]),  # it mends the line before
        ("check 1+1=2\n47+38=85\n85*6=510\ncheck 85*6=510\ncheck 85*6=510", [1.0, 1.0]),
        ("so 47+38=85\nfirst85*6=510", [1.0, 0.0]),  # no space after the word: not a line
    ],
)
def test_connectives_and_checks(thought: str, wanted: list[float]) -> None:
    assert [step.score for step in in_thought(SUM, thought)] == wanted


LINE = Program.from_text("f(2)=5 f(3)=7 f(4)=9:")


@pytest.mark.parametrize(
    ("thought", "wanted"),
    [
        ("7-5=2\n9-7=2\n2*2=4\n5-4=1", [1.0, 1.0, 1.0, 1.0]),
        ("7-5=3\n2*2=4\n5-4=1", [0.0, 1.0, 1.0]),
        ("7-5=2\n7-5=2\n2*2=4", [1.0, 0.0, 1.0]),  # done before
        ("7-5=2\n2*8=16\n5-4=1", [1.0, 0.0, 1.0]),  # 8 comes from nowhere, 4 is shown
        ("7-5=2", [1.0, 0.0]),  # what is added is missing
        ("9-8=1", [0.0]),  # 8 comes from nowhere
        ("7-5=2\n2*3=6\n7-6=1", [1.0, 1.0, 1.0]),  # from the second value
        ("", [0.0]),
        ("7-5=2\n2*2=4\n5-4=1\ncheck 2*3=6\n检查2*3=6", [1.0, 1.0, 1.0]),
    ],
)
def test_program(thought: str, wanted: list[float]) -> None:
    assert [step.score for step in in_thought(LINE, thought)] == wanted


@given(seeds, st.integers(1, 40))
def test_repeated_trivial_steps_earn_nothing(seed: int, count: int) -> None:
    for task in (Sums(), Countdown()):
        prompt = task.propose(random.Random(seed))
        assert mean(in_thought(prompt, "\n".join(["1000+1=1001"] * count))) == 0.0


@given(st.sampled_from(sorted(TASKS)), seeds)
def test_leaving_steps_out_earns_nothing(name: str, seed: int) -> None:
    rng = random.Random(seed)
    prompt = TASKS[name]().propose(rng)
    parts = parse_completion(solve(rng, CAREFUL, prompt))
    assert parts.thought is not None and parts.answer is not None
    sign = ";" if name == "slots" else "\n"
    whole = (parts.answer if name == "slots" else parts.thought).split(sign)
    whole = [line for line in whole if not line.endswith(" no")]
    for count in range(len(whole)):
        short = sign.join(whole[:count])
        text = f"<answer>{short}</answer>" if name == "slots" else f"<think>{short}</think>"
        assert mean(steps_of(prompt, text)) < 1.0


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            ["<think>", "</think>", "<answer>", "</answer>", "\n", ";", "+", "=", " no", "-", "/0"]
        ),
        st.sampled_from(["47+38=85\n", "85*6=510", "29-5=24\n", "3*8=24", "7;", "14", "٣+٤=7\n"]),
        st.text(max_size=5),
    ),
    max_size=25,
).map("".join)


@settings(max_examples=400)
@given(st.sampled_from([SUM, GOAL, PARTS]), st.one_of(st.text(), pieces))
def test_any_text_has_steps_inside_it(prompt: Prompt, text: str) -> None:
    steps = steps_of(prompt, text)
    written = [step for step in steps if step.text]
    assert all(0.0 <= step.score <= 1.0 and step.detail for step in steps)
    ends = [step.end for step in steps]
    assert ends == sorted(ends) and all(0 < end <= len(text) for end in ends)
    assert len({step.end for step in written}) == len(written)
    for step in written:
        assert text[: step.end].rstrip(" ").endswith(step.text.rstrip(" "))
    assert all(step.score == 0.0 for step in steps if not step.text)


@every_task
@pytest.mark.parametrize(
    "piece", ["1", " ", "-", "\n", ";", "1+", "1+1=2\n", "1+1=2 no\n", "9" * 9 + "*", "\ud800"]
)
def test_hostile_thoughts_and_answers_cost_little(name: str, piece: str) -> None:
    task = TASKS[name]()
    prompt = task.propose(random.Random(0))
    part = Span(piece * (400_000 // len(piece)), 7)
    began = time.process_time()
    steps = task.steps(prompt, part, part)
    assert time.process_time() - began < 0.5
    assert mean(steps) < 0.1 and (name == "slots" or len(steps) <= MOST_LINES + 4)


@pytest.mark.parametrize("question", ["+".join(["1"] * 48), "*".join(["(1+1)"] * 16)])
def test_an_expression_of_equal_operations_costs_little(question: str) -> None:
    began = time.process_time()
    scores(Sums.from_text(question), "1+1=2\n" * 1000)
    assert time.process_time() - began < 20


def test_a_prompt_that_is_no_expression_has_no_steps() -> None:
    assert scores(Prompt("sums", "what is it?", "", {"value": 1}, "easy"), "1+1=2") == []
