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
    Action("second", "x", "2nd channel", "another channel beside it, or none", LOOK),
    Action("second_back", "X", "", "the same, backwards", LOOK),
    Action("lane", "L", "lane", "next lane", LOOK),
    Action("older", "comma", "older", "one step back (live: holds the view there)", LOOK),
    Action("newer", "full_stop", "newer", "one step on", LOOK),
    Action("jump_back", "less_than_sign", "", "ten steps back", LOOK),
    Action("jump_on", "greater_than_sign", "", "ten steps on", LOOK),
    Action("moment_previous", "left_curly_bracket", "", "previous mark of the run", LOOK),
    Action("moment_next", "right_curly_bracket", "", "next mark: bookmark, switch, …", LOOK),
    Action("goto", "j", "go to", "go to a step by its number", LOOK),
    Action("bookmark", "b", "bookmark", "bookmark this step, with a note", LOOK),
    Action("time", "T", "time", "marks of the run: bookmarks, checkpoints, changes", LOOK),
    Action("first", "home", "", "first step", LOOK),
    Action("last", "end", "", "newest step, and follow", LOOK),
    Action("group", "w", "group", "the whole group side by side", LOOK),
    Action("read", "o", "read", "read this answer: exact or rendered, what was graded", LOOK),
    Action("answers", "slash", "search", "search all answers of the run", LOOK),
    Action("answer_copy", "y", "", "copy this answer to the clipboard", LOOK),
    Action("answer_save", "Y", "", "save this answer to a file", LOOK),
    Action("lens", "l", "lens", "the rollout under every algorithm", LOOK),
    Action("formula", "f", "formula", "formulas: terms, lineage, what differs", LOOK),
    Action("chat", "i", "chat", "ask the policy a question of your own", LOOK),
    Action("kl_bench", "k", "KL bench", "estimators of the KL beside the exact one", LOOK),
    Action("curves", "u", "curves", "curves of every recorded number, over each other", LOOK),
    Action("health", "h", "health", "what is wrong, and why the loss is what it is", LOOK),
    Action("memory_screen", "M", "memory", "memory by owner over the steps and by phase", LOOK),
    Action("trace", "V", "trace", "credit along the answer: values, GAE; the verdict", LOOK),
    Action("slow", "m", "slow", "slow motion: one rollout at reading speed", LOOK),
    Action("play", "space", "play/pause", "play or pause; live: play on from a held step", REPLAY),
    Action("slower", "left_square_bracket", "slower", "half the speed", REPLAY),
    Action("faster", "right_square_bracket", "faster", "twice the speed", REPLAY),
    Action("pane_next", "tab", "pane", "next pane", PANES),
    Action("pane_previous", "shift+tab", "", "previous pane", PANES),
    Action("open", "enter", "", "one level down: curve, step, group; else zoom", PANES),
    Action("zoom", "z", "zoom", "give this pane the whole screen, or share it again", PANES),
    Action("page_down", "pagedown", "", "scroll this pane down", PANES),
    Action("page_up", "pageup", "", "scroll this pane up", PANES),
    Action("pane_1", "1", "", "go to Rollouts", PANES, argument="'rollouts'"),
    Action("pane_2", "2", "", "go to Tokens", PANES, argument="'tokens'"),
    Action("pane_3", "3", "", "go to Learning", PANES, argument="'learning'"),
    Action("pane_4", "4", "", "go to KL", PANES, argument="'kl'"),
    Action("pane_5", "5", "", "go to Memory", PANES, argument="'memory'"),
    Action("pane_6", "6", "", "go to Algorithm", PANES, argument="'algorithm'"),
    Action("theme", "t", "theme", "dark, light, or high contrast; remembered", LAB),
    Action("layout", "W", "layout", "panes: by size, all, two columns, one; remembered", LAB),
    Action("motion", "D", "motion", "full, reduced, or sparing for SSH; remembered", LAB),
    Action("picture", "P", "picture", "save a picture of the screen, as SVG", LAB),
    Action("tour", "N", "tour", "a guided tour of the lab", LAB),
    Action("glossary", "H", "words", "every word on the screen, explained", LAB),
    Action("explain", "question_mark", "help", "explain this pane and list the keys", LAB),
    Action("session", "S", "", "save the session as a scenario that computes it again", LAB),
    Action("commands", "colon,ctrl+p", "commands", "every action by name", LAB),
    Action("back", "escape", "", "back up a level, leave zoom, let go of a held view", LAB),
    Action("quit", "q,ctrl+c,ctrl+q", "quit", "leave; a live run ends its step, resumable", LAB),
)  # fmt: skip

SCREEN = "This screen"

