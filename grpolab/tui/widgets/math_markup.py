"""Formulas within Markdown: $…$, $$…$$, \\(…\\), \\[…\\] and a bare \\boxed{…} or \\frac{…}{…}
become tokens of their own, so that Markdown leaves their stars and underscores alone. And a star
between two digits, letters or brackets stays a star.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

LONGEST, WITHIN = 4000, 400
"""Characters of a formula; longer ones stay as they were written. `WITHIN`: of one between single
dollars or of a bare command."""

_CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}
_BARE = re.compile(r"\\(?:boxed|fbox|[dt]?frac|sqrt|text|d?binom|mathbb|mathrm)(?=[\[{])")
_BRACE = re.compile(r"\\.|[{}]", re.S)
_STARS = re.compile(r"\*+")


@lru_cache(maxsize=1)
def parser() -> MarkdownIt:
    """Markdown with tables, without HTML, with formulas."""
    from markdown_it import MarkdownIt

    md = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    md.enable(["table", "strikethrough"])
    md.disable(["reference", "image", "autolink", "entity"])
    md.inline.ruler.before("escape", "math", _inline)
    md.inline.ruler.before("emphasis", "star", _star)
    md.block.ruler.before("fence", "math", _block, {"alt": ["paragraph", "blockquote", "list"]})
    return md


def _inline(state: StateInline, silent: bool) -> bool:
    at, text = state.pos, state.src
    if text[at] not in "$\\":
        return False
    end = start = -1
    closing = ""
    for opening, closing in _CLOSING.items():
        if text.startswith(opening, at):
            start = at + len(opening)
            end = _close(text, start, closing, state.posMax)
            break
    if end < 0:
        return _command(state, silent)
    stop = end + len(closing)
    if not silent:
        state.push("math", "", 0).content = text[start:end]
    state.pos = stop
    return True


def _close(text: str, start: int, closing: str, last: int) -> int:
    """Where a formula ends, or −1. A lone $ is money unless it clings to its formula."""
    if closing != "$":
        return text.find(closing, start, min(last, start + LONGEST))
    limit = min(last, start + WITHIN)
    if start >= last or text[start].isspace():
        return -1
    end = start
    while (end := text.find("$", end, limit)) >= 0:
        alone = not text[end - 1].isspace() and text[end - 1] != "\\" and end > start
        if alone and not text[end + 1 : end + 2].isdigit():
            return end
        end += 1
    return -1


def _command(state: StateInline, silent: bool) -> bool:
    """A command with its arguments, outside any formula."""
    match = _BARE.match(state.src, state.pos)
    if match is None:
        return False
    end = match.end()
    for _ in range(3):
        if state.src[end : end + 1] == "[":
            close = state.src.find("]", end, end + 40)
            if close < 0:
                return False
            end = close + 1
        if state.src[end : end + 1] != "{":
            break
        end = _braces(state.src, end, min(state.posMax, end + WITHIN))
        if end < 0:
            return False
    if not silent:
        state.push("math", "", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


def _braces(text: str, at: int, limit: int) -> int:
    """Behind the brace that closes the one at `at`; −1 where none does."""
    depth = 0
    for match in _BRACE.finditer(text, at, limit):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return -1


def _star(state: StateInline, silent: bool) -> bool:
    """3*4*5 multiplies; it does not emphasize the 4."""
    at, text = state.pos, state.src
    if text[at] != "*" or at == 0 or not (text[at - 1].isalnum() or text[at - 1] in ")]}"):
        return False
    end = _STARS.match(text, at)
    stop = end.end() if end is not None else at + 1
    if not (text[stop : stop + 1].isalnum() or text[stop : stop + 1] in tuple("([{\\")):
        return False
    if stop - at > 1 and not (text[at - 1].isdigit() and text[stop].isdigit()):
        return False  # bold text next to a word
    if not silent:
        state.pending += text[at:stop]
    state.pos = stop
    return True


def _block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A formula that begins a line and may go over several."""
    begin = state.bMarks[first] + state.tShift[first]
    opening = state.src[begin : begin + 2]
    if opening not in ("$$", "\\["):
        return False
    closing = _CLOSING[opening]
    close = state.src.find(closing, begin + 2, min(state.eMarks[last - 1], begin + LONGEST))
    if close < 0:
        return False
    line = first
    while line < last and state.eMarks[line] < close + 2:
        line += 1
    if line >= last or state.src[close + 2 : state.eMarks[line]].strip(" .,;"):
        return False  # more text in its last line: it stands within a paragraph
    if not silent:
        token = state.push("math_block", "", 0)
        token.content = state.src[begin + 2 : close]
        token.map = [first, line + 1]
        state.line = line + 1
    return True
