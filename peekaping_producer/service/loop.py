"""A named background loop: takes turns until canceled; while a dependency fails it waits, and goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

from redis.exceptions import RedisError

from peekaping_producer.errors import BatchError, StoreError
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import DATABASE, PRODUCER, REDIS, Dependencies


class LoopDone(Exception):  # noqa: N818 - no error: the loop has nothing left to do
    """Raised by a turn to end its loop normally."""


class Loop:
    """Runs one turn after another and knows whether it advances.

    Between `beat` and `rest` the loop is at work: one that is for too long without another beat is wedged. Waiting for
    something that may rightly never come (a due monitor, an event) is rest.
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

    def beat(self) -> None:
        """At work, and advancing."""
        self._busy_since = time.monotonic()

    def rest(self) -> None:
        """Waiting, which may take any time."""
        self._busy_since = None

    @property
    def stalled_s(self) -> float:
        """Seconds since the last sign of life of a loop that is at work; 0 at rest."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    async def run(self, turn: Callable[[], Awaitable[float]]) -> None:
        """Take turns until one raises LoopDone (a normal end) or something unforeseen.

        A turn returns how many seconds to wait before the next. RedisError, StoreError, BatchError and OSError mean
        waiting with backoff.
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
        self.beat()
        started_at = time.monotonic()
        try:
            pause = await turn()
        except BatchError as error:
            self._dependencies.failed(error.dependency, error, self._kind)
        except StoreError as error:
            self._dependencies.failed(DATABASE, error, self._kind)
        except (RedisError, OSError) as error:
            self._dependencies.failed(REDIS, error, self._kind)
        else:
            self.succeeded()
            return pause
        finally:
            self.rest()
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
        self._dependencies.worked(dependency)
