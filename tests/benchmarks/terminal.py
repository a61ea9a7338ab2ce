"""The lab as a user opens it: `grpolab run` in a terminal of its own, timed from outside."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

from grpolab.record import events as ev
from grpolab.record.tail import Timed, read

COLUMNS, LINES = 120, 36
ROOT = Path(__file__).parents[2]
MOUSE = b"\x1b[?1003h"
ESCAPE = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|[PX\]^_][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")


def painted(screen: bytearray) -> bool:
    """Whether the first line has been drawn: the lab's name and the step."""
    shown = ESCAPE.sub(b"", screen)
    return b"grpolab" in shown and b"step " in shown


def taken_over(screen: bytearray) -> bool:
    """Whether the first line has been drawn by the screen itself, over the kept picture or where
    there was none: the launcher asks for no mouse."""
    return painted(screen.partition(MOUSE)[2])


def command(run: Path, steps: int, *more: str) -> list[str]:
    """`grpolab run default` on the CPU, into this directory."""
    return grpolab(
        "run", "default", "--device", "cpu", "--steps", str(steps), "--out", str(run), *more
    )


def grpolab(*words: str) -> list[str]:
    """A grpolab command's line."""
    return [sys.executable, "-m", "grpolab", *words]


@functools.cache
def state() -> tempfile.TemporaryDirectory[str]:
    """A folder of one's own for what the lab remembers, so that nobody's likes matter here."""
    return tempfile.TemporaryDirectory(prefix="grpolab-state-")


