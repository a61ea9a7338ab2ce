"""The expression parser: precedence, exactness, and every kind of hostile text."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpolab.tasks.expression import (
    Bounds,
    ExpressionError,
    Node,
    evaluate,
    numbers,
    parse,
    show,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("20-5-3", 12),
        ("20-(5-3)", 18),
        ("24/4/2", 3),
        ("24/(4/2)", 12),
        ("2*3-4*5", -14),
        (" 7 * ( 1 + 2 ) ", 21),
        ("((((((5))))))", 5),
        ("007", 7),
    ],
)
def test_value(text: str, value: int) -> None:
    assert evaluate(parse(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "+", "1+", "*2", "(1", "1)", "()", "1 2", "--1", "-1", "1++2", "1**2", "2^3"],
        *["1//2", "1.5", "1e3", "0x10", "1_000", "٣+٤", "²", "1+2=3", "a", "__import__('os')"],
        *["1\n+2", "1\0+2", "1\t+2", "(" * 13 + "1" + ")" * 13, "1234567", "7/2", "1/0", "1/(2-2)"],
        "999999*999999",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(parse(text))


@pytest.mark.parametrize("piece", ["(", ")", "1+", "9", " ", "-", "1*(", "\0", "٣", "1/0+"])
def test_hostile_length_costs_nothing(piece: str) -> None:
    began = time.process_time()
    with pytest.raises(ExpressionError):
        evaluate(parse(piece * (100_000 // len(piece))))
    assert time.process_time() - began < 0.1


@given(st.text(max_size=120))
def test_any_text_gives_a_node_or_the_one_error(text: str) -> None:
    try:
        value = evaluate(parse(text))
    except ExpressionError:
        return
    assert isinstance(value, int)


nodes: st.SearchStrategy[Node] = st.recursive(
    st.integers(0, 99), lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner), max_leaves=6
)


def exact(node: Node) -> Fraction | None:
    """An independent evaluator: rational numbers, None where a division is not whole."""
    if isinstance(node, int):
        return Fraction(node)
    left, right = exact(node[1]), exact(node[2])
    if left is None or right is None:
        return None
    match node[0]:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if right == 0 or (left / right).denominator != 1:
        return None
    return left / right


@given(nodes)
def test_show_then_parse_keeps_value_and_numbers(node: Node) -> None:
    bounds = Bounds(magnitude=10**14)
    again = parse(show(node), bounds)
    assert list(numbers(again)) == list(numbers(node))
    wanted = exact(node)
    if wanted is None:
        with pytest.raises(ExpressionError):
            evaluate(node, bounds)
    else:
        assert evaluate(node, bounds) == wanted
        assert evaluate(again, bounds) == wanted
