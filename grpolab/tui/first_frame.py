"""The first frame, before there is a screen: a picture of it from an earlier start.

What the lab shows first is certain before any of it is loaded: nothing of a run is read yet, so it
depends on the terminal, on what this person likes, on how the lab is opened, and on the code that
draws it. The screen keeps that picture (`tui.takeover`), and the launcher shows it while the screen
loads, which takes several times as long as all before. Only a picture is shown of which all this is
as it was; whatever goes wrong with one, the lab opens as if there were none.

Pictures lie beside `screen.json`, in `first_frames`. Imports nothing that the launcher does not.
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
"""Pictures that are kept; of more, the oldest are removed."""

ALTERNATE, MAIN = "\x1b[?1049h", "\x1b[?1049l"
"""To the terminal's second screen, and back to the first."""

NO_CURSOR, CURSOR = "\x1b[?25l", "\x1b[?25h"

TERMINAL = {"TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
OURS = ("GRPOLAB_", "TEXTUAL_")
"""What the screen reads of the environment, and what such names begin with."""


class FirstFrame:
    """The first frame of one way to open the lab. `shown`: its picture stands on the terminal."""

    def __init__(self, *opening: object) -> None:
        """`opening`: all that the frame tells of what is opened."""
        self.opening = opening
        self.shown = False
        self._modes: list[Any] | None = None  # the terminal's, before the picture
        self._signals = ExitStack()  # a kill while it stands is as Ctrl-C
        self._asked = self._circumstances()
        folder = resources.state_file().with_name("first_frames")
        self.file = folder / f"{crc32(self._asked.encode()):08x}"

    def show(self) -> None:
        """Put the picture on the terminal, if there is one and it is certainly right."""
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
            os.utime(self.file)  # the one that was not shown for longest goes first

    def hand_over(self) -> list[Any] | None:
        """The terminal belongs to somebody else now, who is told its modes before the picture."""
        modes, self._modes, self.shown = self._modes, None, False
        self._signals.close()
        return modes

    def close(self) -> None:
        """Unless it was handed over, the terminal is again as it was."""
        if self._modes is None:
            return
        import termios

        with suppress(OSError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._modes)
            if self.shown:
                _write(MAIN + CURSOR)
        self.hand_over()

    def keep(self, picture: str, size: tuple[int, int], drawn_by: Iterable[str]) -> None:
        """Keep what these files have drawn at this size, for the next start. A folder that cannot
        be written is no reason to stop."""
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
        """The kept one, if all is as it was: the circumstances, and the code that drew it."""
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
        """On what the frame depends, besides the code that draws it."""
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
            # an offer of the tour comes behind the frame
            "tastes": {k: v for k, v in resources.recall().items() if k != "tour"},
            "keys": (str(keys), changed_keys),
            "python": sys.version,
        }
        return json.dumps(about, sort_keys=True)


@contextmanager
def shown(*opening: object) -> Iterator[FirstFrame]:
    """The first frame's picture on the terminal, if there is one, until the screen takes over."""
    frame = FirstFrame(*opening)
    try:
        frame.show()
        yield frame
    finally:
        frame.close()


def _plain_terminal() -> bool:
    """Whether the screen will be drawn where the picture goes, by Textual's own driver."""
    out = sys.__stderr__  # where that driver writes
    usual = os.name == "posix" and "TEXTUAL_DRIVER" not in os.environ
    return usual and out is not None and out.isatty() and out.encoding.lower() == "utf-8"


def _write(text: str) -> None:
    out = sys.__stderr__
    assert out is not None
    out.write(text)
    out.flush()


def _waiting(modes: list[Any]) -> list[Any]:
    """The modes in which keys are kept for the screen, as it reads them, and not echoed. Of those
    that send a signal only Ctrl-C does."""
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
    """What changes when the file does."""
    found = os.stat(path)
    return [found.st_mtime_ns, found.st_size]
