"""The lab in a browser: what is refused, and that a page comes and its session draws."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from front.synthetic import run_events, write

from grpolab import cli, serve
from grpolab.errors import RequestError

needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("textual_serve") is None, reason="textual-serve is not installed"
)


def test_what_a_page_runs() -> None:
    assert serve.command([])[-2:] == ["-m", "grpolab"]
    line = serve.command(["replay", "x", "--speed", "4"])
    assert line[-4:] == ["replay", "x", "--speed", "4"]
    for wrong in (["lens", "x"], ["run", "--headless"], ["compare", "x", "--json"]):
        with pytest.raises(RequestError, match="screen"):
            serve.command(wrong)
    with pytest.raises(SystemExit):
        serve.command(["run", "--stpes", "3"])


def test_options_behind_the_command_are_its_own() -> None:
    args = cli.parser().parse_args(["serve", "--port", "81", "run", "default", "--seed", "3"])
    assert (args.port, args.host) == (81, "127.0.0.1")
    assert args.rest == ["run", "default", "--seed", "3"]


@pytest.mark.parametrize(
    ("host", "origin", "bound", "answered"),
    [
        ("127.0.0.1:8000", None, "127.0.0.1", True),
        ("localhost:8000", "http://localhost:8000", "127.0.0.1", True),
        ("[::1]:8000", None, "::1", True),
        ("localhost:8000", "http://evil.example", "127.0.0.1", False),
        ("evil.example:8000", "http://evil.example:8000", "127.0.0.1", False),  # DNS rebinding
        ("lab.example:8000", "http://lab.example:8000", "0.0.0.0", True),
        ("lab.example:8000", "http://evil.example", "0.0.0.0", False),
        ("127.0.0.1:8000", "null", "127.0.0.1", False),
    ],
)
def test_who_is_answered(host: str, origin: str | None, bound: str, answered: bool) -> None:
    assert serve.trusted(host, origin, bound) is answered


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err == serve.MISSING + "\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """The port of a server on a recorded run."""
    write(tmp_path / "run", run_events(2))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "GRPOLAB_TOUR": "0"}
    line = [sys.executable, "-m", "grpolab", "serve", "--port", str(port), "replay"]
    root = Path(__file__).parents[2]
    env["PYTHONPATH"] = str(root)
    process = subprocess.Popen([*line, str(tmp_path / "run")], env=env, cwd=tmp_path,
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                out, err = process.communicate()
                pytest.fail(f"the server opened no port\n{out.decode()}\n{err.decode()}")
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0


@needs_extra
def test_a_page_comes_and_needs_nothing_from_elsewhere(server: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server}/", timeout=10) as answer:
        page = answer.read().decode()
    assert f"ws://127.0.0.1:{server}/ws" in page and "focus()" in page
    assert "https://" not in page
    with urllib.request.urlopen(f"http://127.0.0.1:{server}/static/js/textual.js") as answer:
        assert answer.status == 200
    foreign = urllib.request.Request(
        f"http://127.0.0.1:{server}/", headers={"Origin": "http://evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(foreign)


@needs_extra
def test_a_page_may_hold_a_request_open_for_a_picture_without_a_window(server: int) -> None:
    def get(path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{server}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()

    assert 'fetch("/hold?seconds=7")' in get("/?wait=7")[1]
    for usual in ("/", "/?wait=", "/?wait=%22)%3Balert(1)%2F%2F", "/?wait=-1"):
        assert "/hold" not in get(usual)[1] and "alert" not in get(usual)[1]
    since = time.monotonic()
    assert get("/hold?seconds=1") == (204, "") and 0.9 < time.monotonic() - since < 8
    assert get("/hold?seconds=x") == (204, "") and get("/hold") == (204, "")


@needs_extra
async def test_a_session_draws_the_lab_and_takes_keys(server: int) -> None:
    import aiohttp

    url = f"ws://127.0.0.1:{server}/ws?width=120&height=36"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as page:

        async def seen(word: str) -> None:
            drawn = b""
            async with asyncio.timeout(20):
                async for message in page:
                    data = message.data
                    drawn += data if isinstance(data, bytes) else str(data).encode()
                    if word in drawn.decode("utf-8", "replace"):
                        return
            pytest.fail(f"no {word!r} in {drawn[-2000:]!r}")

        await seen("Rollouts")
        await page.send_json(["stdin", "?"])
        await seen("what it shows")
