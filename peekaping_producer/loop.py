"""A named background loop: turns for ever; while a dependency fails it waits, and it never ends because of that."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

from peekaping_producer.backoff import Backoff
from peekaping_producer.errors import StoreError
from peekaping_producer.metrics import Metrics

log = structlog.stdlib.get_logger()

_REMIND_AFTER_S = 30.0
"""A loop that keeps failing says so at first and then this often."""


class LoopDone(Exception):  # noqa: N818 - no error: the loop has nothing left to do
    """Raised by a turn to end its loop in peace."""


class Loop:
    """Runs one turn after another and knows whether it advances.

    Between `beat` and `rest` the loop is at work: one that is for too long without another beat is wedged. Waiting for
    something that may rightly never come (a due monitor, an event) is rest.
    """

    def __init__(self, name: str, metrics: Metrics, *, longest_backoff_s: float = 5.0) -> None:
        self.name = name
        self._metrics = metrics
        self._backoff = Backoff(0.1, longest_backoff_s)
        self._busy_since: float | None = None
        self._failing_since: float | None = None
        self._said_at = -math.inf

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
        """Take turns until one raises LoopDone (a peaceful end) or something unforeseen.

        A turn returns how many seconds to wait before the next. RedisError, StoreError and OSError mean waiting with
        backoff.
        """
        while True:
            self.beat()
            try:
                pause = await turn()
            except LoopDone:
                return
            except StoreError as error:
                self._metrics.store_errors.labels(self.name).inc()
                pause = self._failed("database", error)
            except (RedisError, OSError) as error:
                self._metrics.redis_errors.labels(self.name).inc()
                pause = self._failed("redis", error)
            else:
                self.went_well()
            finally:
                self.rest()
            await asyncio.sleep(pause)

    def _failed(self, dependency: str, error: Exception) -> float:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._said_at > _REMIND_AFTER_S:
            self._said_at = now
            log.warning(
                "loop.failing",
                message=f"The {self.name} loop waits: {dependency} fails.",
                loop=self.name,
                dependency=dependency,
                error=f"{type(error).__name__}: {error}",
                for_s=round(now - self._failing_since, 1),
            )
        return self._backoff.delay()

    def went_well(self) -> None:
        """The dependencies work. Also for turns that last: one that works for hours should not look like failing."""
        if self._failing_since is None:
            return
        log.info(
            "loop.recovered",
            message=f"The {self.name} loop works again.",
            loop=self.name,
            after_s=round(time.monotonic() - self._failing_since, 1),
        )
        self._failing_since = None
        self._said_at = -math.inf
        self._backoff.reset()
