"""What a student writes under a prompt. A careful student is always right."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from functools import partial

from grpolab.pretrain.students import Student, slip, write
from grpolab.tasks import Prompt
from grpolab.tasks.expression import Node, apply, evaluate, parse, show
from grpolab.tasks.program import parabola
from grpolab.tasks.sums import expression_of
from grpolab.tasks.words import CONNECTIVES, FIND, Language, language_of

IN_HEAD = (0.5, 0.15)
"""How often a step that is not written down is estimated from round numbers, and how often it
slips. It does neither with a student who never slips."""


def solve(rng: random.Random, student: Student, prompt: Prompt) -> str:
    """The student's completion for a prompt of any task in the table below."""
    notes = Notes(rng, student, language_of(prompt.text))
    answer = _WORKED[prompt.task](notes, prompt)
    if student.says_so:
        notes.write("so", answer)
    return write(rng, student, notes.text, answer)


class Notes:
    """A thought as the student writes it, line by line."""

    def __init__(self, rng: random.Random, student: Student, language: Language) -> None:
        self.rng = rng
        self.student = student
        self.language: Language = language
        self.lines: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def write(self, word: str, text: str, *, always: bool = True) -> None:
        """A line behind a connective: in the prompt's language, or in either."""
        rng, student = self.rng, self.student
        start = ""
        if always or rng.random() < student.words:
            other: Language = "zh" if self.language == "en" else "en"
            mixed = rng.random() < student.mixes
            start = CONNECTIVES[word][other if mixed else self.language]
        self.lines.append(start + text)

    def in_head(self) -> bool:
        """Whether the next step is not written; there is always a first line."""
        self.stopped = self.stopped or (bool(self.lines) and self.rng.random() < self.student.stop)
        return self.stopped

    def line(self, text: str) -> None:
        """A line of work."""
        self.write("then" if self.lines else "first", text, always=False)

    def step(self, operator: str, left: int, right: int) -> int:
        """Work `left operator right` on a line or in the head; returns the result believed in."""
        rng, student = self.rng, self.student
        value = apply(operator, left, right)
        if student.unsigned and operator == "-":
            value = abs(value)
        if self.in_head():
            return self.estimated(operator, left, right, value) if student.slip else value
        operation = f"{left}{operator}{right}"
        if student.calls:
            self.line(f"<call>{operation}</call><result>{value}</result>")
            return value
        slipped = rng.random() < student.slip
        believed = slip(rng, operator, left, right, value) if slipped else value
        self.line(f"{operation}={believed}")
        if student.check and (slipped or rng.random() < student.check):
            self.write("check", f"{operation}={value}")
            return value
        return believed

    def estimated(self, operator: str, left: int, right: int, value: int) -> int:
        """What comes out of the head for `left operator right = value`."""
        chance = self.rng.random()
        if chance < IN_HEAD[0]:
            return apply(operator, rounded(left), rounded(right))
        if chance < sum(IN_HEAD):
            return slip(self.rng, operator, left, right, value)
        return value


