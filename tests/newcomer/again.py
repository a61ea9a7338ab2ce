"""The second session: the recorded run as a film, and the way out of every screen."""

from __future__ import annotations

from .script import LAB, TABLES, THERE, Press, Script

OPENED_BY = {
    "lens": ("lens",), "what-if": ("lens", "lens_what_if"), "source": ("formula", "formula_source"),
    "formula": ("formula",), "group": ("group",), "answers": ("answers",), "reader": ("read",),
    "chat": ("chat",), "time": ("time",), "trace": ("trace",), "slow": ("slow",),
    "kl-bench": ("kl_bench",), "health": ("health",), "memory": ("memory_screen",),
    "curves": ("curves",), "compare": ("compare",),
}  # fmt: skip
"""How each screen is reached from the lab, by the names of actions."""


def session() -> list[Press]:
    """Every action of the lab that a replay has, a look into every screen, and out."""
    s = Script()
    s.wait(r"1 Rollouts", 60)
    s.press("play", "play", "faster", "slower", "pause", "pause", "first", "newer", "jump_on")
    s.press("older", "jump_back", "last", shot="replay")
    s.press("prompt_next", "prompt_previous", "answer_next", "answer_previous", "token_next")
    s.press("token_previous", "token_jump", "token_back", "channel", "channel_back", "second")
    s.press("second_back", "lane", "lane", "hold", "hold", "moment_previous", "moment_next")
    s.press("recorded")
    s.press("goto")
    s.type("50%")
    s.key("enter")
    s.press("bookmark")
    s.type("half way")
    s.key("enter")
    s.press("setting", expect=r"(?i)settings")
    s.key("escape")
    s.press("answer_copy", "answer_save", "pane_next", "pane_previous", "open")
    s.key("escape")
    s.press("zoom", "zoom", "page_down", "page_up")
    s.press(*(f"pane_{n}" for n in range(1, 7)))
    s.press("last")  # by then the lane is forked, so there are two to compare
    for screen, way in OPENED_BY.items():
        for depth, action in enumerate(way):
            s.on = LAB if depth == 0 else way[0]
            _open(s, action)
        s.on = screen
        s.press("close")
        if len(way) > 1:
            s.key("escape")
    s.on = LAB
    s.press("theme", "theme", "theme", *["layout"] * 4, *["motion"] * 3, "picture")
    for action in ("tour", "glossary", "explain", "commands"):
        s.press(action)
        s.key("escape")
    s.press("session", "back")
    s.ends("quit")
    return s.presses


def _open(s: Script, action: str) -> None:
    s.press(action)
    if action == "answers":
        s.key("enter")  # it opens in its field
    if action == "lens":
        s.wait(THERE, 120)  # a process of its own computes it


def ways_out() -> list[tuple[str, list[Press]]]:
    """For every screen over the lab, a short replay that is left from there."""
    out = []
    for screen in TABLES:
        if screen != LAB:
            s = Script()
            s.wait(r"1 Rollouts", 60)
            s.press("last")  # before the first step is done the lens has nothing to look at
            for depth, action in enumerate(OPENED_BY[screen]):
                s.on = LAB if depth == 0 else OPENED_BY[screen][0]
                _open(s, action)
                if action == "lens":  # what-if needs what it finds
                    s.wait(r"\d+ of \d+ algorithms", 60)
            s.on = screen
            s.ends("quit")
            out.append((screen, s.presses))
    return out


def everything() -> list[Press]:
    """All presses of the replays."""
    return [*session(), *(p for _, presses in ways_out() for p in presses)]
