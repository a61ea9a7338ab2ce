"""`grpolab serve`: the lab in a browser, through textual-serve. Every page that is opened is a
session of its own: a process with its own run, which ends with the page.

Anyone who can reach the port can press every key of the lab. It therefore listens on this machine
only unless asked otherwise, and refuses requests from other sites' pages.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grpolab.errors import RequestError
from grpolab.launch import python

if TYPE_CHECKING:
    from aiohttp import web

COMMANDS = ("run", "replay", "watch", "compare")
FOREIGN = re.compile(r"""<link\b[^>]*\bhref="https?://[^>]*>""")
"""A style sheet from another site: the page must work without a network."""

FOCUS = """<script>
  const waiting = setInterval(() => {
    const field = document.querySelector(".xterm-helper-textarea");
    if (field && document.body.classList.contains("-first-byte")) {
      field.focus();
      clearInterval(waiting);
    }
  }, 100);
</script>
"""
"""Keys work as soon as there is a screen, without a click."""

HOLD = """<script>fetch("/hold?seconds={seconds}");</script>
"""
"""A request that stays open. A headless browser's virtual time stands still meanwhile; for a
websocket, over which the screen comes, it does not wait."""

LONGEST_HOLD = 60

MISSING = "grpolab serve needs textual-serve: pip install 'grpolab[serve]'"


def command(rest: Sequence[str], parser: ArgumentParser) -> list[str]:
    """The command line that each page runs, checked first with grpolab's own parser. Raises
    RequestError."""
    if rest and rest[0] not in COMMANDS:
        raise RequestError(f"grpolab serve: {rest[0]} has no screen; one of {', '.join(COMMANDS)}")
    for word in ("--headless", "--json", "--markdown"):
        if word in rest:
            raise RequestError(f"grpolab serve: {word} leaves no screen to serve")
    parser.parse_args([*rest])  # a wrong option is reported here, and not on a page
    return python("-m", "grpolab", *rest)


def local(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine as seen from itself."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def trusted(host: str, origin: str | None, bound: str) -> bool:
    """Whether a request may be answered: sent by no other site's page, and, where only this machine
    is served, under a name of this machine."""
    if origin is not None and urlsplit(origin).netloc != host:
        return False
    return local(host) or not local(bound)


def serve(rest: Sequence[str], host: str, port: int, parser: ArgumentParser) -> int:
    """Serve until Ctrl-C. Raises RequestError."""
    line = command(rest, parser)
    if find_spec("textual_serve") is None:
        raise RequestError(MISSING)
    try:
        _server(line, host, port).serve()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise RequestError(f"grpolab serve: {host}:{port}: {why}") from None
    return 0


def _server(line: Sequence[str], host: str, port: int) -> Any:
    import aiohttp_jinja2
    from aiohttp import web
    from textual_serve.server import Server

    class LabServer(Server):
        """With the addresses that a page was asked under, and a guard before everything."""

        def initialize_logging(self) -> None:
            """Its log is of no use to whoever serves."""

        async def _make_app(self) -> web.Application:
            app = await super()._make_app()
            app.middlewares.append(_guard(host))
            app.router.add_get("/hold", self.hold)
            return app

        async def hold(self, request: web.Request) -> web.Response:
            """Answer after the seconds that the request names."""
            seconds = request.query.get("seconds", "")
            await asyncio.sleep(min(LONGEST_HOLD, int(seconds)) if seconds.isdecimal() else 0)
            return web.Response(status=204)

        async def on_startup(self, app: web.Application) -> None:
            shown = f"[{host}]" if ":" in host else host
            notice = f"grpolab on http://{shown}:{port}  (every page is a session of its own; "
            notice += "Ctrl-C ends them all)"
            if not local(host):
                notice += "\nanyone who can reach this port can press every key of the lab"
            print(notice, file=sys.stderr, flush=True)

        async def handle_index(self, request: web.Request) -> Any:
            size = request.query.get("fontsize", "")
            secure = request.scheme == "https"
            values = {
                "font_size": int(size) if size.isdecimal() and 4 <= int(size) <= 64 else 14,
                "app_websocket_url": f"{'wss' if secure else 'ws'}://{request.host}/ws",
                "config": {"static": {"url": "/static/"}},
                "application": {"name": "grpolab"},
            }
            page = aiohttp_jinja2.render_string("app_index.html", request, values)
            wait = request.query.get("wait", "")
            script = FOCUS + (HOLD.format(seconds=wait) if wait.isdecimal() else "")
            page = FOREIGN.sub("", page).replace("</body>", script + "</body>")
            return web.Response(text=page, content_type="text/html")

    return LabServer(shlex.join(line), host, port, "grpolab", f"http://{host}:{port}")


def _guard(bound: str) -> Any:
    from aiohttp import web

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if not trusted(request.host, request.headers.get("Origin"), bound):
            raise web.HTTPForbidden(text="grpolab serve does not answer to this address\n")
        return await handler(request)

    return guard
