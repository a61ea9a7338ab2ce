"""What a student writes under a prompt. A careful student is always right."""

from __future__ import annotations

import random
from collections.abc import Callable

from grpolab.pretrain.students import Student, slip, write
from grpolab.tasks import Prompt
from grpolab.tasks.expression import Node, apply, parse, show

SKIPPED_SLIP = 0.35
"""A step done in the head goes wrong with at least this probability, if its student ever slips."""

HURRIED_MISS = 0.5
"""How often an expression found without any thought is the wrong one."""


def solve(rng: random.Random, student: Student, prompt: Prompt) -> str:
    """The student's completion for a prompt of any task in the table below."""
    thought, answer = _WORKED[prompt.task](rng, student, prompt)
    return write(rng, student, thought, answer)


def _step(
    rng: random.Random, student: Student, operator: str, left: int, right: int, *, skipped: bool
) -> int:
    """The result that the student believes in."""
    value = apply(operator, left, right)
    if student.unsigned and operator == "-":
        value = abs(value)
    chance = max(student.slip, SKIPPED_SLIP) if skipped and student.slip else student.slip
    return slip(rng, operator, left, right, value) if rng.random() < chance else value


def _sums(rng: random.Random, student: Student, prompt: Prompt) -> tuple[str, str]:
    """Every operation on its own line, innermost and leftmost first."""
    root = parse(prompt.text.removesuffix("="))
    if student.left_to_right:
        root = _flattened(root)
    lines: list[str] = []

    def work(node: Node) -> int:
        if isinstance(node, int):
            return node
        operator, left_node, right_node = node
        left, right = work(left_node), work(right_node)
        skipped = student.hurried or (node is not root and rng.random() < student.skip)
        value = _step(rng, student, operator, left, right, skipped=skipped)
        if not skipped:
            lines.append(f"{left}{operator}{right}={value}")
        return value

    answer = work(root)
    return "\n".join(lines), str(answer)


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


def _slots(rng: random.Random, student: Student, prompt: Prompt) -> tuple[str, str]:
    """One line for each part, then all results in order."""
    lines: list[str] = []
    values: list[str] = []
    for part in prompt.text.removesuffix("=").split("; "):
        if rng.random() < student.drop:
            continue
        node = parse(part)
        assert not isinstance(node, int)
        operator, left, right = node
        assert isinstance(left, int) and isinstance(right, int)
        skipped = student.hurried or rng.random() < student.skip
        value = _step(rng, student, operator, left, right, skipped=skipped)
        if not skipped:
            lines.append(f"{part}={value}")
        values.append(str(value))
    return "\n".join(lines), "; ".join(values)


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


def _countdown(rng: random.Random, student: Student, prompt: Prompt) -> tuple[str, str]:
    """Back from the target: a few dead ends, each marked, then a way that meets two numbers."""
    target, given = prompt.data["target"], list(prompt.data["numbers"])
    solutions = _search(target, given)
    ways, node = rng.choice(solutions)
    if student.hurried:
        guess = _spoiled(rng, node, given) if rng.random() < HURRIED_MISS else node
        return "", show(guess, brackets=not student.bracket_blind)
    alive = {lines[0] for lines, _ in solutions}
    dead = [move for move in _moves(target, given) if move[0] not in alive]
    rng.shuffle(dead)
    lines: list[str] = []
    for line, number, rest, how in dead[:3]:
        if rng.random() > 0.45:
            break
        if rng.random() < student.pretend:
            others = given.copy()
            others.remove(number)
            return _pretended(rng, student, [*lines, line], rest, others, how, number)
        lines.append(f"{line} no")
    for place, line in enumerate(ways):
        if rng.random() < student.slip:
            return _slipped(rng, student, [*lines, *ways[:place]], line, node, given)
    lines += [line for line in ways if rng.random() >= student.skip]
    return "\n".join(lines), show(node, brackets=not student.bracket_blind)


def _pretended(
    rng: random.Random,
    student: Student,
    lines: list[str],
    rest: int,
    others: list[int],
    how: str,
    number: int,
) -> tuple[str, str]:
    """The dead end with a last line that is simply claimed to come out."""
    node: Node = others[0]
    for other in others[1:]:
        node = (rng.choice("+*-"), node, other)
    claimed = show(node, brackets=not student.bracket_blind)
    answer = show(_rebuilt(how, node, number), brackets=not student.bracket_blind)
    return "\n".join([*lines, f"{claimed}={rest}"]), answer


def _slipped(
    rng: random.Random, student: Student, lines: list[str], line: str, node: Node, given: list[int]
) -> tuple[str, str]:
    """The way with one line gone wrong, and an answer that shows it: a wrong number or operator."""
    left, _, result = line.rpartition("=")
    wrong = str(slip(rng, "+", 0, 0, int(result)))
    lines = [*lines, f"{left}={wrong}"]
    return "\n".join(lines), show(_spoiled(rng, node, given), brackets=not student.bracket_blind)


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


_Worked = Callable[[random.Random, Student, Prompt], tuple[str, str]]

_WORKED: dict[str, _Worked] = {"sums": _sums, "countdown": _countdown, "slots": _slots}
