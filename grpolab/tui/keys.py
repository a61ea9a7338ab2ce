"""Every action of the lab with its keys, in one table. A user's file may give other keys.

`$GRPOLAB_KEYS`, or `grpolab/keys.toml` under `$XDG_CONFIG_HOME` (`~/.config`): `action = "key,other
key"` lines.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

EVERYWHERE = ("live", "watch", "replay")


@dataclass(frozen=True)
class Action:
    name: str
    keys: str
    label: str  # for the footer, one or two words
    help: str
    group: str
    modes: tuple[str, ...] = EVERYWHERE
    argument: str = ""  # of the action's method, after the name

    @property
    def call(self) -> str:
        name = self.name.rstrip("0123456789").rstrip("_") if self.argument else self.name
        return f"{name}({self.argument})"


TRAINING, LOOK, PANES, REPLAY, LAB = "Training", "Look", "Panes", "Replay", "Lab"
COMMANDS = ("live",)

ACTIONS = (
    Action("algorithm", "a", "algorithm", "switch to another algorithm", TRAINING, COMMANDS),
    Action("pause", "p", "pause", "pause or continue the training (or a replay)", TRAINING),
    Action("single", "n", "one step", "train one step, then pause", TRAINING, COMMANDS),
    Action("setting", "equals_sign", "settings", "all settings; live: change one", TRAINING),
    Action("evaluate", "e", "evaluate", "evaluate on held-out prompts now", TRAINING, COMMANDS),
    Action("fork", "F", "fork", "copy this lane, under another algorithm", TRAINING, COMMANDS),
    Action("rewind", "R", "rewind", "train on from an earlier checkpoint", TRAINING, COMMANDS),
    Action("checkpoint", "s", "save", "write a checkpoint now", TRAINING, COMMANDS),
    Action("hold", "v", "hold view", "hold the view, or follow again; training goes on", LOOK),
    Action("prompt_next", "g,shift+down", "prompt", "next prompt, with its group", LOOK),
    Action("prompt_previous", "G,shift+up", "", "previous prompt", LOOK),
    Action("answer_next", "down", "answer", "next answer", LOOK),
    Action("answer_previous", "up", "", "previous answer", LOOK),
    Action("token_next", "right", "token", "next token", LOOK),
    Action("token_previous", "left", "", "previous token", LOOK),
    Action("token_jump", "shift+right", "", "ten tokens on", LOOK),
    Action("token_back", "shift+left", "", "ten tokens back", LOOK),
    Action("channel", "c", "channel", "next per-token channel", LOOK),
    Action("channel_back", "C", "", "previous per-token channel", LOOK),
    Action("lane", "L", "lane", "next lane", LOOK),
    Action("older", "comma", "older", "one step back (live: holds the view there)", LOOK),
    Action("newer", "full_stop", "newer", "one step on", LOOK),
    Action("jump_back", "less_than_sign", "", "ten steps back", LOOK),
    Action("jump_on", "greater_than_sign", "", "ten steps on", LOOK),
    Action("moment_previous", "left_curly_bracket", "", "previous mark of the run", LOOK),
    Action("moment_next", "right_curly_bracket", "", "next mark: bookmark, switch, …", LOOK),
    Action("goto", "j", "go to", "go to a step by its number", LOOK),
    Action("bookmark", "m", "bookmark", "bookmark this step, with a note", LOOK),
    Action("time", "T", "time", "marks of the run: bookmarks, checkpoints, changes", LOOK),
    Action("first", "home", "", "first step", LOOK),
    Action("last", "end", "", "newest step, and follow", LOOK),
    Action("lens", "l", "lens", "the rollout under every algorithm", LOOK),
    Action("formula", "f", "formula", "formulas: terms, lineage, what differs", LOOK),
    Action("chat", "i", "chat", "ask the policy a question of your own", LOOK),
    Action("kl_bench", "k", "KL bench", "estimators of the KL beside the exact one", LOOK),
    Action("play", "space", "play/pause", "play or pause; live: play on from a held step", REPLAY),
    Action("slower", "left_square_bracket", "slower", "half the speed", REPLAY),
    Action("faster", "right_square_bracket", "faster", "twice the speed", REPLAY),
    Action("pane_next", "tab", "pane", "next pane", PANES),
    Action("pane_previous", "shift+tab", "", "previous pane", PANES),
    Action("zoom", "z,enter", "zoom", "give this pane the whole screen, or share it again", PANES),
    Action("page_down", "pagedown", "", "scroll this pane down", PANES),
    Action("page_up", "pageup", "", "scroll this pane up", PANES),
    Action("pane_1", "1", "", "go to Rollouts", PANES, argument="'rollouts'"),
    Action("pane_2", "2", "", "go to Tokens", PANES, argument="'tokens'"),
    Action("pane_3", "3", "", "go to Learning", PANES, argument="'learning'"),
    Action("pane_4", "4", "", "go to KL", PANES, argument="'kl'"),
    Action("pane_5", "5", "", "go to Memory", PANES, argument="'memory'"),
    Action("pane_6", "6", "", "go to Algorithm", PANES, argument="'algorithm'"),
    Action("theme", "t", "theme", "dark or light", LAB),
    Action("explain", "question_mark", "help", "explain this pane and list the keys", LAB),
    Action("session", "w", "", "save the session as a scenario that computes it again", LAB),
    Action("commands", "colon,ctrl+p", "commands", "every action by name", LAB),
    Action("back", "escape", "", "leave zoom, then let go of a held view", LAB),
    Action("quit", "q,ctrl+c,ctrl+q", "quit", "leave; a live run ends its step, resumable", LAB),
)  # fmt: skip

SCREEN = "This screen"

ANYWHERE = (
    Action("page_down", "pagedown", "", "scroll down", SCREEN),
    Action("page_up", "pageup", "", "scroll up", SCREEN),
    Action("theme", "t", "", "dark or light", SCREEN),
    Action("explain", "question_mark", "help", "explain this screen and list its keys", SCREEN),
    Action("commands", "colon,ctrl+p", "", "every action by name", SCREEN),
    Action("close", "escape,q", "back", "back to the lab", SCREEN),
    Action("quit", "ctrl+c,ctrl+q", "", "leave grpolab", SCREEN),
)
"""What every screen over the lab understands, last in its list."""

SCREENS: dict[str, tuple[Action, ...]] = {
    "lens": (
        Action("row_next", "down", "algorithm", "next algorithm (or token of the list)", SCREEN),
        Action("row_previous", "up", "", "previous one", SCREEN),
        Action("lens_enter", "enter", "details", "details; in the list: go to the token", SCREEN),
        Action("token_next", "right", "token", "next token", SCREEN),
        Action("token_previous", "left", "", "previous token", SCREEN),
        Action("token_jump", "shift+right", "", "ten tokens on", SCREEN),
        Action("token_back", "shift+left", "", "ten tokens back", SCREEN),
        Action("lens_answer_next", "right_square_bracket", "answer", "next answer", SCREEN),
        Action("lens_answer_previous", "left_square_bracket", "", "previous answer", SCREEN),
        Action("prompt_next", "g,shift+down", "", "next prompt", SCREEN),
        Action("prompt_previous", "G,shift+up", "", "previous prompt", SCREEN),
        Action("lens_mark", "c,space", "compare", "compare the others with this one", SCREEN),
        Action("lens_focus", "tab,shift+tab", "list", "to the list of tokens and back", SCREEN),
        *(
            Action(f"lens_jump_{i}", str(i % 10), "", f"go to token {i} of the list", SCREEN,
                   argument=str(i)) for i in range(1, 11)
        ),
        Action("lens_parameters", "p", "parameters", "compare gradients on parameters too", SCREEN,
               COMMANDS),
        Action("lens_again", "l", "look again", "look at the newest step", SCREEN),
        *ANYWHERE,
    ),
    "formula": (
        Action("row_next", "down", "algorithm", "next algorithm", SCREEN),
        Action("row_previous", "up", "", "previous one", SCREEN),
        Action("formula_mark", "c,space,enter", "compare", "compare the others with it", SCREEN),
        Action("formula_home", "f", "lane's", "back to the lane's own algorithm", SCREEN),
        Action("token_next", "right", "token", "numbers of the next token", SCREEN),
        Action("token_previous", "left", "", "of the previous token", SCREEN),
        *ANYWHERE,
    ),
    "chat": (
        Action("chat_type", "enter,i", "type", "type a question; enter asks it", SCREEN, COMMANDS),
        Action("chat_example", "p", "example", "ask the prompt in view", SCREEN, COMMANDS),
        Action("chat_more", "plus", "samples", "one sampled answer more", SCREEN, COMMANDS),
        Action("chat_fewer", "minus", "", "one sampled answer fewer", SCREEN, COMMANDS),
        Action("chat_greedy", "g", "greedy", "with or without the greedy answer", SCREEN, COMMANDS),
        Action("row_next", "down", "scroll", "scroll; in the line: next question", SCREEN),
        Action("row_previous", "up", "", "scroll back; in the line: earlier question", SCREEN),
        Action("lane", "L", "lane", "next lane", SCREEN),
        *ANYWHERE,
    ),
    "time": (
        Action("row_next", "down", "moment", "next moment", SCREEN),
        Action("row_previous", "up", "", "previous one", SCREEN),
        Action("first", "home", "", "the start", SCREEN),
        Action("last", "end", "", "the newest step", SCREEN),
        Action("time_go", "enter", "look", "show this step in the lab", SCREEN),
        Action("goto", "j", "go to", "go to a step by its number", SCREEN),
        Action("bookmark", "m", "bookmark", "bookmark this step, or change its note", SCREEN),
        Action("time_delete", "d,delete", "remove", "remove this bookmark", SCREEN),
        Action("rewind", "R,r", "rewind", "train on from this checkpoint", SCREEN, COMMANDS),
        Action("fork", "F,f", "fork", "fork the lane here", SCREEN, COMMANDS),
        Action("session", "w", "save session", "save the session as a scenario", SCREEN),
        *ANYWHERE,
    ),
    "kl-bench": (
        Action("row_next", "down", "measurement", "older measurement", SCREEN),
        Action("row_previous", "up", "", "newer measurement", SCREEN),
        Action("kl_bench_again", "k", "measure", "measure again, after this step", SCREEN,
               COMMANDS),
        *ANYWHERE,
    ),
}  # fmt: skip
"""The keys of the screens over the lab, by screen. A name that the lab has too means the same key
in a user's file."""

