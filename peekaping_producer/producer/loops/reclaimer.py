"""Makes monitors due again whose claim ran out: their producer died, froze or lost its way."""

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.schedule import CALL_LIMIT, Schedule
from peekaping_producer.service.dependencies import REDIS, Dependencies
from peekaping_producer.service.loop import Loop

log = structlog.stdlib.get_logger()

RECLAIM_INTERVAL_S = 2.0


class Reclaimer:
    """Every replica has one; they do not hinder each other."""

    def __init__(self, schedule: Schedule, claims: Claims, metrics: Metrics, dependencies: Dependencies) -> None:
        self.loop = Loop("reclaimer", dependencies, uses=(REDIS,))
        self._schedule = schedule
        self._claims = claims
        self._metrics = metrics

    async def run(self) -> None:
        """Reclaim for ever."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Reclaim all that ran out; returns the seconds until it is worth looking again."""
        total = 0
        while True:
            self.loop.beat()
            reclaimed = await self._schedule.reclaim()
            total += reclaimed
            if reclaimed < CALL_LIMIT:
                break
        if total:
            self._metrics.leases_reclaimed.inc(total)
            self._claims.nudge()
            log.warning("lease.reclaimed", message="Leases ran out; their monitors are due again.", count=total)
        return RECLAIM_INTERVAL_S
