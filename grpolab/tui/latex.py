"""LaTeX formulas as characters that a terminal has: \\frac{a+b}{2} → (a+b)/2, x^{n+1} → xⁿ⁺¹.

What is not known stays as it was written. Any text is accepted; nothing here raises.
"""

from __future__ import annotations

import re

from grpolab.tui import latex_symbols as sym

DEEPEST = 40
"""Groups within groups that are understood; deeper ones stay as they were written."""

_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|[{}^_&~]|\s+|[^\\{}^_&~\s]|\\", re.S)
_FRACTIONS = frozenset(("frac", "dfrac", "tfrac", "cfrac"))
_ROWS = frozenset(("align", "aligned", "gather", "gathered", "split", "eqnarray", "equation",
                   "multline", "array", "cases", "dcases", "smallmatrix", "substack"))  # fmt: skip
_MATRIX = {"matrix": "[]", "pmatrix": "()", "bmatrix": "[]", "Bmatrix": "{}", "vmatrix": "||",
           "Vmatrix": "‖‖"}  # fmt: skip


def unicode(tex: str) -> str:
    """A formula, without its delimiters, as text; line breaks only where it has rows."""
    out = _Reader(tex).until(None)
    lines = (re.sub(r"[ \t]+", " ", line).strip() for line in out.split("\n"))
    return "\n".join(line for line in lines if line)


class _Reader:
    def __init__(self, tex: str) -> None:
        self.tokens = _TOKEN.findall(tex)
        self.at = 0
        self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def until(self, end: str | None, stop: str = "") -> str:
        """Everything up to a token, which is taken too; `stop`: up to this environment's \\end."""
        out: list[str] = []
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            if token == end:
                break
            if stop and token == "\\end" and self._name(peek=True) == stop:
                self._name()
                break
            out.append(self.one(token, out))
        return "".join(out)

    def one(self, token: str, out: list[str]) -> str:
        """What one token, with its arguments, looks like after `out`."""
        if token == "{":
            return self._group()
        if token in ("^", "_"):
            return _raised(self.argument(), token)
        if token == "&":
            return " "
        if token == "~" or token.isspace():
            return " "
        if token == "'":
            return "′"
        if not token.startswith("\\") or token == "\\":
            return token if token != "}" else ""
        return self._command(token, out)

    def argument(self) -> str:
        """The next group or token."""
        while self.peek().isspace():
            self.at += 1
        token = self.peek()
        if not token or token in ("}", "&"):
            return ""
        self.at += 1
        if self.depth >= DEEPEST:
            return token
        self.depth += 1
        try:
            return self.one(token, [])
        finally:
            self.depth -= 1

    def option(self) -> str:
        """What stands in [ ] next, if anything."""
        if self.peek() != "[":
            return ""
        self.at += 1
        return self.until("]")

    def _group(self) -> str:
        if self.depth >= DEEPEST:
            return "{"
        self.depth += 1
        try:
            return self.until("}")
        finally:
            self.depth -= 1

    def _name(self, peek: bool = False) -> str:
        """The name in the { } that follow, of an environment; without its star."""
        at, name = self.at, ""
        if self.peek() == "{":
            self.at += 1
            while self.at < len(self.tokens) and (part := self.tokens[self.at]) != "}":
                if len(name) > 20:
                    break  # no name
                name += part
                self.at += 1
            self.at += 1
        if peek:
            self.at = at
        return name.rstrip("*")

    def _command(self, token: str, out: list[str]) -> str:
        name = token[1:].rstrip("*")
        if name in sym.SYMBOLS:
            return sym.SYMBOLS[name]
        if not name[:1].isalpha():
            return sym.SIGNS.get(token[1:], token)
        if name in sym.NAMES:
            glued = bool(out) and out[-1][-1:].isalnum()
            return (
                (" " if glued else "")
                + name.removeprefix("b" if name == "bmod" else "")
                + (" " if self.peek()[:1].isalnum() or self.peek().startswith("\\") else "")
            )
        if name in sym.NOTHING:
            if name in ("left", "right", "middle") and self.peek() == ".":
                self.at += 1
            return ""
        if name in sym.PLAIN:
            return self.argument()
        return self._structure(name, token, out)

    def _structure(self, name: str, token: str, out: list[str]) -> str:
        if self.depth >= DEEPEST:
            return token
        self.depth += 1
        try:
            if name in _FRACTIONS:
                over, under = _grouped(self.argument()), _grouped(self.argument())
                mixed = bool(out) and out[-1][-1:].isdigit()
                return f"{' ' if mixed else ''}{over}/{under}"
            if name == "sqrt":
                root = _raised(self.option(), "^")
                return f"{root}√{_grouped(self.argument())}"
            if name in ("binom", "dbinom", "tbinom"):
                return f"C({self.argument()}, {self.argument()})"
            if name in ("boxed", "fbox"):
                return f"⟦{self.argument()}⟧"
            if name in sym.ACCENTS:
                under = self.argument()
                return under + sym.ACCENTS[name] if len(under) == 1 else _grouped(under)
            if name in ("overset", "stackrel"):
                over = self.argument()
                return self.argument() + _raised(over, "^")
            if name == "underset":
                under = self.argument()
                return self.argument() + _raised(under, "_")
            if name == "not":
                base = self.argument()
                return sym.NOT.get(base, base + "\u0338")
            if name in ("pmod", "mod", "pod"):
                return f" (mod {self.argument()})"
            if name == "mathbb":
                return "".join(sym.DOUBLE.get(c, c) for c in self.argument())
            if name in ("mathcal", "mathscr", "mathfrak"):
                return self.argument()
            if name in ("color", "textcolor"):
                self.argument()
                return ""
            if name in ("hspace", "vspace", "label", "hfill"):
                self.argument()
                return " "
            if name == "begin":
                return self._environment(self._name())
            if name == "end":
                self._name()
                return ""
            if self.peek() == "{":
                self.at += 1
                return f"{token}{{{self._group()}}}"
            return token
        finally:
            self.depth -= 1

    def _environment(self, name: str) -> str:
        if name in ("array", "tabular"):
            self.argument()  # how its columns are set
        if name in _MATRIX:
            left, right = _MATRIX[name]
            rows = self.until(None, name).strip().split("\n")
            return left + "; ".join(" ".join(row.split()) for row in rows if row.strip()) + right
        inner = self.until(None, name)
        if name in ("cases", "dcases"):
            rows = [" ".join(row.split()) for row in inner.split("\n") if row.strip()]
            return "{ " + "; ".join(rows)
        return f"\n{inner}\n" if name in _ROWS else inner


def _raised(text: str, sign: str) -> str:
    """An exponent or an index: in small characters where all of it has some."""
    text = text.strip()
    table = sym.SUPER if sign == "^" else sym.SUB
    if text and all(c in table for c in text):
        return "".join(table[c] for c in text)
    if not text:
        return ""
    return sign + text if len(text) == 1 else f"{sign}({text})"


def _grouped(text: str) -> str:
    """In parentheses, where it is more than one thing."""
    text = text.strip()
    one = re.fullmatch(r"[\w.′°∞]*|√?[\w.]+|\((?:[^()]*)\)|[\w.]+\((?:[^()]*)\)", text)
    return text if one else f"({text})"
