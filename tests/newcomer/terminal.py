"""The program in a terminal of its own: a tmux server that nobody else speaks to."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

TMUX = {
    "down": "Down", "up": "Up", "left": "Left", "right": "Right", "shift+down": "S-Down",
    "shift+up": "S-Up", "shift+left": "S-Left", "shift+right": "S-Right", "home": "Home",
    "end": "End", "pagedown": "PPage", "pageup": "NPage", "tab": "Tab", "shift+tab": "BTab",
    "enter": "Enter", "escape": "Escape", "space": "Space", "backspace": "BSpace",
    "delete": "DC", "ctrl+z": "C-z", "ctrl+c": "C-c", "ctrl+q": "C-q", "ctrl+p": "C-p",
}  # fmt: skip
TMUX |= {"pagedown": "NPage", "pageup": "PPage"}
SIGNS = {
    "equals_sign": "=", "slash": "/", "comma": ",", "full_stop": ".", "less_than_sign": "<",
    "greater_than_sign": ">", "left_curly_bracket": "{", "right_curly_bracket": "}",
    "left_square_bracket": "[", "right_square_bracket": "]", "question_mark": "?",
    "colon": ":", "plus": "+", "minus": "-", "underscore": "_", "backslash": "\\",
    "asterisk": "*", "number_sign": "#",
}  # fmt: skip


class Terminal:
    """One session of `width` × `height` cells that runs one command."""

    def __init__(self, name: str, width: int, height: int) -> None:
        self.name, self.width, self.height = name, width, height
        self._end = Path(os.devnull)

    def start(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        """The environment given here is all that the program has beside the path and the home."""
        self._tmux("new-session", "-d", "-s", "lab", "-x", str(self.width), "-y", str(self.height),
                   "-c", str(folder), "sleep 100000")  # fmt: skip
        for option in ("remain-on-exit on", "status off", "default-terminal tmux-256color",
                       "set-clipboard off", "escape-time 20"):  # fmt: skip
            self._tmux("set-option", "-g", *option.split())
        given = " ".join(f"{k}={shlex.quote(v)}" for k, v in environment.items())
        kept = " ".join(f"{k}={shlex.quote(os.environ[k])}" for k in ("PATH", "HOME", "LANG")
                        if k in os.environ)  # fmt: skip
        self._end = folder / f"{self.name}.end"
        line = f"env -i {kept} TERM=tmux-256color {given} {shlex.join(command)}; "
        line += f"echo $? >{shlex.quote(str(self._end))}"  # tmux at times never hears how it ended
        self._tmux("respawn-pane", "-k", "-t", "lab", line)

    def press(self, key: str) -> None:
        """A key in Textual's spelling."""
        if key in TMUX:
            self._tmux("send-keys", "-t", "lab", TMUX[key])
        else:
            self.type(SIGNS.get(key, key))

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-t", "lab", "-l", "--", text)

    def screen(self) -> list[str]:
        return self._tmux("capture-pane", "-p", "-t", "lab").split("\n")[: self.height]

    def coloured(self) -> str:
        """The screen with its escape sequences."""
        return self._tmux("capture-pane", "-ep", "-t", "lab")

    @property
    def exit_code(self) -> int | None:
        """None while the program lives."""
        try:
            return int(self._end.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or not written yet
            return None

    def wait_end(self, seconds: float) -> int | None:
        end = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < end:
            time.sleep(0.1)
        return self.exit_code

    def close(self) -> None:
        """End this server, and with it the program."""
        ask = ["tmux", "-L", self.name, "display-message", "-p", "#{socket_path}"]
        socket = subprocess.run(ask, capture_output=True, check=False, text=True).stdout.strip()
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True, check=False)
        if socket:
            Path(socket).unlink(missing_ok=True)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self.name, "-f", "/dev/null", *words],
                              capture_output=True, check=True, timeout=20)  # fmt: skip
        return done.stdout.decode("utf-8", "replace")
