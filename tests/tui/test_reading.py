"""An answer to be read: LaTeX and Markdown as characters, the exact string, the graded part."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from grpolab.tui.group.model import exact_rows, graded_span, rendered_rows
from grpolab.tui.widgets.latex import unicode
from grpolab.tui.widgets.markdown import markdown
from grpolab.tui.widgets.palette import DARK
from grpolab.tui.widgets.text import wrapped

from .test_hostile import HOSTILE


@pytest.mark.parametrize(
    ("tex", "told"),
    [
        (r"\frac{a+b}{2}", "(a+b)/2"),
        (r"\frac12 + 2\dfrac{1}{2}", "1/2 + 2 1/2"),
        (r"x^{n+1} + x_i^2", "xⁿ⁺¹ + xᵢ²"),
        (r"e^{i\pi} + 1 = 0", "e^(iπ) + 1 = 0"),
        (r"\sum_{i=1}^{n} i = \frac{n(n+1)}{2}", "∑ᵢ₌₁ⁿ i = n(n+1)/2"),
        (r"\sqrt[3]{x+1}\cdot\sqrt2", "³√(x+1)·√2"),
        (r"\boxed{42}", "⟦42⟧"),
        (r"\left(\frac{1}{2}\right)^{2}", "(1/2)²"),
        (r"a \leq b \neq c \to \infty", "a ≤ b ≠ c → ∞"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "(1 2; 3 4)"),
        (r"\begin{aligned}x&=1\\y&=2\end{aligned}", "x =1\ny =2"),
        (r"f=\begin{cases}1&x>0\\0&\text{else}\end{cases}", "f={ 1 x>0; 0 else"),
        (r"\hat{x} \not= \bar y", "x\u0302 ≠ y\u0304"),
        (r"90^\circ, 10\%, \{a\}, f'(x)", "90°, 10%, {a}, f′(x)"),
        (r"\mathbb{R}^n, \mathbf{v}, \operatorname{rank} A", "ℝⁿ, v, rank A"),
        (r"\unknown{x}", r"\unknown{x}"),
        ("\\", "\\"),
        ("", ""),
    ],
)
def test_latex(tex: str, told: str) -> None:
    assert unicode(tex) == told


@given(st.text(alphabet=r"\{}[]^_&$~ab1 fracsqrtbegin" + "\n", max_size=120))
def test_latex_takes_anything(tex: str) -> None:
    assert isinstance(unicode(tex), str)


@pytest.mark.parametrize(
    "tex", ["{" * 2000, "^" * 2000, r"\frac" * 2000, r"\begin{a}" * 2000, r"\end{" * 2000]
)
def test_latex_has_no_depth(tex: str) -> None:
    began = time.monotonic()
    unicode(tex)
    assert time.monotonic() - began < 3


def shown(text: str, width: int = 60) -> list[str]:
    return [row.plain.rstrip() for row in markdown(text, width, DARK)]


def test_markdown() -> None:
    assert shown("# Title\n**bold** and *soft* `code`") == ["▌ Title", "", "bold and soft code"]
    assert shown("- a\n- b\n  1. c") == ["• a", "• b", "  1. c"]
    assert shown("> said\n> so") == ["▏ said", "▏ so"]
    assert shown("```\nx = *1*\n```") == ["▏ x = *1*"]
    assert shown("|a|b|\n|-|-|\n|1|$x^2$|") == ["a │ b", "──┼───", "1 │ x²"]
    assert shown("[here](http://x.y) <b>no</b>") == ["here ‹http://x.y› <b>no</b>"]
    assert shown("one\ntwo") == ["one", "two"]  # a line break is a line break


def test_stars_and_money_in_arithmetic_stay() -> None:
    assert shown("3*4*5=60, (1+2)*3*(4), 2**3**2") == ["3*4*5=60, (1+2)*3*(4), 2**3**2"]
    assert shown("it costs $5 and $6") == ["it costs $5 and $6"]
    assert shown("a_1 and b_2") == ["a_1 and b_2"]


def test_formulas_within_markdown() -> None:
    assert shown(r"so $x_1^2 * y_1 * z$ is \(\frac{1}{2}\), thus \boxed{\frac{1}{2}}") == [
        "so x₁² * y₁ * z is 1/2, thus ⟦1/2⟧"
    ]
    assert shown("$$\n\\begin{aligned}\nx &= 1 \\\\\n- y &= 2\n\\end{aligned}\n$$") == [
        "  x = 1",
        "  - y = 2",
    ]
    assert shown(r"`$x^2$`") == ["$x^2$"]
    assert shown(r"broken $x^2 and \[ never closed") == [r"broken $x^2 and [ never closed"]


SLOW = {
    "quotes": "> " * 3000, "lists": "- " * 3000, "brackets": "[" * 9000, "money": "$a " * 6000,
    "commands": r"\boxed{" * 3000, "stars": "*a " * 6000,
    "table": "|a" * 3000 + "\n" + "|-" * 3000,
} | {f"hostile {i}": raw for i, raw in enumerate(HOSTILE)}  # fmt: skip


@pytest.mark.parametrize("raw", SLOW.values(), ids=SLOW.keys())
def test_reading_leaves_nothing_that_steers(raw: str) -> None:
    for how in (exact_rows, rendered_rows):
        began = time.monotonic()
        rows = how(raw, None, 40, DARK)
        assert time.monotonic() - began < 4
        text = "".join(row.plain for row in rows)
        assert all(ord(c) >= 32 and not 127 <= ord(c) < 160 for c in text)
        assert "\u202e" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text)
        assert all(cell_len(row.plain) <= 40 for row in rows)


def test_deeply_nested_text_is_not_lost() -> None:
    text = "> " * 40 + "inmost"
    assert "inmost" in "".join(shown(text))


@settings(max_examples=60)
@given(st.text(alphabet="*_`#>-|[]()!$\\{}^ab12 \n\t<&~", max_size=150), st.integers(10, 50))
def test_markdown_takes_anything(text: str, width: int) -> None:
    assert all(cell_len(row.plain) <= width for row in markdown(text, width, DARK))


@given(st.text(max_size=200), st.integers(2, 30))
def test_the_exact_string_is_all_there(text: str, width: int) -> None:
    from grpolab.tui.widgets.text import visible

    rows = exact_rows(text, None, width + 2, DARK)
    whole = "".join(row.plain[2:] for row in rows)
    squeezed = visible(text).replace(" ", "")
    assert whole.replace(" ", "") == squeezed
    assert all(cell_len(row.plain) <= width + 2 for row in rows)


def test_words_are_kept_whole_and_tags_may_part() -> None:
    style = Style()
    rows = wrapped([("some words</think>", style), ("<answer>4", style)], 12)
    assert [r.plain for r in rows] == ["some words", "</think>", "<answer>4"]
    assert [r.plain for r in wrapped([("ab", style), ("cdef gh", style)], 7)] == ["abcdef ", "gh"]
    assert [r.plain for r in wrapped([("x" * 9, style)], 4)] == ["xxxx", "xxxx", "x"]


def test_the_graded_part_is_marked() -> None:
    text = "<think>7 <answer>no</think><answer>14</answer>"
    span = graded_span(text, "14")
    assert span is not None and text[slice(*span)] == "14"
    for how in (exact_rows, rendered_rows):
        rows = how(text, span, 60, DARK)
        marked = [row for row in rows if row.plain.startswith("▐ ")]
        assert len(marked) == 1 and "14" in marked[0].plain
    lined = [s.text for row in exact_rows(text, span, 60, DARK) for s in row.segments
             if s.style and s.style.underline]  # fmt: skip
    assert lined == ["14"]
    assert graded_span(text, None) is None
    assert graded_span("no tags, 3 then 4", "4") == (16, 17)
    assert graded_span("nothing", "4") is None
    assert not any(row.plain.startswith("▐") for row in exact_rows("none", None, 60, DARK))


def test_what_is_not_laid_out_is_told() -> None:
    rows = exact_rows("ab " * 100_000, None, 60, DARK)
    assert "100,000 more characters" in rows[-1].plain
