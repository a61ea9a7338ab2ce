"""Goes through a script in a terminal, looks after each key, and writes down what it saw."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import looking
from .again import OPENED_BY
from .script import LAB, Press
from .terminal import Terminal

AT_MOST = 0.6
"""Seconds in which a key must show something."""


@dataclass
class Walk:
    terminal: Terminal
    mode: str
    pictures: Path | None = None
    findings: list[str] = field(default_factory=list)
    quiet: list[str] = field(default_factory=list)  # keys after which nothing looked different
    screens: list[list[str]] = field(default_factory=list)
    record: list[str] = field(default_factory=list)
    keys: int = 0
    reached: set[str] = field(default_factory=set)

    def go(self, presses: list[Press]) -> None:
        for press in presses:
            if press.action and not self._stand_on(press):
                continue
            self._one(press)
            if press.ends:
                return
            if self.terminal.exit_code is not None:
                self._find(press, f"the program is gone, exit {self.terminal.exit_code}")
                return
        if self.terminal.exit_code is None and not any(p.ends for p in presses):
            self._find(presses[-1], "the session does not end by its own keys")

    def _one(self, press: Press) -> None:
        before = self.terminal.screen()
        if press.in_dialog and not self._dialog_comes():
            return
        if press.text:
            self.terminal.type(press.text)
        elif press.keys:
            self.terminal.press(press.keys)
            self.keys += 1
        if press.ends:
            code = self.terminal.wait_end(press.seconds)
            if code is None or code not in (0, 130):
                self._find(press, f"did not end well: {code}")
            if looking.BROKEN.search("\n".join(self.terminal.screen())):
                self._find(press, "the text of an exception when it ended")
            self._keep(press, self.terminal.screen())
            return
        lines = self._settled(before, press)
        size = self.terminal.width, self.terminal.height
        if looking.problems(lines, *size):  # a frame on the way from one layout to another?
            time.sleep(1)
            lines = self.terminal.screen()
        for problem in looking.problems(lines, *size):
            self._find(press, problem)
        if press.keys and lines == before:
            self.quiet.append(self._name(press))
        self.reached.add(looking.where(lines, self.mode))
        self._keep(press, lines)

    def _dialog_comes(self) -> bool:
        for _ in range(20):
            if looking.dialog(self.terminal.screen()):
                return True
            time.sleep(0.05)
        return False

    def _settled(self, before: list[str], press: Press) -> list[str]:
        """The screen once it shows what is expected; without, once it differs and stands."""
        start = time.monotonic()
        end = start + (press.seconds if press.expect else AT_MOST)
        lines = self.terminal.screen()
        while time.monotonic() < end and self.terminal.exit_code is None:
            if press.expect:
                if re.search(press.expect, "\n".join(lines)):
                    break
            elif lines != before:
                break
            time.sleep(0.05)
            lines = self.terminal.screen()
        else:
            if press.expect and self.terminal.exit_code is None:
                self._find(press, f"waited {press.seconds:.0f} s for {press.expect!r}")
        time.sleep(0.12)
        return self.terminal.screen()

    def _stand_on(self, press: Press) -> bool:
        """Whether the screen that the action belongs to is there; goes back to it where not."""
        lines, here, dialog = [""], "", False
        for look in range(200):  # a screen that is being opened
            lines = self.terminal.screen()
            here, dialog = looking.where(lines, self.mode), looking.dialog(lines)
            if here == press.screen and not dialog:
                return True
            if press.screen == LAB and here and look > 10:
                return self.home() or self._dead_end(press)
            time.sleep(0.05)
        self._find(press, f"the screen is {here or 'unknown'}{' with a dialog' * dialog}")
        self._keep(Press(raw="(lost)"), lines)
        if not self.home():
            return self._dead_end(press)
        for action in OPENED_BY.get(press.screen, ()):
            self.terminal.press(Press(action, screen=_opener(press.screen, action)).keys)
            time.sleep(2.0)
        return looking.where(self.terminal.screen(), self.mode) == press.screen

    def _dead_end(self, press: Press) -> bool:
        self._find(press, "a dead end: esc does not lead back to the lab")
        return False

    def home(self) -> bool:
        """Esc until the lab is there."""
        for _ in range(8):
            lines = self.terminal.screen()
            if looking.where(lines, self.mode) == LAB and not looking.dialog(lines):
                return True
            self.terminal.press("escape")
            time.sleep(0.4)
        return False

    def _name(self, press: Press) -> str:
        if press.action:
            return f"{press.screen}.{press.action}"
        return f"{press.screen}: {press.text or press.raw or 'wait'}"

    def _find(self, press: Press, what: str) -> None:
        self.findings.append(f"after key {self.keys}, {self._name(press)}: {what}")
        print(f"  ✗ {self.findings[-1]}", file=sys.stderr, flush=True)

    def _keep(self, press: Press, lines: list[str]) -> None:
        head = f"{self._name(press)}" + (f"  [{press.keys}]" if press.keys else "")
        self.record += [f"━━ {self.keys} ━━ {head}", *(_shared(row.rstrip()) for row in lines), ""]
        self.screens.append(lines)
        if press.shot and self.pictures is not None:
            path = self.pictures / f"{press.shot}.ansi"
            path.write_text(_shared(self.terminal.coloured()), encoding="utf-8")


def _opener(screen: str, action: str) -> str:
    way = OPENED_BY[screen]
    return LAB if action == way[0] else way[0]


def _shared(text: str) -> str:
    """Without the name of this session's own folder, also where it was cut short."""
    return re.sub(r"newcomer-\w{1,8}", "newcomer", text)
