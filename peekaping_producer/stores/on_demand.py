"""A store that is opened by its first use, and closed when it has not been used for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peekaping_producer.stores.protocol import MonitorStore, Session


class OnDemandStore:
    """For reads that people ask for: without them it has no connection."""

    def __init__(self, store: MonitorStore, *, idle_s: float = 150.0) -> None:
        """`store` is not open yet. It is closed after `idle_s` without a session; an open page reads every 60 s."""
        self._store = store
        self._idle_s = idle_s
        self._lock = asyncio.Lock()
        self._is_open = False
        self._in_use = 0
        self._closing: asyncio.TimerHandle | None = None
        self._close_task: asyncio.Task[None] | None = None

    def is_id(self, text: str) -> bool:
        """See MonitorStore."""
        return self._store.is_id(text)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Open the store if necessary; see MonitorStore. Raises StoreError."""
        self._in_use += 1
        try:
            await self._open()
            async with self._store.session() as session:
                yield session
        finally:
            self._in_use -= 1
            self._close_later()

    async def close(self) -> None:
        """Close the store; the next session opens it again."""
        async with self._lock:
            self._is_open = False
            await self._store.close()

    async def _open(self) -> None:
        async with self._lock:
            if not self._is_open:
                await self._store.open()
                self._is_open = True

    def _close_later(self) -> None:
        if self._closing:
            self._closing.cancel()
        self._closing = asyncio.get_running_loop().call_later(self._idle_s, self._begin_to_close)

    def _begin_to_close(self) -> None:
        self._close_task = asyncio.create_task(self._close_unused())

    async def _close_unused(self) -> None:
        async with self._lock:
            if not self._in_use:
                self._is_open = False
                await self._store.close()
