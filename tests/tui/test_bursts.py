"""In a real terminal, with every core busy with something else: what is typed in one burst arrives
where it should, and Ctrl-Z and `fg` leave the lab as it was."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

ROUNDS = int(os.environ.get("BURST_ROUNDS", "8"))
PATIENCE = 30.0
"""Seconds in which a burst must have arrived."""


class Terminal:
    """The lab in a pseudo-terminal of its own; `state` is what it says of its screen."""

    def __init__(self, folder: Path, *, ignores_hangup: bool = False) -> None:
        self.folder = folder
        self.out = b""
        environment = os.environ | {
            "TERM": "xterm-256color", "GRPOLAB_TOUR": "0", "XDG_STATE_HOME": str(folder / "home"),
            "GRPOLAB_KEYS": str(folder / "none.toml"),
        }  # fmt: skip
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            if ignores_hangup:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.execve(
                sys.executable,
                [sys.executable, "-m", "tests.tui.burst_lab", str(folder)],
                environment,
            )
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))

    def read(self, seconds: float) -> None:
        """Take what the program writes, as a terminal does."""
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                self.out += os.read(self.fd, 1 << 16)
            except OSError:  # it ended
                return
            seconds = 0.0

    def state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait(self, fits: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Until the state fits, or patience ends; gives the last one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.read(0.03)
            state = self.state()
            if state and not state["waiting"] and fits(state):
                return state
        return self.state()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    try:
        assert made.wait(lambda s: s["begun"])["begun"], made.out
        opened = made.wait(lambda s: s["screen"] == "CompareScreen")  # there are two lanes
        assert opened["screen"] == "CompareScreen", opened
        made.type("\x1b")
        assert made.wait(lambda s: s["screen"] == "LabScreen")["screen"] == "LabScreen"
        yield made
    finally:
        made.close()


@pytest.fixture
def busy() -> Iterator[None]:
    """Every core has something else to do."""
    command = [sys.executable, "-c", "while 1: pass"]
    loops = [subprocess.Popen(command) for _ in range(len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


PPO = {"do": "switch", "algorithm": {"name": "ppo"}, "lane": "main"}

BURSTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "appo\r": lambda s: s["screen"] == "LabScreen" and s["sent"][-1:] == [PPO],
    ":lane": lambda s: s["screen"] == "CommandLine" and s["typed"] == "lane",
    "=beta": lambda s: s["screen"] == "SettingDialog" and s["typed"] == "beta",
    "/12": lambda s: s["screen"] == "AnswersScreen" and s["typed"] == "12",
    ":ppo\r": lambda s: s["screen"] == "LabScreen" and s["sent"][-1:] == [PPO],
}
"""What is typed without a pause, and where it has to arrive."""


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_every_burst_arrives(terminal: Terminal) -> None:
    sent, state = 0, terminal.state()
    for i in range(ROUNDS):
        for keys, arrived in BURSTS.items():
            terminal.type(keys)
            sent += keys.endswith("\r")

            def there(state: dict[str, Any], n: int = sent, arrived=arrived) -> bool:
                return bool(arrived(state)) and len(state["sent"]) == n

            state = terminal.wait(there)
            assert there(state), (i, keys, state)
            while state["screen"] != "LabScreen":
                terminal.type("\x1b")  # the first may only empty what was typed
                before, state = state, terminal.wait(lambda s, was=state: s != was)
                assert state != before, (i, keys, state)
            assert state["screen"] == "LabScreen", (i, keys, state)
    assert state["sent"] == [PPO] * (2 * ROUNDS)


@pytest.mark.slow
def test_control_z_suspends_and_fg_comes_back(terminal: Terminal) -> None:
    terminal.type("\x1a")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        terminal.read(0.05)
        stopped, status = os.waitpid(terminal.pid, os.WUNTRACED | os.WNOHANG)
        if stopped:
            break
    else:
        raise AssertionError("it was not suspended")
    assert os.WIFSTOPPED(status)
    assert b"\x1b[?1049l" in terminal.out, "the shell's screen is back"
    terminal.out = b""
    os.kill(terminal.pid, signal.SIGCONT)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and (
        b"\x1b[?1049h" not in terminal.out or termios.tcgetattr(terminal.fd)[3] & termios.ICANON
    ):  # it enters the screen first, and then takes single keys: until then enter is a line's end
        terminal.read(0.05)
    terminal.type(":ppo\r")
    state = terminal.wait(lambda s: s["sent"])
    assert state["sent"] == [PPO] and b"\x1b[?1049h" in terminal.out


@pytest.mark.slow
def test_a_terminal_that_goes_without_a_signal_ends_the_lab(tmp_path: Path) -> None:
    """Under `nohup`, say: nobody would see it, and it read the end of a file on a whole core."""
    terminal = Terminal(tmp_path, ignores_hangup=True)
    assert terminal.wait(lambda s: s["begun"])["begun"], terminal.out
    os.close(terminal.fd)
    end = time.monotonic() + PATIENCE
    ended, status = 0, 0
    while not ended and time.monotonic() < end:
        time.sleep(0.1)
        ended, status = os.waitpid(terminal.pid, os.WNOHANG)
    if not ended:
        os.kill(terminal.pid, signal.SIGKILL)
        os.waitpid(terminal.pid, 0)
    assert ended and os.WTERMSIG(status) == signal.SIGHUP
