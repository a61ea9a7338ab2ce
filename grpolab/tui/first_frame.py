"""Show the first frame before the screen is loaded: a picture of it, recorded by an earlier start.

The lab's first frame shows nothing of a run yet: it depends on the terminal, the preferences, how
the lab is opened, and the code that draws it. The screen records it (`first_frame_driver`), and the
launcher shows it while the screen loads, which takes several times as long as everything before. A
picture is shown only if none of these changed; if anything is wrong with it, the lab opens without.

Pictures are files in `first_frames` beside `screen.json`. Imports nothing that the launcher does
not.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from zlib import crc32

from grpolab import resources
from grpolab.launch import interruptible

KEPT = 8
"""Pictures that are kept; the oldest of more are removed."""

ALTERNATE, MAIN = "\x1b[?1049h", "\x1b[?1049l"
"""To the terminal's alternate screen, and back to the main one."""

NO_CURSOR, CURSOR = "\x1b[?25l", "\x1b[?25h"

TERMINAL = {"TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
OURS = ("GRPOLAB_", "TEXTUAL_")
"""Environment variables that the screen reads, and prefixes of such names."""


class FirstFrame:
    """The first frame of one way to open the lab. `shown`: its picture is on the terminal."""

    def __init__(self, *opening: object) -> None:
        """`opening`: everything that the frame shows of what is opened."""
        self.opening = opening
        self.shown = False
        self._modes: list[Any] | None = None  # of the terminal, before the picture
        self._signals = ExitStack()  # a signal meanwhile is handled as Ctrl-C
        self._asked = self._circumstances()
        folder = resources.state_file().with_name("first_frames")
        self.file = folder / f"{crc32(self._asked.encode()):08x}"

    def show(self) -> None:
        """Put the picture on the terminal, if there is one and nothing that it depends on changed."""
        picture = self._picture() if _plain_terminal() else None
        if picture is None:
            return
        import termios

        try:
            self._modes = termios.tcgetattr(sys.stdin)
            termios.tcsetattr(sys.stdin, termios.TCSANOW, _waiting(self._modes))
            self.shown = True
            _write(ALTERNATE + NO_CURSOR + picture)
            self._signals.enter_context(interruptible())
        except (OSError, termios.error):
            self.close()
        with suppress(OSError):
            os.utime(self.file)  # the one unused for longest is removed first

    def hand_over(self) -> list[Any] | None:
        """Give the terminal to the screen's driver; its modes before the picture."""
        modes, self._modes, self.shown = self._modes, None, False
        self._signals.close()
        return modes

    def close(self) -> None:
        """Restore the terminal, unless it was handed over."""
        if self._modes is None:
            return
        import termios

        with suppress(OSError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._modes)
            if self.shown:
                _write(MAIN + CURSOR)
        self.hand_over()

    def keep(self, picture: str, size: tuple[int, int], drawn_by: Iterable[str]) -> None:
        """Write what these files have drawn at this size, for the next start. Ignored where the
        folder cannot be written."""
        if size != tuple(shutil.get_terminal_size()) or self._circumstances() != self._asked:
            return  # something changed while the screen was loading
        with suppress(OSError, UnicodeError):
            code = [[path, *_stamp(path)] for path in drawn_by]
            body = json.dumps([self._asked, code]).encode() + b"\n" + picture.encode()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.file.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(b"%d\n" % crc32(body) + body)
            fresh.replace(self.file)
            old = sorted(self.file.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            for path in old[:-KEPT]:
                path.unlink()

    def _picture(self) -> str | None:
        """The recorded picture, if circumstances and code are unchanged."""
        try:
            checksum, _, body = self.file.read_bytes().partition(b"\n")
            if int(checksum) != crc32(body):
                return None
            head, _, picture = body.partition(b"\n")
            asked, code = json.loads(head)
            same = asked == self._asked and all(_stamp(path) == at for path, *at in code)
            return picture.decode() if same else None
        except (OSError, ValueError):
            return None

    def _circumstances(self) -> str:
        """What the frame depends on besides the code that draws it."""
        env, keys = os.environ, resources.keys_file()
        try:
            changed_keys = keys.read_bytes().hex()
        except OSError:
            changed_keys = None
        about = {
            "opening": self.opening,
            "size": shutil.get_terminal_size(),
            "environment": {k: v for k, v in env.items() if k in TERMINAL or k.startswith(OURS)},
            "over ssh": bool(env.get("SSH_CONNECTION")),
            # the tour is offered after the frame
            "preferences": {k: v for k, v in resources.recall().items() if k != "tour"},
            "keys": (str(keys), changed_keys),
            "python": sys.version,
        }
        return json.dumps(about, sort_keys=True)


@contextmanager
def shown(*opening: object) -> Iterator[FirstFrame]:
    """Show the first frame's picture, if there is one, until the screen takes over."""
    frame = FirstFrame(*opening)
    try:
        frame.show()
        yield frame
    finally:
        frame.close()


def _plain_terminal() -> bool:
    """Whether Textual's own driver will draw on the terminal on which the picture is shown."""
    out = sys.__stderr__  # where that driver writes
    usual = os.name == "posix" and "TEXTUAL_DRIVER" not in os.environ
    return usual and out is not None and out.isatty() and out.encoding.lower() == "utf-8"


def _write(text: str) -> None:
    out = sys.__stderr__
    assert out is not None
    out.write(text)
    out.flush()


def _waiting(modes: list[Any]) -> list[Any]:
    """Terminal modes in which typed keys wait for the screen without an echo. Only Ctrl-C sends a
    signal."""
    import termios

    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = modes
    iflag &= ~(termios.IXON | termios.IXOFF | termios.ICRNL | termios.INLCR | termios.IGNCR)
    lflag &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    never = bytes([os.fpathconf(sys.stdin.fileno(), "PC_VDISABLE")])
    cc[termios.VSUSP] = cc[termios.VQUIT] = never
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]


def _stamp(path: str) -> list[int]:
    """Modification time and size of a file."""
    found = os.stat(path)
    return [found.st_mtime_ns, found.st_size]
