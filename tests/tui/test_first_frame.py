"""The first frame's picture: kept, shown only where it is right, and gone without a trace."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from grpolab import resources
from grpolab.tui import first_frame, preferences
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.first_frame import ALTERNATE, KEPT, MAIN, FirstFrame
from grpolab.tui.source import Playing

from .conftest import text

ROOT = Path(__file__).parents[2]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MOUSE = "\x1b[?1003h"  # only the screen asks for it
SIZE = (120, 36)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size(SIZE))
    for name in ("COLUMNS", "LINES", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def drawer(tmp_path: Path) -> Path:
    """A file with code that draws."""
    file = tmp_path / "drawer.py"
    file.write_text("pass")
    return file


def kept(drawer: Path, *opening: object) -> FirstFrame:
    frame = FirstFrame(*opening)
    frame.keep("a ◆ picture", SIZE, [str(drawer)])
    return frame


class Watched(FirstFrame):
    """With the screen as it was when its picture was kept."""

    text = ""
    app: LabApp

    def keep(self, picture: str, size: tuple[int, int], drawn_by: Iterable[str]) -> None:
        self.text = text(self.app)
        super().keep(picture, size, drawn_by)


async def test_the_picture_is_what_stands_there(run_dir: Path) -> None:
    frame = Watched("replay", run_dir.name, 1.0)
    app = frame.app = LabApp(AppContext(Playing(run_dir), run_dir), frame=frame)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.1)
    picture = FirstFrame("replay", run_dir.name, 1.0)._picture()
    assert picture is not None
    rows = re.split(r"\x1b\[\d+;1H", picture)
    assert rows[0] == "" and [ESCAPE.sub("", row) for row in rows[1:]] == frame.text.split("\n")
    assert "step 0/0" in frame.text and " 0.0 s" in frame.text and "0:00/0:00" in frame.text


async def test_no_picture_of_a_screen_that_somebody_uses(run_dir: Path) -> None:
    frame = FirstFrame("replay")
    app = LabApp(AppContext(Playing(run_dir), run_dir), frame=frame)
    app.context.touched = time.monotonic()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.1)
    assert not frame.file.exists()


def test_only_the_same_circumstances_bring_it_back(
    drawer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(drawer, "live", "")
    assert FirstFrame("live", "")._picture() == "a ◆ picture"
    assert FirstFrame("live", "a notice")._picture() is None
    assert FirstFrame("watch", "run")._picture() is None
    for name in ("NO_COLOR", "COLORTERM", "TERM", "SSH_CONNECTION", "GRPOLAB_THEME", "TEXTUAL_X"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "another")
            assert FirstFrame("live", "")._picture() is None, name
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
        assert FirstFrame("live", "")._picture() is None
    resources.keys_file().write_text('quit = "x"')
    assert FirstFrame("live", "")._picture() is None
    resources.keys_file().unlink()
    preferences.remember(tour=True)  # offered behind the frame
    assert FirstFrame("live", "")._picture() == "a ◆ picture"
    preferences.remember(theme="light")
    assert FirstFrame("live", "")._picture() is None


def test_only_the_same_code_brings_it_back(drawer: Path) -> None:
    frame = kept(drawer)
    os.utime(drawer, ns=(1, 1))
    assert frame._picture() is None
    frame.keep("a ◆ picture", SIZE, [str(drawer)])
    assert frame._picture() == "a ◆ picture"
    drawer.unlink()
    assert frame._picture() is None


def test_what_changed_while_the_screen_loaded_is_not_kept(drawer: Path) -> None:
    frame = FirstFrame()
    frame.keep("x", (80, 24), [str(drawer)])
    preferences.remember(theme="light")
    frame.keep("x", SIZE, [str(drawer)])
    assert not frame.file.exists()


def test_a_broken_file_counts_as_none(drawer: Path) -> None:
    frame = kept(drawer)
    whole = frame.file.read_bytes()
    other = whole.replace(b"picture", b"another")
    for broken in (b"", b"\n", b"x\n[]\n", b"0\n", whole[:-1], other):
        frame.file.write_bytes(broken)
        assert frame._picture() is None
    frame.file.unlink()
    frame.file.mkdir()
    assert frame._picture() is None
    frame.keep("x", SIZE, [str(drawer)])


def test_a_folder_that_cannot_be_written_does_no_harm(drawer: Path) -> None:
    resources.state_file().parent.parent.write_text("a file")
    assert kept(drawer)._picture() is None


def test_a_handful_is_kept(drawer: Path) -> None:
    frames = []
    for number in range(KEPT + 3):
        frames.append(kept(drawer, number))
        os.utime(frames[-1].file, ns=(number, number))
    assert sorted(frames[0].file.parent.iterdir()) == sorted(f.file for f in frames[3:])


def test_nothing_is_shown_where_another_driver_draws(
    drawer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_frame, "_write", lambda text: pytest.fail("shown"))
    monkeypatch.setenv("TEXTUAL_DRIVER", "textual.drivers.web_driver:WebDriver")
    kept(drawer, "live")
    with first_frame.shown("live") as frame:
        assert not frame.shown


# --- in a terminal of its own ---


class Session(NamedTuple):
    """What a command did with its terminal."""

    code: int
    out: str
    before: list[object]  # the terminal's modes
    after: list[object]

    @property
    def picture(self) -> str:
        """What stood there before the screen took over."""
        return self.out.partition(MOUSE)[0]

    def left_clean(self) -> bool:
        """The terminal's modes are as before, and what was entered has been left."""
        entered, left = self.out.count(ALTERNATE), self.out.count(MAIN)
        end = self.out.rpartition(MAIN)[2]
        return self.before == self.after and entered == left == 1 and "\x1b[?25h" in end


