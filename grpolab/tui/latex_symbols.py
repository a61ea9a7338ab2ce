"""What LaTeX's commands look like as characters."""

from __future__ import annotations

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
    "angle": "∠", "triangle": "△", "square": "□", "blacksquare": "■", "Box": "□", "diamond": "⋄",
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
