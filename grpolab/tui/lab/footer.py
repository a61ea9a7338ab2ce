"""One row with the keys that matter now; each can be clicked."""

from __future__ import annotations

from grpolab.tui.keymap import BY_NAME
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.text import Line

LIVE = (
    "algorithm",
    "pause",
    "single",
    "group",
    "read",
    "answers",
    "lens",
    "slow",
    "curves",
    "hold",
    "prompt",
    "answer",
    "token",
    "channel",
    "second",
    "formula",
    "trace",
    "kl_bench",
    "health",
    "memory_screen",
    "pane_next",
    "zoom",
    "lane",
    "setting",
    "evaluate",
    "older",
    "time",
    "chat",
    "commands",
    "tour",
    "theme",
    "layout",
    "glossary",
    "picture",
)
WATCH = (
    "group",
    "read",
    "answers",
    "lens",
    "slow",
    "curves",
    "hold",
    "prompt",
    "answer",
    "token",
    "channel",
    "second",
    "formula",
    "trace",
    "kl_bench",
    "health",
    "memory_screen",
    "pane_next",
    "zoom",
    "lane",
    "older",
    "time",
    "chat",
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
    "group",
    "read",
    "answers",
    "lens",
    "slow",
    "curves",
    "hold",
    "prompt",
    "answer",
    "token",
    "channel",
    "second",
    "formula",
    "trace",
    "kl_bench",
    "health",
    "memory_screen",
    "pane_next",
    "zoom",
    "lane",
    "time",
    "chat",
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
    watches = frozenset({"select", "paused", "continued", "lane", "end", "failed"})

    @property
    def ground(self) -> str:
        return "bar"

    def lines(self, width: int, height: int) -> list[Line]:
        last = Line()
        for name in LAST:
            last.join(self._key(name))
        line = self._back()
        offered = {"live": LIVE, "watch": WATCH, "replay": REPLAY}[self.context.mode]
        if self.context.mode == "live" and self.context.over:
            offered = WATCH  # no engine takes commands
            if self.context.restartable:
                offered = ("rewind", *offered)
        if self.context.current in ("learning", "kl"):
            offered = (
                "token",
                *(("open",) if self.context.view.cursor is not None else ()),
                *offered,
            )
        for name in dict.fromkeys(offered):
            if name == "lane" and len(self.context.state.lanes) < 2:
                continue
            part = self._key(name)
            if line.width + part.width + last.width > width:
                continue
            line.join(part)
        return [line.to(width - last.width).join(last)]

    def _back(self) -> Line:
        """Where Esc leads back to, if anywhere."""
        p, back_stack = self.context.palette, self.context.back_stack
        line = Line(" ")
        if back_stack and back_stack[-1].name:
            key = self.context.keymap.shown("back")
            line.add(key, p.style("accent", bold=True), hit=("run", "back"))
            line.add(f" back to {back_stack[-1].name}  ", p.style("text"), hit=("run", "back"))
        return line

    def _key(self, name: str) -> Line:
        p, keymap = self.context.palette, self.context.keymap
        key, label = p.style("accent", bold=True), p.style("dim")
        if name in PAIRS:
            one, two, word = PAIRS[name]
            if name == "token" and self.context.current in ("learning", "kl"):
                word = "step on the curve"
            line = Line().add(keymap.shown(one), key, hit=("run", one)).add("/", label)
            line.add(keymap.shown(two), key, hit=("run", two))
            return line.add(f" {word}  ", label, hit=("run", one))
        word = BY_NAME[name].label
        if name == "pause" and self.context.state.paused:
            word = "resume"
        if name == "open":
            word = "go to this step"
        if name == "hold" and self.context.view.held is not None:
            word = "follow"
        return (
            Line()
            .add(keymap.shown(name), key, hit=("run", name))
            .add(f" {word}  ", label, hit=("run", name))
        )
