"""Keys typed ahead reach the screen that they were meant for.

Textual forwards a key to the screen that is in front when the key arrives, carries out its binding
some messages later, and mounts and focuses a screen that the binding asked for later still. Keys
typed meanwhile, which on a busy machine is a whole word, went to the screen before, and their
bindings were looked up in a screen that did not take them yet. Here one key is carried out at a
time: the next waits until everything that the last one set off has been done, and the screen in
front is mounted and has its focus.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from textual import events
from textual.app import ScreenStackError
from textual.dom import DOMNode
from textual.message_pump import MessagePump

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

    from grpolab.tui.app import LabApp

LIMIT = 5.0
"""Seconds that keys wait for a screen at the most: one that never mounts swallows none for ever."""

GLANCE = 0.05
"""Seconds between two looks at whether a screen that is waited for is being closed."""

AT_ONCE = ("ctrl+c",)
"""Keys that wait for nothing; what was typed before them is dropped."""


class TypeAhead:
    """Delivers keys and pasted text one at a time."""

    def __init__(self, app: LabApp, deliver: Callable[[events.Event], Awaitable[None]]) -> None:
        """`deliver` hands an event on to the screen in front."""
        self.app, self._deliver = app, deliver
        self.waiting: deque[events.Event] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._mounting: set[asyncio.Task[None]] = set()  # a task without a reference may vanish

    async def take(self, event: events.Key | events.Paste) -> None:
        """A key arrived: deliver it now, or after those before it."""
        if isinstance(event, events.Key) and event.key in AT_ONCE:
            self.waiting.clear()
            await self._deliver(event)
            return
        self.waiting.append(event)
        if self._settling is None:
            if self._in_front_takes_keys():
                await self._deliver(self.waiting.popleft())
            self.expect()

    def expect(self, mounting: Coroutine[None, None, None] | None = None) -> None:
        """Something may be opening a screen: let keys wait until it is there. `mounting` is done
        beside it."""
        if mounting is not None:
            task = asyncio.create_task(_mounted(mounting), name="mount a screen")
            self._mounting.add(task)
            task.add_done_callback(self._mounting.discard)
        if self._settling is None:
            self._settling = asyncio.create_task(self._empty(), name="type-ahead")

    def drop(self) -> int:
        """Forget what was typed for a screen that does not open; how many keys that were."""
        count = len(self.waiting)
        self.waiting.clear()
        return count

    async def _empty(self) -> None:
        """Deliver what waits, one after the other."""
        try:
            await self._settled()
            while self.waiting:
                done = asyncio.Event()
                self.app.call_next(self._hand_over, self.waiting.popleft(), done)
                await self._reached(self.app, done)
                await self._settled()
        finally:
            self._settling = None

    async def _hand_over(self, event: events.Event, done: asyncio.Event) -> None:
        try:
            await self._deliver(event)
        finally:
            done.set()

    async def _settled(self) -> None:
        """Wait until all that was set off is done and the screen in front takes keys."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                before: object = None
                while (place := self._place()) != before or not self._in_front_takes_keys():
                    if place == before:  # it mounts
                        await asyncio.sleep(GLANCE / 10)
                    before = place
                    for node in self._nodes():
                        await self._idle(node)

    def _place(self) -> tuple[tuple[Screen[object], ...], Widget | None]:
        """What keys would reach now."""
        return tuple(self.app.screen_stack), self.app.focused if self.app.screen_stack else None

    def _in_front_takes_keys(self) -> bool:
        stack = self.app.screen_stack
        return bool(stack) and stack[-1].is_mounted

    def _nodes(self) -> Iterator[MessagePump]:
        """All that a key passes, in its order: from the focused widget up to the screen, the
        screens below, which may have asked for this one, and the application."""
        stack = list(self.app.screen_stack)
        node: DOMNode | None = self.app.focused if stack else None
        while node is not None and node not in stack:
            yield node
            node = node.parent
        yield from reversed(stack)
        yield self.app

    async def _idle(self, node: MessagePump) -> None:
        """Wait until a node has dealt with its messages and what it was to do next."""
        done = asyncio.Event()
        node.call_next(done.set)
        await self._reached(node, done)

    async def _reached(self, node: MessagePump, done: asyncio.Event) -> None:
        """Wait for `done`, which the node's loop sets unless it is being closed."""
        until = time.monotonic() + LIMIT
        while not done.is_set() and not node._closing and time.monotonic() < until:
            with suppress(TimeoutError):
                async with asyncio.timeout(GLANCE):
                    await done.wait()


async def _mounted(mounting: Coroutine[None, None, None]) -> None:
    with suppress(ScreenStackError):  # the application ended meanwhile
        await mounting
