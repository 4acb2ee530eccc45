"""A named background loop: takes turns until canceled; while a dependency fails it waits, and goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

from peekaping_producer.errors import PRODUCER, DependencyError
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies


class LoopDone(Exception):  # noqa: N818 - no error: the loop has nothing left to do
    """Raised by a turn to end its loop normally."""


class Loop:
    """Runs one turn after another, and measures whether it advances.

    A turn is at work, but for what it encloses in `waiting`. A loop that is at work for too long without advancing is
    stalled.
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
        """`uses`: the dependencies that a turn which went well has seen working. `kind`: what metrics and logs call
        this loop, where several of a kind run side by side.
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
            self.advanced()

    def advanced(self) -> None:
        """A step has ended."""
        self._busy_since = time.monotonic()

    @property
    def stalled_s(self) -> float:
        """Seconds since a loop that is at work has advanced; 0 for one that waits."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    async def run(self, turn: Callable[[], Awaitable[float]]) -> None:
        """Take turns until one raises LoopDone (a normal end) or something unforeseen.

        A turn returns how many seconds to wait before the next. After a DependencyError the loop waits with backoff.
        """
        try:
            while True:
                pause = await self._take(turn)
                await asyncio.sleep(pause)
        except LoopDone:
            return
        finally:
            self._dependencies.forget(self._kind)

    async def _take(self, turn: Callable[[], Awaitable[float]]) -> float:
        """Take one turn; returns the seconds until the next."""
        self.advanced()
        started_at = time.monotonic()
        try:
            pause = await turn()
        except DependencyError as error:
            self._dependencies.failed(error, self._kind)
        else:
            self.succeeded()
            return pause
        finally:
            self._busy_since = None
        if time.monotonic() - started_at > self._longest_backoff_s:
            self._backoff.reset()  # the turn itself was pause enough, or worked for long before it failed
        return self._backoff.delay()

    def succeeded(self) -> None:
        """The work of this turn is done. For turns that go on waiting after it; others need only return."""
        self._backoff.reset()
        for dependency in (*self._uses, PRODUCER):
            self._dependencies.worked(dependency, self._kind)

    def worked(self, dependency: str) -> None:
        """A call to `dependency` worked, whatever becomes of the rest of the turn."""
        self.advanced()
        self._dependencies.worked(dependency)
