"""The messages of one partition, in the order they stand there, and the task that settles one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanledger.receivers.kafka.consumer import Message

Settle = Callable[["Message", asyncio.Event], Awaitable[bool]]
"""Settles a message: true when it is taken care of, false when `leaving` was set before that."""


class Line:
    """What is in hand of one partition. `settled` is told each message that is taken care of, in order."""

    def __init__(self, settle: Settle, settled: Callable[[Message], None], name: str) -> None:
        self.leaving = asyncio.Event()
        self.waiting: deque[Message] = deque()
        """The first one is being settled."""
        self._settle = settle
        self._settled = settled
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def add(self, message: Message) -> None:
        """Put a message at the end."""
        self.waiting.append(message)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def leave(self, patience_s: float) -> None:
        """Let the message that is worked on finish within `patience_s`, and give all others up."""
        self.leaving.set()
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=patience_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self.waiting and not self.leaving.is_set():
            message = self.waiting[0]
            if not await self._settle(message, self.leaving):
                return
            self.waiting.popleft()
            self._settled(message)
