"""Integer arithmetic on text: a recursive-descent parser with hard bounds, and its evaluator.

Model text is never evaluated as code. Grammar (spaces are free between tokens):

    sum     := product (('+' | '-') product)*
    product := atom (('*' | '/') atom)*
    atom    := DIGITS | '(' sum ')'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2}

Node = int | tuple[str, "Node", "Node"]
"""A number, or (operator, left, right)."""


class ExpressionError(ValueError):
    """The text is no expression within the bounds, or its value leaves them."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an expression may cost: characters, nesting, digits of a number, size of any value."""

    length: int = 96
    depth: int = 12
    digits: int = 6
    magnitude: int = 10**9


DEFAULT_BOUNDS = Bounds()


def parse(text: str, bounds: Bounds = DEFAULT_BOUNDS) -> Node:
    """Parse one expression that fills the whole text. Raises ExpressionError."""
    if len(text) > bounds.length:
        raise ExpressionError(f"longer than {bounds.length} characters")
    parser = _Parser(text, bounds)
    node = parser.sum(0)
    if parser.here:
        raise ExpressionError(f"{parser.here!r} does not belong there")
    return node


def evaluate(node: Node, bounds: Bounds = DEFAULT_BOUNDS) -> int:
    """The exact value. Raises ExpressionError on a remainder, a zero divisor or a huge value."""
    if isinstance(node, int):
        return node
    operator, left, right = node
    value = apply(operator, evaluate(left, bounds), evaluate(right, bounds))
    if abs(value) > bounds.magnitude:
        raise ExpressionError("a value is too large")
    return value


def apply(operator: str, left: int, right: int) -> int:
    """`left operator right`. Raises ExpressionError if a division does not come out even."""
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        raise ExpressionError("division by zero")
    if left % right:
        raise ExpressionError(f"{left}/{right} leaves a remainder")
    return left // right


def numbers(node: Node) -> Iterator[int]:
    """The numbers of the expression from left to right."""
    if isinstance(node, int):
        yield node
    else:
        yield from numbers(node[1])
        yield from numbers(node[2])


def show(node: Node, *, brackets: bool = True) -> str:
    """The text of an expression, with as few brackets as its meaning needs (or with none)."""
    if isinstance(node, int):
        return str(node)
    operator, left, right = node
    strength = STRENGTH[operator]
    left_text, right_text = show(left, brackets=brackets), show(right, brackets=brackets)
    if brackets and not isinstance(left, int) and STRENGTH[left[0]] < strength:
        left_text = f"({left_text})"
    if brackets and not isinstance(right, int):
        # only a+(b+c) may lose its brackets: elsewhere the value, or a step on the way, changes
        free = STRENGTH[right[0]] > strength or operator + right[0] == "++"
        right_text = right_text if free else f"({right_text})"
    return f"{left_text}{operator}{right_text}"


class _Parser:
    """One pass over the text; `here` is the character under the cursor, "" at the end."""

    def __init__(self, text: str, bounds: Bounds) -> None:
        self.text = text
        self.bounds = bounds
        self.at = -1
        self.here = ""
        self._advance()

    def sum(self, depth: int) -> Node:
        node = self._product(depth)
        while self.here == "+" or self.here == "-":
            operator = self._take()
            node = (operator, node, self._product(depth))
        return node

    def _product(self, depth: int) -> Node:
        node = self._atom(depth)
        while self.here == "*" or self.here == "/":
            operator = self._take()
            node = (operator, node, self._atom(depth))
        return node

    def _atom(self, depth: int) -> Node:
        if self.here == "(":
            if depth >= self.bounds.depth:
                raise ExpressionError(f"brackets nested deeper than {self.bounds.depth}")
            self._advance()
            node = self.sum(depth + 1)
            if self.here != ")":
                raise ExpressionError("a bracket is not closed")
            self._advance()
            return node
        return self._number()

    def _number(self) -> int:
        start = self.at
        # not str.isdigit: that also accepts digits of other scripts
        while self.at < len(self.text) and self.text[self.at] in "0123456789":
            self.at += 1
        digits = self.text[start : self.at]
        if not digits:
            raise ExpressionError(f"a number should stand before {self.here!r}")
        if len(digits) > self.bounds.digits:
            raise ExpressionError(f"a number has more than {self.bounds.digits} digits")
        self.at -= 1
        self._advance()
        return int(digits)

    def _take(self) -> str:
        taken = self.here
        self._advance()
        return taken

    def _advance(self) -> None:
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        self.here = self.text[self.at] if self.at < len(self.text) else ""