ANYWHERE = (
    Action("page_down", "pagedown", "", "scroll down", SCREEN),
    Action("page_up", "pageup", "", "scroll up", SCREEN),
    Action("theme", "t", "", "dark, light, or high contrast; remembered", SCREEN),
    Action("picture", "P", "", "save a picture of the screen, as SVG", SCREEN),
    Action("glossary", "H", "", "every word on the screen, explained", SCREEN),
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
        Action("lens_what_if", "w", "what if", "change settings, see it scored again", SCREEN),
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
    "what-if": (
        Action("row_next", "down", "setting", "next thing to change", SCREEN),
        Action("row_previous", "up", "", "previous one", SCREEN),
        Action("whatif_turn", "right", "change", "larger, or the next word", SCREEN),
        Action("whatif_turn_back", "left", "", "smaller, or the previous word", SCREEN),
        Action("whatif_type", "enter", "type", "type a value, or choose an algorithm", SCREEN),
        Action("whatif_apply", "a", "apply", "give the change to the lane of a live run", SCREEN),
        Action("whatif_undo", "backspace", "undo", "this one as it was", SCREEN),
        Action("whatif_undo_all", "u", "undo all", "everything as it was", SCREEN),
        Action("whatif_page", "tab", "page", "outcome, answers, tokens (small screen)", SCREEN),
        Action("lens_answer_next", "right_square_bracket", "answer", "next answer", SCREEN),
        Action("lens_answer_previous", "left_square_bracket", "", "previous answer", SCREEN),
        Action("prompt_next", "g,shift+down", "", "next prompt", SCREEN),
        Action("prompt_previous", "G,shift+up", "", "previous prompt", SCREEN),
        *ANYWHERE,
    ),
    "source": (
        Action("source_down", "down,j", "scroll", "one line down", SCREEN),
        Action("source_up", "up,k", "", "one line up", SCREEN),
        Action("source_first", "home", "", "to the first line", SCREEN),
        Action("source_last", "end", "", "to the last line", SCREEN),
        Action("source_next", "right,tab", "file", "the next file that it is built on", SCREEN),
        Action("source_previous", "left,shift+tab", "", "the previous file", SCREEN),
        *ANYWHERE,
    ),
    "formula": (
        Action("row_next", "down", "algorithm", "next algorithm", SCREEN),
        Action("row_previous", "up", "", "previous one", SCREEN),
        Action("formula_mark", "space,enter", "compare", "compare the others with it", SCREEN),
        Action("formula_source", "c", "source", "the algorithm's own file", SCREEN),
        Action("formula_home", "f", "lane's", "back to the lane's own algorithm", SCREEN),
        Action("token_next", "right", "token", "numbers of the next token", SCREEN),
        Action("token_previous", "left", "", "of the previous token", SCREEN),
        *ANYWHERE,
    ),
    "group": (
        Action("group_next", "right", "answer", "next answer", SCREEN),
        Action("group_previous", "left", "", "previous answer", SCREEN),
        Action("group_up", "up", "", "the answer above", SCREEN),
        Action("group_down", "down", "", "the answer below", SCREEN),
        Action("group_read", "enter,o", "read", "read the answer, and on to its tokens", SCREEN),
        Action("group_order", "r", "order", "sampled, by reward, advantage or length", SCREEN),
        Action("group_turn", "R", "", "turn the order round", SCREEN),
        Action("group_apart", "d", "differences", "where the others part from this one", SCREEN),
        Action("prompt_next", "g,shift+down", "prompt", "next prompt's group", SCREEN),
        Action("prompt_previous", "G,shift+up", "", "previous prompt's group", SCREEN),
        Action("answer_copy", "y", "copy", "copy the answer to the clipboard", SCREEN),
        Action("answer_save", "Y", "save", "save the answer to a file", SCREEN),
        Action("group_first", "home", "", "first answer", SCREEN),
        Action("group_last", "end", "", "last answer", SCREEN),
        *ANYWHERE,
    ),
    "answers": (
        Action("row_next", "down", "answer", "next answer found", SCREEN),
        Action("row_previous", "up", "", "previous answer found", SCREEN),
        Action("answers_go", "enter", "go there", "take the lab to this answer", SCREEN),
        Action("answers_text", "slash", "text", "text that the answers contain", SCREEN),
        Action("answers_regex", "x", "regex", "text as plain words or regular expression", SCREEN),
        Action("answers_verdict", "v", "", "all answers, right or wrong ones", SCREEN),
        Action("answers_ended", "e", "", "all answers, finished or cut ones", SCREEN),
        Action("answers_reward", "r", "", "a range of the reward", SCREEN),
        Action("answers_steps", "s", "", "a range of steps", SCREEN),
        Action("answers_level", "d", "", "prompts of one difficulty", SCREEN),
        Action("answers_lane", "L", "", "answers of one lane", SCREEN),
        Action("answers_order", "n", "", "newest, by reward, or by length first", SCREEN),
        Action("answers_clear", "c", "clear", "let every answer through again", SCREEN),
        Action("answers_again", "u", "again", "search again, with the newest steps", SCREEN),
        Action("read", "o", "read", "read the answer", SCREEN),
        Action("group", "w", "group", "the answer's whole group", SCREEN),
        Action("answer_copy", "y", "copy", "copy the answer to the clipboard", SCREEN),
        Action("answer_save", "Y", "save", "save the answer to a file", SCREEN),
        Action("answers_jump", "shift+down", "", "ten answers on", SCREEN),
        Action("answers_back", "shift+up", "", "ten answers back", SCREEN),
        Action("answers_first", "home", "", "first answer found", SCREEN),
        Action("answers_last", "end", "", "last answer found", SCREEN),
        *ANYWHERE,
    ),
    "reader": (
        Action("reader_render", "m", "plain/rendered", "exact string, or Markdown and LaTeX",
               SCREEN),
        Action("reader_tokens", "enter", "tokens", "on to the answer's tokens", SCREEN),
        Action("reader_next", "right_square_bracket,right", "answer", "next answer", SCREEN),
        Action("reader_previous", "left_square_bracket,left", "", "previous answer", SCREEN),
        Action("prompt_next", "g,shift+down", "prompt", "next prompt", SCREEN),
        Action("prompt_previous", "G,shift+up", "", "previous prompt", SCREEN),
        Action("answer_copy", "y", "copy", "copy the answer to the clipboard", SCREEN),
        Action("answer_save", "Y", "save", "save the answer to a file", SCREEN),
        Action("group", "w", "group", "the whole group side by side", SCREEN),
        Action("reader_down", "down", "", "scroll on", SCREEN),
        Action("reader_up", "up", "", "scroll back", SCREEN),
        Action("reader_first", "home", "", "to its beginning", SCREEN),
        Action("reader_last", "end", "", "to its end", SCREEN),
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
        Action("bookmark", "b", "bookmark", "bookmark this step, or change its note", SCREEN),
        Action("time_delete", "d,delete", "remove", "remove this bookmark", SCREEN),
        Action("rewind", "R,r", "rewind", "train on from this checkpoint", SCREEN, COMMANDS),
        Action("fork", "F,f", "fork", "fork the lane here", SCREEN, COMMANDS),
        Action("session", "S", "save session", "save the session as a scenario", SCREEN),
        *ANYWHERE,
    ),
    "trace": (
        Action("token_next", "down,right", "token", "next token", SCREEN),
        Action("token_previous", "up,left", "", "previous token", SCREEN),
        Action("token_jump", "shift+right", "", "ten tokens on", SCREEN),
        Action("token_back", "shift+left", "", "ten tokens back", SCREEN),
        Action("trace_answer_next", "right_square_bracket", "answer", "next answer", SCREEN),
        Action("trace_answer_previous", "left_square_bracket", "", "previous answer", SCREEN),
        Action("prompt_next", "g,shift+down", "prompt", "next prompt", SCREEN),
        Action("prompt_previous", "G,shift+up", "", "previous prompt", SCREEN),
        Action("hold", "v", "hold", "hold this step, or follow the newest again", SCREEN),
        *ANYWHERE,
    ),
    "slow": (
        Action("slow_play", "space", "play/pause", "play or pause the telling", SCREEN),
        Action("slow_next", "right", "beat", "one beat on (or do not wait)", SCREEN),
        Action("slow_back", "left", "", "one beat back", SCREEN),
        Action("slow_stage", "tab", "stage", "to the next stage", SCREEN),
        Action("slow_stage_back", "shift+tab", "", "to the stage before", SCREEN),
        Action("slow_faster", "right_square_bracket", "speed", "twice the speed", SCREEN),
        Action("slow_speed_back", "left_square_bracket", "", "half the speed", SCREEN),
        Action("pause", "p", "training", "pause or continue the training", SCREEN, COMMANDS),
        Action("answer_next", "down", "answer", "follow the next answer closely", SCREEN),
        Action("answer_previous", "up", "", "follow the previous one", SCREEN),
        Action("prompt_next", "g,shift+down", "prompt", "the next prompt's group", SCREEN),
        Action("prompt_previous", "G,shift+up", "", "the previous prompt's", SCREEN),
        Action("slow_again", "m", "newest", "the newest step, from the start", SCREEN),
        Action("slow_start", "home", "", "from the start", SCREEN),
        *ANYWHERE,
    ),
    "kl-bench": (
        Action("row_next", "down", "measurement", "older measurement", SCREEN),
        Action("row_previous", "up", "", "newer measurement", SCREEN),
        Action("kl_bench_again", "k", "measure", "measure again, after this step", SCREEN,
               COMMANDS),
        *ANYWHERE,
    ),
    "health": (
        Action("row_next", "down", "verdict", "next verdict (or scroll the loss)", SCREEN),
        Action("row_previous", "up", "", "previous verdict", SCREEN),
        Action("health_try_1", "1", "set this", "set the first suggestion now", SCREEN,
               COMMANDS, argument="1"),
        Action("health_try_2", "2", "set that", "set the second suggestion now", SCREEN,
               COMMANDS, argument="2"),
        Action("health_curve", "enter,u", "curve", "the curve that shows it", SCREEN),
        Action("health_focus", "tab,shift+tab", "loss", "to the loss and back", SCREEN),
        Action("older", "comma", "older", "as it stood one step before", SCREEN),
        Action("newer", "full_stop", "", "as it stood one step later", SCREEN),
        Action("lane", "L", "lane", "the loss of the next lane", SCREEN),
        *ANYWHERE,
    ),
    "memory": (
        Action("memory_right", "right", "step", "cursor to the next step", SCREEN),
        Action("memory_right_back", "left", "", "cursor to the step before", SCREEN),
        Action("memory_jump", "shift+right", "", "ten steps on", SCREEN),
        Action("memory_jump_back", "shift+left", "", "ten steps back", SCREEN),
        Action("memory_first", "home", "", "first step", SCREEN),
        Action("memory_last", "end", "", "newest step, and follow", SCREEN),
        Action("row_next", "down", "phase", "next phase", SCREEN),
        Action("row_previous", "up", "", "previous phase", SCREEN),
        Action("memory_shares", "s", "shares", "bytes, or shares of all", SCREEN),
        Action("memory_foreign", "o", "outside", "with or without what is not torch's", SCREEN),
        Action("memory_table", "tab,shift+tab", "table", "by owner or by phase", SCREEN),
        Action("lane", "L", "lane", "next lane", SCREEN),
        *ANYWHERE,
    ),
    "curves": (
        Action("row_next", "down", "metric", "next metric of the list", SCREEN),
        Action("row_previous", "up", "", "previous metric", SCREEN),
        Action("curves_pick", "space,enter", "draw", "draw this metric, or take it away", SCREEN),
        Action("curves_cursor", "right", "cursor", "cursor to the right", SCREEN),
        Action("curves_cursor_back", "left", "", "cursor to the left", SCREEN),
        Action("curves_jump", "shift+right", "", "ten columns on", SCREEN),
        Action("curves_back", "shift+left", "", "ten columns back", SCREEN),
        Action("curves_first", "home", "", "cursor to the first step in sight", SCREEN),
        Action("curves_last", "end", "", "cursor to the newest step, and follow", SCREEN),
        Action("curves_smooth", "s", "smooth", "smooth more; after the strongest, not", SCREEN,
               argument="1"),
        Action("curves_smooth_back", "S", "", "smooth less", SCREEN, argument="-1"),
        Action("curves_axis", "x", "x axis", "by step, update, sample, token, time", SCREEN,
               argument="1"),
        Action("curves_axis_back", "X", "", "the axis before", SCREEN, argument="-1"),
        Action("curves_log", "y", "log", "logarithmic y axis, or linear", SCREEN),
        Action("curves_range", "r", "range", "begin a range; again: zoom to it", SCREEN),
        Action("curves_zoom", "plus", "zoom", "closer to the cursor", SCREEN),
        Action("curves_zoom_back", "minus", "", "farther out", SCREEN),
        Action("curves_whole", "0", "whole", "the whole run", SCREEN),
        Action("curves_bands", "b", "bands", "seeds as one band, or each lane alone", SCREEN),
        Action("curves_list", "tab", "list", "show or hide the list of metrics", SCREEN),
        Action("curves_go", "g", "go there", "to the cursor's step in the lab", SCREEN),
        *(
            Action(f"curves_lane_{i}", str(i), "", f"show or hide lane {i}", SCREEN,
                   argument=str(i)) for i in range(1, 10)
        ),
        *ANYWHERE,
    ),
}  # fmt: skip
"""The keys of the screens over the lab, by screen. A name that the lab has too means the same key
in a user's file."""

BY_NAME = {a.name: a for actions in (*SCREENS.values(), ACTIONS) for a in actions}

_SHOWN = {
    "comma": ",",
    "slash": "/",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "colon": ":",
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
