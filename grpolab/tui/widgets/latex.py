"""LaTeX formulas as characters that a terminal has: \frac{a+b}{2} → (a+b)/2, x^{n+1} → xⁿ⁺¹.

What is not known stays as it was written. Any text is accepted; nothing here raises.
"""

from __future__ import annotations

import re

SYMBOLS: dict[str, str] = {
    # Greek
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "vartheta": "ϑ", "iota": "ι", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "omicron": "ο", "pi": "π", "varpi": "ϖ",
    "rho": "ρ", "varrho": "ϱ", "sigma": "σ", "varsigma": "ς", "tau": "τ", "upsilon": "υ",
    "phi": "ϕ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ",
    "Upsilon": "Υ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
    # operations
    "times": "×", "div": "÷", "cdot": "·", "pm": "±", "mp": "∓", "ast": "∗", "star": "⋆",
    "circ": "∘", "bullet": "•", "oplus": "⊕", "ominus": "⊖", "otimes": "⊗", "oslash": "⊘",
    "odot": "⊙", "wedge": "∧", "land": "∧", "vee": "∨", "lor": "∨", "cap": "∩", "cup": "∪",
    "setminus": "∖", "neg": "¬", "lnot": "¬", "sum": "∑", "prod": "∏", "coprod": "∐", "int": "∫",
    "iint": "∬", "iiint": "∭", "oint": "∮", "bigcup": "⋃", "bigcap": "⋂", "bigoplus": "⨁",
    "partial": "∂", "nabla": "∇", "dagger": "†", "amalg": "⨿",
    # relations
    "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "ne": "≠",
    "neq": "≠", "equiv": "≡", "approx": "≈", "sim": "∼", "simeq": "≃", "cong": "≅",
    "propto": "∝", "ll": "≪", "gg": "≫", "prec": "≺", "succ": "≻", "subset": "⊂",
    "subseteq": "⊆", "subsetneq": "⊊", "supset": "⊃", "supseteq": "⊇", "in": "∈", "notin": "∉",
    "ni": "∋", "mid": "∣", "nmid": "∤", "parallel": "∥", "perp": "⊥", "vdash": "⊢",
    "models": "⊨", "lt": "<", "gt": ">", "coloneqq": "≔", "doteq": "≐", "asymp": "≍",
    # arrows
    "to": "→", "rightarrow": "→", "longrightarrow": "⟶", "Rightarrow": "⇒", "implies": "⟹",
    "Longrightarrow": "⟹", "leftarrow": "←", "gets": "←", "Leftarrow": "⇐", "leftrightarrow": "↔",
    "Leftrightarrow": "⇔", "iff": "⟺", "mapsto": "↦", "longmapsto": "⟼", "uparrow": "↑",
    "downarrow": "↓", "hookrightarrow": "↪", "rightharpoonup": "⇀", "nearrow": "↗",
    "searrow": "↘", "impliedby": "⟸",
    # letters and signs
    "infty": "∞", "forall": "∀", "exists": "∃", "nexists": "∄", "emptyset": "∅",
    "varnothing": "∅", "ell": "ℓ", "hbar": "ℏ", "Re": "ℜ", "Im": "ℑ", "aleph": "ℵ", "wp": "℘",
    "angle": "∠", "triangle": "△", "square": "□", "blacksquare": "■", "Rect": "□", "diamond": "⋄",
    "checkmark": "✓", "therefore": "∴", "because": "∵", "prime": "′", "degree": "°", "top": "⊤",
    "bot": "⊥", "ldots": "…", "dots": "…", "cdots": "⋯", "dotsc": "…", "dotsb": "⋯", "vdots": "⋮",
    "ddots": "⋱", "S": "§", "P": "¶", "copyright": "©", "pounds": "£", "euro": "€", "clubsuit": "♣",
    "heartsuit": "♡", "spadesuit": "♠", "diamondsuit": "♢", "flat": "♭", "sharp": "♯", "qed": "∎",
    "imath": "ı", "jmath": "ȷ", "backslash": "\\", "And": "&",
    # brackets
    "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "lvert": "|", "rvert": "|", "vert": "|", "lVert": "‖", "rVert": "‖", "Vert": "‖",
    "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")",
    # spaces
    "quad": "  ", "qquad": "    ", "space": " ", "enspace": " ", "thinspace": " ",
    "newline": "\n", "cr": "\n",
}  # fmt: skip