def _as_in_a_terminal() -> None:
    """Also where the tests themselves run in the background, where nothing hears Ctrl-C."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def session(
    *words: str, folder: Path, press: Sequence[tuple[str, bytes]] = (), **env: str
) -> Session:
    """Run a command; press each key once its text has come since the one before."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    before = termios.tcgetattr(follower)
    more = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"} | env
    process = subprocess.Popen(
        [sys.executable, "-m", "grpolab", *words], stdin=follower, stdout=follower, stderr=follower,
        env=os.environ | more, cwd=folder, start_new_session=True,
        preexec_fn=_as_in_a_terminal,
    )  # fmt: skip
    out, seen, keys, end = b"", 0, list(press), time.monotonic() + 60
    try:
        while process.poll() is None or select.select([leader], [], [], 0.1)[0]:
            assert time.monotonic() < end, out[-500:]
            if select.select([leader], [], [], 0.05)[0]:
                out += os.read(leader, 1 << 16)
            if keys and keys[0][0] in ESCAPE.sub("", out[seen:].decode(errors="replace")):
                seen = len(out)
                os.write(leader, keys.pop(0)[1])
        return Session(process.returncode, out.decode(), before, termios.tcgetattr(follower))
    finally:
        process.kill()
        process.wait()
        os.close(follower)
        os.close(leader)


def replayed(run_dir: Path, *press: tuple[str, bytes], **env: str) -> Session:
    words = ("replay", str(run_dir), "--speed", "1000")
    return session(*words, folder=run_dir.parent, press=press or [("Rollouts", b"q")], **env)


def test_the_second_start_shows_it_and_the_screen_draws_the_same(run_dir: Path) -> None:
    """And keys typed over the picture reach the screen."""
    first, second = replayed(run_dir), replayed(run_dir)
    assert first.code == second.code == 0 and first.left_clean() and second.left_clean()
    assert "grpolab" not in first.picture
    shown, (_, _, drawn) = second.picture, second.out.partition(MOUSE)
    rows = re.split(r"\x1b\[\d+;1H", shown.partition("\x1b[?1000h")[0])[1:]
    assert len(rows) == SIZE[1] and "step 0/0" in ESCAPE.sub("", rows[0])
    changed = [ESCAPE.sub("", row) for row in rows if row not in drawn]
    assert all("reading the run" in row for row in changed) and len(changed) <= 1  # its clock
    keys = [("step 0/0", b"?"), ("esc close", b"\x1b"), ("Rollouts", b"q")]
    done = replayed(run_dir, *keys)
    assert done.code == 0 and done.left_clean()
    assert "step 0/0" in ESCAPE.sub("", done.picture)
    assert done.picture == second.picture  # no key was echoed
    other = replayed(run_dir, GRPOLAB_THEME="light")
    assert "grpolab" not in other.picture and other.left_clean()


def instead_of_textual(folder: Path, code: str) -> dict[str, str]:
    """The environment in which this is what the screen imports."""
    (folder / "textual.py").write_text(code)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def test_ctrl_c_over_the_picture_ends_it(run_dir: Path, tmp_path: Path) -> None:
    replayed(run_dir)
    slow = instead_of_textual(tmp_path, "import time; time.sleep(60)")
    done = replayed(run_dir, ("step 0/0", b"\x1a\x1c\x03"), **slow)  # ^Z and ^\\ wait
    assert done.code == 130 and done.left_clean()


@pytest.mark.slow
def test_a_screen_that_cannot_be_loaded_says_so_on_the_main_screen(
    run_dir: Path, tmp_path: Path
) -> None:
    replayed(run_dir)
    broken = instead_of_textual(tmp_path, "raise ImportError('no screen today')")
    done = replayed(run_dir, **broken)
    assert done.code == 1 and done.left_clean() and "step 0/0" in ESCAPE.sub("", done.out)
    assert "no screen today" in done.out.rpartition(MAIN)[2]


@pytest.mark.slow
def test_a_wrong_request_says_so_on_the_main_screen(tmp_path: Path) -> None:
    first, second = (session("run", "nosuch", folder=tmp_path) for _ in range(2))
    assert "step 0/0" not in first.picture and "step 0/0" in ESCAPE.sub("", second.picture)
    for done in (first, second):
        assert done.code == 2 and done.left_clean()
        assert "unknown scenario 'nosuch'" in done.out.rpartition(MAIN)[2]
