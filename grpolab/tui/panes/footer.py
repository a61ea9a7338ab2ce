"""One row of keys, those that matter now; each can be clicked."""

from __future__ import annotations

from grpolab.tui.keys import BY_NAME
from grpolab.tui.panes.base import Canvas
from grpolab.tui.text import Line

LIVE = (
    "algorithm",
    "pause",
    "single",
    "lens",
    "slow",
    "hold",
    "prompt",
    "answer",
    "token",
    "channel",
    "second",
    "formula",
    "trace",
    "kl_bench",
    "pane_next",
    "zoom",
    "lane",
    "setting",
    "evaluate",
    "older",
    "commands",
    "tour",
    "theme",
    "layout",
    "glossary",
    "picture",
)
WATCH = (
    "lens",
    "slow",
    "hold",
    "prompt",
    "answer",
    "token",
    "channel",
    "second",
    "formula",
    "trace",
    "kl_bench",
    "pane_next",
    "zoom",
    "lane",
    "older",
    "commands",
    "tour",
    "theme",
    "layout",
    "glossary",
    "picture",
)
REPLAY = (
    "play",
    "scrub",
    "speed",
    "lens",
    "slow",
    "hold",
    "prompt",
    "answer",
    "token",
    "channel",
    "second",
    "formula",
    "trace",
    "kl_bench",
    "pane_next",
    "zoom",
    "lane",
    "commands",
    "tour",
    "theme",
    "layout",
    "glossary",
    "picture",
)
PAIRS = {
    "prompt": ("prompt_next", "prompt_previous", "prompt"),
    "answer": ("answer_previous", "answer_next", "answer"),
    "token": ("token_previous", "token_next", "token"),
    "scrub": ("older", "newer", "step"),
    "speed": ("slower", "faster", "speed"),
}
LAST = ("explain", "quit")


class Footer(Canvas):
    watches = frozenset({"select", "paused", "continued", "lane", "end"})

    @property
    def ground(self) -> str:
        return "bar"

    def lines(self, width: int, height: int) -> list[Line]:
        last = Line()
        for name in LAST:
            last.join(self._key(name))
        line = Line(" ")
        offered = {"live": LIVE, "watch": WATCH, "replay": REPLAY}[self.desk.mode]
        for name in offered:
            if name == "lane" and len(self.desk.state.lanes) < 2:
                continue
            part = self._key(name)
            if line.width + part.width + last.width > width:
                continue
            line.join(part)
        return [line.to(width - last.width).join(last)]

    def _key(self, name: str) -> Line:
        p, keymap = self.desk.palette, self.desk.keymap
        key, label = p.style("accent", bold=True), p.style("dim")
        if name in PAIRS:
            one, two, word = PAIRS[name]
            line = Line().add(keymap.shown(one), key, hit=("run", one)).add("/", label)
            line.add(keymap.shown(two), key, hit=("run", two))
            return line.add(f" {word}  ", label, hit=("run", one))
        word = BY_NAME[name].label
        if name == "pause" and self.desk.state.paused:
            word = "continue"
        if name == "hold" and self.desk.view.held is not None:
            word = "follow"
        return (
            Line()
            .add(keymap.shown(name), key, hit=("run", name))
            .add(f" {word}  ", label, hit=("run", name))
        )