BY_NAME = {a.name: a for actions in (*SCREENS.values(), ACTIONS) for a in actions}

_SHOWN = {
    "comma": ",",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "colon": ":",
    "equals_sign": "=",
    "plus": "+",
    "minus": "-",
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
    "pagedown": "pgdn",
    "pageup": "pgup",
    "enter": "↵",
    "ctrl+p": "^p",
    "ctrl+c": "^c",
    "ctrl+q": "^q",
}
_WRITTEN = {
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
    ";": "semicolon",
    "-": "minus",
    "+": "plus",
}


class Keymap:
    """The keys in force: the table's, over them a user's."""

    def __init__(self, changed: dict[str, str] | None = None) -> None:
        self.keys = {a.name: a.keys for a in BY_NAME.values()} | (changed or {})
        self.changed = changed or {}

    def of(self, action: Action) -> str:
        """The action's keys: a user's, or those of its own screen."""
        return self.changed.get(action.name, action.keys)

    def shown(self, action: str | Action, every: bool = False) -> str:
        """The action's key as a person reads it; `every`: all of them."""
        keys = (self.keys[action] if isinstance(action, str) else self.of(action)).split(",")
        return " ".join(_SHOWN.get(k, k) for k in (keys if every else keys[:1]))


def keys_file() -> Path:
    given = os.environ.get("GRPOLAB_KEYS")
    if given:
        return Path(given)
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "grpolab" / "keys.toml"


def load_keymap(path: Path) -> tuple[Keymap, str]:
    """The keymap with a user's changes, and one line about what in the file was not understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return Keymap(), ""
    import tomllib

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
    return Keymap(changed), ""
