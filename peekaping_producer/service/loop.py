"""A named background loop: runs turns until canceled, with backoff while a dependency fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from peekaping_producer.errors import PRODUCER, DependencyError
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies

T = TypeVar("T")


class LoopDone(Exception):  # noqa: N818 - not an error
    """A turn raises this to end its loop normally."""


class Loop:
    """Runs one turn after another, and measures for how long it has not advanced.

    Time inside `waiting` does not count. The replica reports a loop as stalled that has not advanced for too long.
    """

    def __init__(
        self,
        name: str,
        dependencies: Dependencies,
        *,
        uses: Collection[str],
        kind: str = "",
        longest_backoff_s: float = 5.0,
    ) -> None:
        """`uses`: the dependencies that work if a turn succeeds. `kind`: the name in metrics and logs, for one of
        several loops of a kind.
        """
        self.name = name
        self._kind = kind or name
        self._uses = uses
        self._dependencies = dependencies
        self._longest_backoff_s = longest_backoff_s
        self._backoff = Backoff(0.1, longest_backoff_s)
        self._busy_since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Enclose a wait that may take any time: for a due monitor, an event, a lock, a free connection."""
        self._busy_since = None
        try:
            yield
        finally:
            self.progressed()

    @contextmanager
    def calling(self, problem: Callable[[float], DependencyError | None]) -> Iterator[None]:
        """Enclose a call that ends by itself, perhaps late.

        `problem`: see Dependencies.watching.
        """
        with self.waiting(), self._dependencies.watching(self._kind, problem):
            yield

    @asynccontextmanager
    async def entering(self, context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Enter `context`, which may take any time: a lock, or a connection of a pool."""
        async with AsyncExitStack() as stack:
            with self.waiting():
                entered = await stack.enter_async_context(context)
            yield entered

    def progressed(self) -> None:
        """A step has ended."""
        self._busy_since = time.monotonic()

    @property
    def stalled_s(self) -> float:
        """Seconds since a loop that is at work has advanced; 0 for one that waits."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    async def run(self, turn: Callable[[], Awaitable[float]]) -> None:
        """Run turns until one raises LoopDone (a normal end) or an unforeseen error, which is raised.

        A turn returns the seconds to wait before the next. After a DependencyError the loop waits with backoff.
        """
        try:
            while True:
                pause = await self._run_turn(turn)
                await asyncio.sleep(pause)
        except LoopDone:
            return
        finally:
            self._dependencies.forget(self._kind)

    async def _run_turn(self, turn: Callable[[], Awaitable[float]]) -> float:
        """Run one turn; return the seconds until the next."""
        self.progressed()
        started_at = time.monotonic()
        try:
            pause = await turn()
        except DependencyError as error:
            self._dependencies.failed(error, self._kind)
        else:
            self.turn_succeeded()
            return pause
        finally:
            self._busy_since = None
        if time.monotonic() - started_at > self._longest_backoff_s:
            self._backoff.reset()  # the failed turn was itself a long pause
        return self._backoff.delay()

    def turn_succeeded(self) -> None:
        """Report success before the turn ends: for turns that wait after their work. Others only return."""
        self._backoff.reset()
        for dependency in (*self._uses, PRODUCER):
            self._dependencies.succeeded(dependency, self._kind)

    def call_succeeded(self, dependency: str) -> None:
        """Report that a call to `dependency` succeeded, whatever the rest of the turn does."""
        self.progressed()
        self._dependencies.succeeded(dependency)