def rounded(number: int) -> int:
    """The number rounded to its first digit, halves up: 47 is 50, 1249 is 1000."""
    unit = 10 ** (len(str(abs(number))) - 1)
    return (number + unit // 2) // unit * unit


# sums


def _sums(notes: Notes, prompt: Prompt) -> str:
    """Every operation on its own line, innermost and leftmost first."""
    student = notes.student
    root = expression_of(prompt.text)
    if student.guess:
        return str(_guessed_value(notes, root))
    if student.left_to_right:
        root = _flattened(root)

    def work(node: Node) -> int:
        if isinstance(node, int):
            return node
        operator, left, right = node
        return notes.step(operator, work(left), work(right))

    return str(work(root))


def _guessed_value(notes: Notes, root: Node) -> int:
    """The value as one gets it from the head: known, estimated from round numbers, or wrong."""
    value = evaluate(root)
    match notes.student.guess:
        case "estimate":
            return evaluate(_rounded(root))
        case "slip":
            return slip(notes.rng, "+", 0, 0, value)
    return value


def _rounded(node: Node) -> Node:
    """The expression with every number rounded."""
    if isinstance(node, int):
        return rounded(node)
    operator, left, right = node
    return (operator, _rounded(left), _rounded(right))


def _flattened(root: Node) -> Node:
    """The expression as one blind to precedence reads it, or itself where that gets unwieldy."""
    operators: list[str] = []
    operands: list[int] = []

    def walk(node: Node) -> None:
        if isinstance(node, int):
            operands.append(node)
        else:
            walk(node[1])
            operators.append(node[0])
            walk(node[2])

    walk(root)
    chain: Node = operands[0]
    value = operands[0]
    for operator, operand in zip(operators, operands[1:], strict=True):
        # nobody multiplies long numbers in one line
        if operator == "*" and (min(value, operand) > 9 or max(value, operand) > 9999):
            return root
        value = apply(operator, value, operand)
        chain = (operator, chain, operand)
    return chain


# slots


def _slots(notes: Notes, prompt: Prompt) -> str:
    """One line for each part, then all results in order."""
    rng, student = notes.rng, notes.student
    values: list[int] = []
    parts = [parse(part) for part in prompt.text.removeprefix(FIND).removesuffix("=").split("; ")]
    wrong = rng.randrange(len(parts)) if student.guess == "slip" else -1
    for place, node in enumerate(parts):
        assert not isinstance(node, int)
        operator, left, right = node
        assert isinstance(left, int) and isinstance(right, int)
        if rng.random() < student.drop:
            continue
        if student.guess == "estimate":
            values.append(evaluate(_rounded(node)))
        elif student.guess:
            value = evaluate(node)
            values.append(slip(rng, operator, left, right, value) if place == wrong else value)
        else:
            values.append(notes.step(operator, left, right))
    return "; ".join(map(str, values))


# countdown

Move = tuple[str, int, int, str]
"""A step back from the target: its line, the number used, what remains to be made, and how the
remainder `{}` and the number make the target again."""


def _moves(target: int, given: list[int]) -> list[Move]:
    """Every sensible step back from `target` by one of the given numbers."""
    moves: list[Move] = []
    for number in set(given):
        if target > number:
            moves.append((f"{target}-{number}={target - number}", number, target - number, "+"))
        moves.append((f"{target}+{number}={target + number}", number, target + number, "-"))
        if number > target:
            moves.append((f"{number}-{target}={number - target}", number, number - target, "r-"))
            if number % target == 0 and target > 1:
                moves.append(
                    (f"{number}/{target}={number // target}", number, number // target, "r/")
                )
        if number > 1:
            if target % number == 0:
                moves.append(
                    (f"{target}/{number}={target // number}", number, target // number, "*")
                )
            if target * number <= 200:
                moves.append((f"{target}*{number}={target * number}", number, target * number, "/"))
    return moves


def _pairs(target: int, first: int, second: int) -> list[Node]:
    """Every way to make `target` from two numbers."""
    large, small = max(first, second), min(first, second)
    ways: list[Node] = []
    for operator in "+-*/":
        if operator == "/" and large % small:
            continue
        if apply(operator, large, small) == target:
            left, right = (first, second) if operator in "+*" else (large, small)
            ways.append((operator, left, right))
    return ways


def _rebuilt(how: str, rest: Node, number: int) -> Node:
    """The expression over `rest` and `number` that undoes a move."""
    return (how[1], number, rest) if how[0] == "r" else (how, rest, number)


def _search(target: int, given: list[int]) -> list[tuple[list[str], Node]]:
    """Every solution that uses all numbers, as the lines of its way back and its expression."""
    if len(given) == 2:
        found = []
        for way in _pairs(target, *given):
            assert not isinstance(way, int)
            found.append(([f"{show(way)}={target}"], way))
        return found
    found = []
    for line, number, rest, how in _moves(target, given):
        others = given.copy()
        others.remove(number)
        for lines, node in _search(rest, others):
            found.append(([line, *lines], _rebuilt(how, node, number)))
    return found


def _countdown(notes: Notes, prompt: Prompt) -> str:
    """Back from the target: a few dead ends, each marked, then a way that meets two numbers."""
    rng, student = notes.rng, notes.student
    target, given = prompt.data["target"], list(prompt.data["numbers"])
    shown = partial(show, brackets=not student.bracket_blind)
    if student.guess == "estimate":
        return show(_in_order(target, given))
    solutions = _search(target, given)
    ways, node = rng.choice(solutions)
    if student.guess:
        return shown(node if student.guess == "right" else _spoiled(rng, node, given))
    alive = {lines[0] for lines, _ in solutions}
    dead = [move for move in _moves(target, given) if move[0] not in alive]
    rng.shuffle(dead)
    for line, number, rest, how in dead[:2]:
        if rng.random() > 0.35:
            break
        if rng.random() < student.pretend:
            notes.line(line)
            others = given.copy()
            others.remove(number)
            node = _chained(others, [rng.choice("+*-") for _ in others[1:]])
            notes.line(f"{shown(node)}={rest}")
            return shown(_rebuilt(how, node, number))
        notes.line(f"{line} no")
    for line in ways:
        left, _, result = line.rpartition("=")
        skipped = notes.in_head()
        chance = sum(IN_HEAD) if skipped and student.slip else student.slip
        calls = student.calls and not skipped
        slipped = not calls and rng.random() < chance
        believed = slip(rng, "+", 0, 0, int(result)) if slipped else int(result)
        if calls:
            notes.line(f"<call>{left}</call><result>{result}</result>")
        elif not skipped:
            notes.line(f"{left}={believed}")
            if student.check and (slipped or rng.random() < student.check):
                notes.write("check", line)
                slipped = False
        if slipped:
            # the way is lost, and the answer shows it
            return shown(_spoiled(rng, node, given))
    return shown(node)


def _chained(numbers: Sequence[int], operators: Sequence[str]) -> Node:
    """((a op b) op c) …"""
    node: Node = numbers[0]
    for operator, number in zip(operators, numbers[1:], strict=True):
        node = (operator, node, number)
    return node


def _in_order(target: int, given: list[int]) -> Node:
    """The numbers as they are given, + and - chosen so that the value is nearest to the target."""
    candidates = [
        _chained(given, signs) for signs in itertools.product("+-", repeat=len(given) - 1)
    ]
    return min(candidates, key=lambda node: abs(evaluate(node) - target))


def _spoiled(rng: random.Random, node: Node, given: list[int]) -> Node:
    """The expression with one operator or one number replaced."""
    if isinstance(node, int):
        return rng.choice([*given, node + 1])
    operator, left, right = node
    chance = rng.random()
    if chance < 0.4:
        return (rng.choice([other for other in "+-*" if other != operator]), left, right)
    if chance < 0.7:
        return (operator, _spoiled(rng, left, given), right)
    return (operator, left, _spoiled(rng, right, given))


# program


def _program(notes: Notes, prompt: Prompt) -> str:
    """Two differences tell a line from a parabola; then the factor, a product, what is left."""
    rng, student = notes.rng, notes.student
    shown = [(x, value) for x, value in prompt.data["shown"]]
    (x, first), (after, second), (_, third) = shown
    square, slope, offset = parabola(shown)
    if student.guess == "right":
        return _written(square, slope, offset)
    if student.guess == "slip":
        return _written(square, slope, slip(rng, "+", 0, 0, offset))
    if student.guess:
        return _written(0, 1, first - x)  # one look at the first value
    rise = notes.step("-", second, first)
    next_rise = notes.step("-", third, second)
    if rise == next_rise or abs(next_rise - rise) % 2 or student.left_to_right:
        product = notes.step("*", rise, x) if rise != 1 else x
        offset = notes.step("-", first, product)
        believed = (0, rise, offset)
    else:
        factor = notes.step("-", next_rise, rise) // 2
        power = notes.step("*", x, x)
        product = notes.step("*", factor, power) if factor != 1 else power
        offset = notes.step("-", first, product)
        believed = (factor, 0, offset)
    if student.check:
        _, slope, offset = believed
        if slope and not believed[0]:
            notes.write("check", f"{slope}*{after}={slope * after}")
    return _written(*believed)


def _written(square: int, slope: int, offset: int) -> str:
    """The function as an expression in x."""
    terms = [
        f"{factor}*{power}" if factor != 1 else power
        for factor, power in ((square, "x*x"), (slope, "x"))
        if factor
    ]
    if not terms:
        return str(offset)
    if offset:
        terms.append(str(offset))
    return "+".join(terms).replace("+-", "-")


_WORKED: dict[str, Callable[[Notes, Prompt], str]] = {
    "sums": _sums,
    "countdown": _countdown,
    "slots": _slots,
    "program": _program,
}
