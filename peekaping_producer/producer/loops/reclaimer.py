"""Makes monitors due again whose leases have expired: their producer died or froze."""

import structlog

from peekaping_producer.errors import REDIS
from peekaping_producer.metrics import Metrics
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import CALL_LIMIT, Schedule
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop

log = structlog.stdlib.get_logger()


class Reclaimer:
    """Runs in every replica; any number may run side by side."""

    def __init__(
        self,
        schedule: Schedule,
        claims: Claims,
        *,
        recorder: EventRecorder,
        metrics: Metrics,
        dependencies: Dependencies,
        timing: Timing = TIMING,
    ) -> None:
        self.loop = Loop("reclaimer", dependencies, uses=(REDIS,))
        self._schedule = schedule
        self._claims = claims
        self._recorder = recorder
        self._metrics = metrics
        self._every_s = timing.reclaim_every_s

    async def run(self) -> None:
        """Reclaim until canceled."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Reclaim all expired leases; returns the seconds until the next turn."""
        total = 0
        while True:
            reclaimed = await self._schedule.reclaim()
            self.loop.call_succeeded(REDIS)
            total += reclaimed
            if reclaimed < CALL_LIMIT:
                break
        if total:
            self._metrics.leases_reclaimed.inc(total)
            self._claims.nudge()
            log.warning("lease.reclaimed", message="Leases expired; their monitors are due again.", count=total)
            monitors = "1 monitor is" if total == 1 else f"{total} monitors are"
            self._recorder.record("lease.reclaimed", f"Leases expired; {monitors} due again.")
        return self._every_s
