"""The keys that apply: those of the tables in `keys`, or those that a user's file gives.

The file is `$GRPOLAB_KEYS`, or `grpolab/keys.toml` under `$XDG_CONFIG_HOME` (`~/.config`), with
lines `action = "key,other key"`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from grpolab.tui.keys import ACTIONS, SCREENS, Action

BY_NAME = {a.name: a for actions in (*SCREENS.values(), ACTIONS) for a in actions}

PLACES = {"the lab": ACTIONS} | {f"the {name} screen": table for name, table in SCREENS.items()}
"""Where keys are read, and the actions there; a key means one action in each place."""

_SHOWN = {
    "number_sign": "#",
    "comma": ",",
    "slash": "/",
    "semicolon": ";",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "colon": ":",
    "underscore": "_",
    "backslash": "\\",
    "asterisk": "*",
    "delete": "del",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "right": "→",
    "left": "←",
    "up": "↑",
    "down": "↓",
    "escape": "esc",
    "shift+tab": "⇧tab",
    "shift+right": "⇧→",
    "shift+left": "⇧←",
    "shift+down": "⇧↓",
    "shift+up": "⇧↑",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "backspace": "⌫",
    "enter": "↵",
    "ctrl+p": "^p",
    "ctrl+c": "^c",
    "ctrl+q": "^q",
    "ctrl+z": "^z",
}
_WRITTEN = {
    "#": "number_sign",
    ",": "comma",
    ".": "full_stop",
    "[": "left_square_bracket",
    "]": "right_square_bracket",
    "?": "question_mark",
    ":": "colon",
    "=": "equals_sign",
    "<": "less_than_sign",
    ">": "greater_than_sign",
    "{": "left_curly_bracket",
    "}": "right_curly_bracket",
    "/": "slash",
    "_": "underscore",
    "\\": "backslash",
    "*": "asterisk",
    ";": "semicolon",
    "-": "minus",
    "+": "plus",
}


class Keymap:
    """The tables' keys, with a user's in their place."""

    def __init__(self, changed: dict[str, str] | None = None) -> None:
        self.changed = _forms(changed or {}) | (changed or {})
        self.keys = {a.name: a.keys for a in BY_NAME.values()} | self.changed

    def of(self, action: Action) -> str:
        """The action's keys: a user's, or those of its own screen."""
        return self.changed.get(action.name, action.keys)

    def shown(self, action: str | Action, every: bool = False) -> str:
        """The action's key as a person reads it; `every`: all of them."""
        keys = (self.keys[action] if isinstance(action, str) else self.of(action)).split(",")
        return " ".join(_SHOWN.get(k, k) for k in (keys if every else keys[:1]))


def _forms(changed: dict[str, str]) -> dict[str, str]:
    """The keys of actions that are forms of one with other keys now: they follow it. (Not those of
    quitting, whose key leads back from a screen.)"""
    out: dict[str, str] = {}
    for action in BY_NAME.values():
        if action.form_of in changed and action.form_of != "quit" and action.form_of in BY_NAME:
            former = BY_NAME[action.form_of].keys.split(",")
            rest = [key for key in action.keys.split(",") if key not in former]
            if len(rest) < len(action.keys.split(",")):
                out[action.name] = ",".join([*rest, changed[action.form_of]])
    return out


def load_keymap(path: Path) -> tuple[Keymap, str]:
    """The keymap with a user's changes, and one line about what is wrong in the file: not TOML, an
    unknown action, no key, or one key for two actions. Empty where nothing is."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return Keymap(), ""
    import tomllib

    path = _short(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Keymap(), f"{path}: {error}; the usual keys apply"
    changed: dict[str, str] = {}
    for name, keys in table.items():
        if name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return Keymap(changed), f"{path}: no action {name!r}{hint}"
        if not isinstance(keys, str) or not keys.strip():
            return Keymap(changed), f"{path}: {name} wants a key, got {keys!r}"
        # a comma alone is the comma key, between keys it parts them
        parts = [keys] if keys == "," else [k.strip() for k in keys.split(",") if k.strip()]
        changed[name] = ",".join(_WRITTEN.get(k, k) for k in parts)
    return Keymap(changed), _clash(path, Keymap(changed))


def _short(path: Path) -> Path:
    """The path with ~ for the home directory: it is shown on one row."""
    home = Path.home()
    return Path("~") / path.relative_to(home) if path.is_relative_to(home) else path


def _clash(path: Path, keymap: Keymap) -> str:
    """One line about the first key that a user's file gives to two actions in one place."""
    clashes = list(_clashes(keymap))
    found = list(dict.fromkeys(clash[:3] for clash in clashes))  # perhaps in several places
    if not found:
        return ""
    key, first, second, place = clashes[0]
    more = f", and {len(found) - 1} more such key{'s' * (len(found) > 2)}" if len(found) > 1 else ""
    shown = _SHOWN.get(key, key)
    return f"{path}: key {shown!r} is bound to both {first!r} and {second!r} in {place}{more}"


def _clashes(keymap: Keymap) -> Iterator[tuple[str, str, str, str]]:
    """Key, both actions, and the place. Two actions that no kind of run has both may share one."""
    for place, actions in PLACES.items():
        taken: dict[str, list[Action]] = {}
        for action in actions:
            for key in dict.fromkeys(keymap.of(action).split(",")):
                for other in taken.get(key, ()):
                    if set(other.modes) & set(action.modes):
                        yield key, other.name, action.name, place
                taken.setdefault(key, []).append(action)