def environment() -> dict[str, str]:
    """A user's, whose Python keeps what it has compiled, and whose lab the first frame: the first
    start of each is another matter."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = {"PYTHONPATH": os.pathsep.join(paths), "TERM": "xterm-256color"}
    more |= {"GRPOLAB_TOUR": "0", "GRPOLAB_SSH": "0"}  # nothing in the way, every repaint
    known = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return known | more | {"COLORTERM": "truecolor", "XDG_STATE_HOME": state().name}


def start(steps: int, patience: float = 120.0) -> dict[str, float]:
    """Seconds from the start of the process to the first `frame`, to the first that the `screen`
    has drawn itself, and to the first finished `step`."""
    found: dict[str, float] = {}

    def look(screen: bytearray, marked: bool, since: float) -> bool:
        if "frame" not in found and painted(screen):
            found["frame"] = since
        if "screen" not in found and taken_over(screen):
            found["screen"] = since
        if marked:
            found["step"] = since
        return len(found) == 3

    with tempfile.TemporaryDirectory() as folder:
        _in_terminal(Path(folder) / "run", steps, '"kind":"step"', look, 0.005, patience)
    return found


PAUSED = '"origin":"end"'
"""Stands in the run file when a run with a screen has trained its steps: it stays, paused."""


def attached(run: Path, steps: int, patience: float = 600.0) -> float:
    """Tokens a second of a run with its screen."""
    _in_terminal(run, steps, PAUSED, lambda screen, marked, since: marked, 0.25, patience)
    return throughput(read(run / "events.jsonl"))


def headless(run: Path, steps: int, patience: float = 600.0) -> float:
    """Tokens a second of a run without one."""
    subprocess.run(
        command(run, steps, "--headless"), env=environment(), cwd=run.parent, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=patience,
    )  # fmt: skip
    return throughput(read(run / "events.jsonl"))


def throughput(events: list[Timed]) -> float:
    """Tokens a second between the ends of the first and the last step."""
    steps = [(t, e) for t, e in events if isinstance(e, ev.StepDone)]
    if len(steps) < 2:
        raise ValueError("at least two steps are needed")
    return sum(e.tokens for _, e in steps[1:]) / (steps[-1][0] - steps[0][0])


def _in_terminal(
    run: Path, steps: int, mark: str, look: Callable[[bytearray, bool, float], bool],
    every: float, patience: float,
) -> None:  # fmt: skip
    """Run it in a pseudo-terminal until `look`, told the newest bytes, whether `mark` stands in
    the run file, and the seconds so far, has seen enough. It is asked `every` so many seconds."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(
        command(run, steps), stdin=follower, stdout=follower, stderr=follower,
        env=environment(), cwd=run.parent, start_new_session=True, close_fds=True,
    )  # fmt: skip
    os.close(follower)
    screen, marked, due = bytearray(), Marked(run / "events.jsonl", mark), 0.0
    try:
        while (since := time.perf_counter() - began) < patience:
            if select.select([leader], [], [], every)[0]:
                screen += os.read(leader, 1 << 16)
            if since >= due:
                due = since + every
                if look(screen, marked(), time.perf_counter() - began):
                    return
            del screen[: -(1 << 18)]
        raise TimeoutError(f"{run}: not done after {patience:.0f} s")
    finally:
        with contextlib.suppress(OSError):
            os.write(leader, b"q")
        _drain(leader, process, 5.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(leader)


def _drain(leader: int, process: subprocess.Popen[bytes], patience: float) -> None:
    """Read on, so that it can end, until it has."""
    until = time.perf_counter() + patience
    while process.poll() is None and time.perf_counter() < until:
        if select.select([leader], [], [], 0.05)[0]:
            try:
                os.read(leader, 1 << 16)
            except OSError:
                return


class Terminal:
    """A command in a terminal of its own, to be pressed and read. Ends with it."""

    def __init__(self, command: list[str], size: str = f"{COLUMNS}x{LINES}") -> None:
        columns, lines = (int(n) for n in size.split("x"))
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=follower, stdout=follower, stderr=follower, env=environment(),
            start_new_session=True, close_fds=True,
        )  # fmt: skip
        os.close(follower)
        self._new = bytearray()  # since the last key
        self._seen = bytearray()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.press(b"q")
        _drain(self._leader, self.process, 10.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._leader)

    def press(self, key: bytes) -> None:
        """What stood on the screen before is no answer to it."""
        self._seen = (self._seen + self._new)[-(1 << 16) :]
        self._new.clear()
        os.write(self._leader, key)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._leader], [], [], max(0.0, seconds))[0]:
            return False
        self._new += os.read(self._leader, 1 << 16)
        del self._new[: -(1 << 18)]
        return True

    def until(self, pattern: bytes, patience: float = 30.0, unlike: bytes | None = None) -> float:
        """Wait for it on the screen, colours and cursor moves left out; seconds since the start of
        the process. `unlike`: its group must not be this. Raises TimeoutError."""
        sought, end = re.compile(pattern, re.S), time.perf_counter() + patience
        while True:
            shown = ESCAPE.sub(b"", self._new)
            if any(unlike is None or m[1] != unlike for m in sought.finditer(shown)):
                return time.perf_counter() - self._began
            if time.perf_counter() > end:
                tail = shown[-300:].decode(errors="replace")
                raise TimeoutError(f"no {pattern!r} in {patience:.0f} s; last: {tail}")
            self._read(min(1.0, end - time.perf_counter()))

    def quiet(self, seconds: float) -> None:
        """Read on for so long."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._read(left)

    def last(self, pattern: bytes) -> bytes | None:
        """The first group where the pattern was last seen."""
        found = re.findall(pattern, ESCAPE.sub(b"", self._seen + self._new))
        return found[-1] if found else None

    def resident(self) -> int:
        """Bytes of the process that are in memory now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most that was."""
        return self._status("VmHWM")

    def cpu(self) -> float:
        """Seconds that the process has computed."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        return int(found[1]) * 1024 if found else 0


class Marked:
    """Whether a text is in a file that grows, and may not be there yet."""

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text, self.found = file, text.encode(), False
        self._at, self._tail = 0, b""

    def __call__(self) -> bool:
        if not self.found and self.file.exists():
            with self.file.open("rb") as file:
                file.seek(self._at)
                new = self._tail + file.read()
                self._at = file.tell()
            self.found, self._tail = self.text in new, new[-len(self.text) :]
        return self.found
