"""One line a minute at info: the log of a healthy replica shows that it works."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from peekaping_producer.errors import REDIS
from peekaping_producer.metrics import Metrics, quantile
from peekaping_producer.schedule import Stats
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop

log = structlog.stdlib.get_logger()

_HANDED_OFF = ("enqueued", "replaced", "overlap")


class Summary:
    """Logs what this replica did since the last line, and the state of the schedule."""

    def __init__(
        self,
        node: str,
        *,
        stats: Callable[[], Awaitable[Stats]],
        metrics: Metrics,
        dependencies: Dependencies,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`node` begins the terms of this replica; `stats` raises RedisError where Redis does not answer."""
        self.loop = Loop("summary", dependencies, uses=(REDIS,))
        self._node = node
        self._stats = stats
        self._metrics = metrics
        self._interval_s = interval_s
        self._clock = clock
        self._since = clock()
        self._outcomes = self._read_outcomes()
        self._lags = metrics.schedule_lag.counts()

    async def run(self) -> None:
        """Log at every interval until canceled. While Redis does not answer, the next line covers that time too."""
        await asyncio.sleep(self._interval_s)
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Log once; returns the seconds until the next time."""
        stats = await self._stats()
        now, outcomes, lags = self._clock(), self._read_outcomes(), self._metrics.schedule_lag.counts()
        done = {name: round(count - self._outcomes.get(name, 0.0)) for name, count in outcomes.items()}
        late = quantile(0.99, [count - before for count, before in zip(lags, self._lags, strict=True)])
        log.info(
            "replica.summary",
            message=self._sentence(stats),
            for_s=round(now - self._since),
            handed_off=sum(done.get(name, 0) for name in _HANDED_OFF),
            **{name: count for name, count in done.items() if count and name != "enqueued"},
            late_p99_s=late,
            scheduled=stats.due + stats.leased,
            overdue=stats.overdue,
            oldest_due_age_s=round(stats.oldest_due_age_s, 1),
            leader=stats.leader,
        )
        self._since, self._outcomes, self._lags = now, outcomes, lags
        return self._interval_s

    def _read_outcomes(self) -> dict[str, float]:
        """How many monitors had each outcome, since the start."""
        return {
            sample.labels["outcome"]: sample.value
            for metric in self._metrics.handed_off.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    def _sentence(self, stats: Stats) -> str:
        if stats.leader is None:
            return "Working; no replica leads."
        if stats.leader.startswith(f"{self._node}/"):
            return "Working; this replica leads."
        return "Working; another replica leads."
