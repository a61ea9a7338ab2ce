"""Every action of the lab with its keys, in one table."""

from __future__ import annotations

from dataclasses import dataclass

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
    Action("recorded", "r", "", "the nearest step whose tokens are recorded", LOOK),
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
