"""Monitors that may have changed: their rows are read again, and the schedule is corrected.

A hint carries no data. It may arrive late, twice, out of order or never: only the row counts.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from functools import partial

from peekaping_producer.errors import DATABASE, REDIS
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.producer.loops.placing import Placing
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import isolate
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import MonitorStore

_BATCH = 500
_MAX_HINTS = 100_000


class Hints:
    """Collects the ids, each once, and follows them, oldest first."""

    def __init__(
        self,
        store: MonitorStore,
        placing: Placing,
        dependencies: Dependencies,
        timing: Timing = TIMING,
    ) -> None:
        self.loop = Loop("hints", dependencies, uses=(REDIS, DATABASE))
        self.overflowed = False
        """There were more hints than are kept: a full sync is needed."""
        self._store = store
        self._placing = placing
        self._timing = timing
        self._not_before: dict[str, float] = {}
        self._retry_s: dict[str, float] = {}
        """By id of a leased monitor, the next wait. Most leases end soon; those of unreadable rows do not."""
        self._wakeup = asyncio.Event()

    def add(self, monitor_ids: Iterable[str], *, delay_s: float = 0.0) -> None:
        """Follow these monitors after a delay."""
        at = time.monotonic() + delay_s
        for monitor_id in monitor_ids:
            if len(self._not_before) >= _MAX_HINTS and monitor_id not in self._not_before:
                self.overflowed = True
                return
            self._not_before[monitor_id] = at
        self._wakeup.set()

    def __len__(self) -> int:
        return len(self._not_before)

    async def run(self, term: str) -> None:
        """Follow hints for the length of a term; raises StaleTermError when it is over."""
        self._not_before.clear()
        self._retry_s.clear()
        self.overflowed = False
        await self.loop.run(partial(self.run_once, term))

    async def run_once(self, term: str) -> float:
        """Wait for hints that are ready, and follow up to 500 of them. Returns 0."""
        ready = await self._ready()
        leased: list[str] = []

        async def attempt(ids: list[str]) -> None:
            async with self.loop.entering(self._store.session()) as session, self._placing.exclusive(self.loop):
                plans = await session.plans([monitor_id for monitor_id in ids if self._store.is_id(monitor_id)])
                self.loop.call_succeeded(DATABASE)
                self._placing.report_problems(list(plans.values()))
                wanted = [plans.get(monitor_id) or Plan(monitor_id, 0) for monitor_id in ids]
                leased.extend((await self._placing.place(self.loop, term, session, wanted, retry=True)).leased)

        try:
            await isolate(ready, attempt, self._placing.report_unplaced)
        except BaseException:  # also if it is canceled: no hint is lost
            self.add(monitor_id for monitor_id in ready if monitor_id not in self._not_before)
            raise
        self._retry(ready, leased)
        return 0.0

    def _retry(self, ready: list[str], leased: Collection[str]) -> None:
        """Follow leased monitors again later: an edit never touches a lease, so that no tick is lost."""
        waits_s = {monitor_id: self._retry_s.pop(monitor_id, self._timing.retry_leased_s) for monitor_id in ready}
        for monitor_id in leased:
            self._retry_s[monitor_id] = min(2 * waits_s[monitor_id], self._timing.longest_retry_s)
            if monitor_id not in self._not_before:
                self.add([monitor_id], delay_s=waits_s[monitor_id])

    async def _ready(self) -> list[str]:
        while True:
            self._wakeup.clear()
            now = time.monotonic()
            ready = [monitor_id for monitor_id, at in self._not_before.items() if at <= now][:_BATCH]
            if ready:
                for monitor_id in ready:
                    del self._not_before[monitor_id]
                return ready
            wait_s = min(self._not_before.values(), default=now + 3600) - now
            with self.loop.waiting():
                await wait_for_event(self._wakeup, max(wait_s, 0.001))
