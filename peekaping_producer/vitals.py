"""How the replica is: depths and ages for the metrics, and whether it is alive and ready for its probes."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable

from redis.exceptions import RedisError

from peekaping_producer.dependencies import DATABASE, REDIS, Dependencies
from peekaping_producer.errors import StoreError
from peekaping_producer.loop import Loop
from peekaping_producer.metrics import Metrics
from peekaping_producer.schedule import Schedule
from peekaping_producer.stores import MonitorStore

SAMPLE_INTERVAL_S = 5.0
STALE_AFTER_S = 12.0
WEDGED_AFTER_S = 13.0
"""More than the longest step of a loop: a hand-off that is repeated (8 s and a call), or a load (10 s)."""


class Vitals:
    """Looks at Redis and the database every few seconds; probes read what it saw and cost nothing."""

    def __init__(self, schedule: Schedule, store: MonitorStore, metrics: Metrics, dependencies: Dependencies) -> None:
        self.loop = Loop("vitals", dependencies, uses=())
        self.draining = False
        self.watched: list[Loop] = []
        """The loops that must advance."""
        self.remarks: list[Callable[[], str | None]] = []
        """What is worth reading in readiness although it does not make the replica unready."""
        self._schedule = schedule
        self._store = store
        self._metrics = metrics
        self._dependencies = dependencies
        self._seen_at: dict[str, float] = {}
        self._trouble: dict[str, str] = {}

    async def run(self) -> None:
        """Sample for ever."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Sample once; returns the seconds until the next sample."""
        try:
            stats = await self._schedule.stats()
        except (RedisError, OSError) as error:
            self._failed(REDIS, error, f"{type(error).__name__}: {error}")
            self._metrics.oldest_due_age.set(math.nan)
        else:
            self._seen(REDIS)
            self._metrics.due_depth.set(stats.due)
            self._metrics.lease_depth.set(stats.leased)
            self._metrics.oldest_due_age.set(stats.oldest_due_age_s)
        self.loop.beat()
        try:
            async with asyncio.timeout(SAMPLE_INTERVAL_S):
                await self._store.ping()
        except TimeoutError as error:
            self._failed(DATABASE, error, f"no answer within {SAMPLE_INTERVAL_S:g} s")
        except (StoreError, OSError) as error:
            self._failed(DATABASE, error, str(error))
        else:
            self._seen(DATABASE)
        return SAMPLE_INTERVAL_S

    def _failed(self, dependency: str, error: Exception, reason: str) -> None:
        self._trouble[dependency] = reason
        self._dependencies.failed(dependency, error, self.loop.name)

    def _seen(self, dependency: str) -> None:
        self._dependencies.worked(dependency, self.loop.name)
        self._seen_at[dependency] = time.monotonic()
        self._trouble.pop(dependency, None)

    def stalled(self) -> list[str]:
        """The loops that are at work and do not advance; empty means alive."""
        loops: Iterable[Loop] = (self.loop, *self.watched)
        return [f"{loop.name}: {loop.stalled_s:.0f} s" for loop in loops if loop.stalled_s > WEDGED_AFTER_S]

    def unready(self) -> dict[str, str]:
        """Why no work should be expected of this replica now, by dependency; empty means ready."""
        if self.draining:
            return {"producer": "draining"}
        reasons = dict(self._trouble)
        for dependency in ("redis", "database"):
            age_s = time.monotonic() - self._seen_at.get(dependency, -math.inf)
            if dependency not in reasons and age_s > STALE_AFTER_S:
                reasons[dependency] = "not seen yet" if math.isinf(age_s) else f"not seen for {age_s:.0f} s"
        return reasons

    def noted(self) -> list[str]:
        """Remarks for whoever reads the readiness page."""
        return [text for remark in self.remarks if (text := remark())]