SIGNS: dict[str, str] = {
    "\\": "\n", ",": " ", ";": " ", ":": " ", " ": " ", "!": "", "{": "{", "}": "}", "%": "%",
    "$": "$", "#": "#", "_": "_", "&": "&", "|": "‖", "/": "", "-": "", ">": " ", "(": "", ")": "",
    "[": "", "]": "",
}  # fmt: skip
"""Commands of one character that is no letter."""

NAMES = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin",
    "arccos", "arctan", "log", "ln", "lg", "exp", "lim", "limsup", "liminf", "sup", "inf",
    "max", "min", "arg", "argmax", "argmin", "det", "dim", "ker", "hom", "gcd", "lcm", "deg",
    "Pr", "mod", "bmod",
))  # fmt: skip
"""Functions that are called what their command is called."""

NOTHING = frozenset((
    "left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl",
    "biggr", "Biggl", "Biggr", "middle", "displaystyle", "textstyle", "scriptstyle",
    "scriptscriptstyle", "limits", "nolimits", "nonumber", "notag", "hline", "centering",
    "noindent", "relax", "strut", "allowbreak", "bf", "it", "rm", "sf", "tt", "cal",
))  # fmt: skip
"""How something is set, not what it is."""

PLAIN = frozenset((
    "text", "mathrm", "textrm", "mathbf", "textbf", "mathit", "textit", "mathsf", "textsf",
    "mathtt", "texttt", "textnormal", "boldsymbol", "bm", "pmb", "operatorname", "mbox", "hbox",
    "emph", "underline", "underbrace", "overbrace", "mathop", "mathbin", "mathrel", "mathord",
    "phantom", "smash", "tag", "ensuremath", "displaylines", "textup", "pmatrix",
))  # fmt: skip
"""Commands whose argument says it all."""

ACCENTS: dict[str, str] = {
    "hat": "\u0302", "widehat": "\u0302", "bar": "\u0304", "overline": "\u0305", "vec": "\u20d7",
    "tilde": "\u0303", "widetilde": "\u0303", "dot": "\u0307", "ddot": "\u0308", "acute": "\u0301",
    "grave": "\u0300", "check": "\u030c", "breve": "\u0306", "overrightarrow": "\u20d7",
}  # fmt: skip

NOT: dict[str, str] = {
    "=": "≠", "∈": "∉", "∋": "∌", "⊂": "⊄", "⊆": "⊈", "⊃": "⊅", "≡": "≢", "∼": "≁", "≈": "≉",
    "<": "≮", ">": "≯", "≤": "≰", "≥": "≱", "∣": "∤", "∥": "∦", "∃": "∄",
}  # fmt: skip

_PLAIN = "0123456789+-=()"
SUPER: dict[str, str] = dict(
    zip(_PLAIN + "−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾⁻", strict=True),
) | dict(
    zip("abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWβγδθφχ",
        "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵝᵞᵟᶿᵠᵡ", strict=True),
) | {"∘": "°", "°": "°", "′": "′", "*": "*", "∗": "*", "†": "†"}  # fmt: skip
SUB: dict[str, str] = dict(zip(_PLAIN + "−", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎₋", strict=True)) | dict(
    zip("aehijklmnoprstuvxβγρφχ", "ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ", strict=True)
)

DOUBLE: dict[str, str] = {"C": "ℂ", "H": "ℍ", "N": "ℕ", "P": "ℙ", "Q": "ℚ", "R": "ℝ", "Z": "ℤ"}

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
        if name in SYMBOLS:
            return SYMBOLS[name]
        if not name[:1].isalpha():
            return SIGNS.get(token[1:], token)
        if name in NAMES:
            glued = bool(out) and out[-1][-1:].isalnum()
            return (
                (" " if glued else "")
                + name.removeprefix("b" if name == "bmod" else "")
                + (" " if self.peek()[:1].isalnum() or self.peek().startswith("\\") else "")
            )
        if name in NOTHING:
            if name in ("left", "right", "middle") and self.peek() == ".":
                self.at += 1
            return ""
        if name in PLAIN:
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
            if name in ACCENTS:
                under = self.argument()
                return under + ACCENTS[name] if len(under) == 1 else _grouped(under)
            if name in ("overset", "stackrel"):
                over = self.argument()
                return self.argument() + _raised(over, "^")
            if name == "underset":
                under = self.argument()
                return self.argument() + _raised(under, "_")
            if name == "not":
                base = self.argument()
                return NOT.get(base, base + "\u0338")
            if name in ("pmod", "mod", "pod"):
                return f" (mod {self.argument()})"
            if name == "mathbb":
                return "".join(DOUBLE.get(c, c) for c in self.argument())
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
    table = SUPER if sign == "^" else SUB
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
