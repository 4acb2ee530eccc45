"""Monitors that somebody said have changed: their rows are read again and the schedule is made to agree.

A hint carries no news itself. It may come late, twice, out of order or never; what counts is the row.
"""

import asyncio
import time
from collections.abc import Collection, Iterable

from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.schedule import Placed, Schedule
from peekaping_producer.service.dependencies import DATABASE, REDIS, Dependencies
from peekaping_producer.service.isolation import describe, isolate
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import MonitorStore, Session

_BATCH = 500
_MOST = 100_000
_RETRY_LEASED_S = 0.25
_LONGEST_RETRY_S = 5.0


class Hints:
    """The ids to look at again, each once, oldest first; and the loop that does."""

    def __init__(
        self,
        schedule: Schedule,
        store: MonitorStore,
        claims: Claims,
        *,
        anomalies: Anomalies,
        metrics: Metrics,
        dependencies: Dependencies,
    ) -> None:
        self.loop = Loop("hints", dependencies, uses=(REDIS, DATABASE))
        self.placing = asyncio.Lock()
        """Held from reading rows to placing them, by this loop and by sync: so no older row is placed after a newer."""
        self.overflowed = False
        """There were too many to remember: only a whole sync can tell."""
        self._schedule = schedule
        self._store = store
        self._claims = claims
        self._anomalies = anomalies
        self._metrics = metrics
        self._not_before: dict[str, float] = {}
        self._retry_s: dict[str, float] = {}
        """For those found leased, how long to wait next. A lease ends soon, but for rows that nobody can read."""
        self._more = asyncio.Event()

    def add(self, monitor_ids: Iterable[str], *, delay_s: float = 0.0) -> None:
        """Look at these monitors again, after a delay."""
        at = time.monotonic() + delay_s
        for monitor_id in monitor_ids:
            if len(self._not_before) >= _MOST and monitor_id not in self._not_before:
                self.overflowed = True
                return
            self._not_before[monitor_id] = at
        self._more.set()

    def __len__(self) -> int:
        return len(self._not_before)

    async def run(self, term: str) -> None:
        """Follow hints for the length of a term; raises StaleTermError when it is over."""
        self._not_before.clear()
        self._retry_s.clear()
        self.overflowed = False

        async def turn() -> float:
            return await self.run_once(term)

        await self.loop.run(turn)

    async def run_once(self, term: str) -> float:
        """Wait for hints that are ready, and follow up to 500 of them. Returns 0."""
        ready = await self._ready()
        self.loop.beat()
        leased: list[str] = []

        async def attempt(some: list[str]) -> None:
            self.loop.rest()  # until a connection and the turn are free
            async with self._store.session() as session, self.placing:
                self.loop.beat()
                plans = await session.plans([monitor_id for monitor_id in some if self._store.is_id(monitor_id)])
                for plan in plans.values():
                    if plan.problem:
                        self._anomalies.report(plan.id, "monitor.unschedulable", plan.problem)
                wanted = [plans.get(each) or Plan(each, 0) for each in some]
                self.loop.beat()
                leased.extend((await self.place(term, session, wanted, retry=True)).leased)

        def set_aside(monitor_id: str, error: Exception) -> None:
            """Sync reads it too; a hint that fails is not worth keeping."""
            self._anomalies.report(monitor_id, "monitor.unplaced", f"Its change is left to sync: {describe(error)}.")

        try:
            await isolate(ready, attempt, set_aside)
        except BaseException:
            self.add(each for each in ready if each not in self._not_before)
            raise
        self._retry(ready, leased)
        return 0.0

    async def place(self, term: str, session: Session, plans: list[Plan], *, retry: bool = False) -> Placed:
        """Place plans, count what changed, and let this replica's workers know of what is due now.

        With `retry`, those among them that were set aside are due now.

        What would have to move is read once more: between the reading of `plans` and now a worker may have read a
        newer row and rescheduled by it, and moving that back would run a tick twice.
        """
        placed = await self._schedule.place(term, plans, retry=retry)
        moved = 0
        if placed.misaligned:
            again = await session.plans([misaligned.id for misaligned in placed.misaligned])
            moved = await self._schedule.move(term, placed.misaligned, again)
        for change, amount in (("added", placed.added), ("moved", moved), ("removed", placed.removed)):
            if amount:
                self._metrics.schedule_changes.labels(change).inc(amount)
        if placed.added or moved or retry:
            self._claims.nudge()
        return placed

    def _retry(self, ready: list[str], leased: Collection[str]) -> None:
        """An edit leaves a lease alone, so that no tick is lost by it, and is followed when the lease is gone."""
        before = {each: self._retry_s.pop(each, _RETRY_LEASED_S) for each in ready}
        for each in leased:
            self._retry_s[each] = min(2 * before[each], _LONGEST_RETRY_S)
            if each not in self._not_before:
                self.add([each], delay_s=before[each])

    async def _ready(self) -> list[str]:
        while True:
            self._more.clear()
            now = time.monotonic()
            ready = [each for each, at in self._not_before.items() if at <= now][:_BATCH]
            if ready:
                for each in ready:
                    del self._not_before[each]
                return ready
            self.loop.rest()
            wait_s = min(self._not_before.values(), default=now + 3600) - now
            try:
                async with asyncio.timeout(max(wait_s, 0.001)):
                    await self._more.wait()
            except TimeoutError:
                pass
