"""Escape and a key that follows it at once are two keys.

A terminal sends Alt with a key as Escape and the key, so the two cannot be told apart once both
arrive in one read. Textual takes Escape and a letter for Alt, loses the Escape before most signs,
and makes `≠` of Escape and `=`. Nothing here is bound to Alt, and who closes a screen and types on
means both keys.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

from textual import events
from textual._xterm_parser import XTermParser

ESCAPE = "\x1b"
INTRODUCERS = "[O]P_^X"
"""They may begin a longer sequence: Textual waits for it, and then gives the key with `alt`."""

DRIVERS = ("linux_driver", "web_driver")


class TwoKeysParser(XTermParser):
    """Textual's parser of what a terminal sends, but for Escape with one printable character."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        found = super()._sequence_to_key_events
        both = len(sequence) == 2 and sequence[0] == ESCAPE and sequence[1] not in INTRODUCERS
        if (alt and len(sequence) == 1) or (both and sequence[1].isprintable()):
            yield events.Key("escape", ESCAPE)
            yield from found(sequence[-1])
        else:
            yield from found(sequence, alt)


def install() -> None:
    """Let the drivers of this platform use it; they take the parser from their module's name."""
    if sys.platform != "win32":
        for name in DRIVERS:
            vars(import_module(f"textual.drivers.{name}"))["XTermParser"] = TwoKeysParser
