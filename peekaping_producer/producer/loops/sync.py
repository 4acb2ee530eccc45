"""Compares the database with the schedule, so that a difference lasts for one interval at most.

Two walks: the first compares the active monitors of the database, page by page, and places those that differ; the
second is in removal.py. Both find by operations/reconcile/find.py, as the command `reconcile --dry-run` does.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

import structlog

from peekaping_producer.brokers import Broker
from peekaping_producer.errors import DATABASE, REDIS
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.reconcile.find import PAGE, Finder, RowsRead
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.placing import Placing
from peekaping_producer.producer.loops.removal import Removal
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import Schedule, SyncRequest
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import isolate
from peekaping_producer.service.loop import Loop
from peekaping_producer.service.text import clock_time
from peekaping_producer.stores import MonitorStore, Session

log = structlog.stdlib.get_logger()


class Sync:
    """Runs while this replica leads."""

    def __init__(
        self,
        *,
        schedule: Schedule,
        store: MonitorStore,
        broker: Broker,
        placing: Placing,
        hints: Hints,
        anomalies: Anomalies,
        metrics: Metrics,
        dependencies: Dependencies,
        interval_s: float,
        timing: Timing = TIMING,
    ) -> None:
        self.loop = Loop("sync", dependencies, uses=(REDIS, DATABASE))
        self.refused_removal = False
        """The database returned no active monitor, and nothing was removed."""
        self.unschedulable = 0
        """Number of active rows that cannot be scheduled, in the last walk."""
        self._first = True
        self.synced_at: float | None = None
        """time.monotonic() of the last success of this term, or of its beginning; None while another replica leads."""
        self.interval_s = interval_s
        self.shortest_interval_s: int | None = None
        """Of the monitors that the last walk has read."""
        self._store = store
        self._broker = broker
        self._placing = placing
        self._hints = hints
        self._metrics = metrics
        self._timing = timing
        self._finder = Finder(schedule=schedule, is_id=store.is_id, succeeded=self.loop.call_succeeded)
        self._removal = Removal(
            loop=self.loop,
            finder=self._finder,
            placing=placing,
            anomalies=anomalies,
            metrics=metrics,
            timing=timing,
        )
        self._wakeup = asyncio.Event()
        self._asked: SyncRequest | None = None
        self.answered: SyncRequest | None = None
        """The latest request of a person that a sync of this term, begun after it, has answered."""

    def request(self) -> None:
        """Sync at once, rather than when the interval is over."""
        self._wakeup.set()

    def answer(self, request: SyncRequest) -> bool:
        """Sync at once for a person; returns False if this request is known already."""
        if request in {self._asked, self.answered}:
            return False
        self._asked = request
        self.request()
        return True

    @property
    def has_synced(self) -> bool:
        """Whether this replica leads, and a sync of its term has succeeded."""
        return self.synced_at is not None and not self._first

    @property
    def unsynced_s(self) -> float:
        """Seconds since the last success of this term, or since its beginning; 0 while another replica leads."""
        return 0.0 if self.synced_at is None else time.monotonic() - self.synced_at

    def conditions(self, redis_ms: Callable[[float], int]) -> Iterator[Condition]:
        """The conditions that sync has found while this replica leads. `redis_ms`: Redis TIME by time.monotonic()."""
        if self.refused_removal:
            yield Condition(
                "database_empty",
                "The database returned no active monitor, but monitors are scheduled: nothing is removed, and nothing "
                "is checked.",
            )
        if self.synced_at and self.unsynced_s > 3 * self.interval_s + self._timing.sync_late_after_s:
            since = clock_time(redis_ms(self.synced_at), redis_ms(time.monotonic()))
            reason = f"No sync of this leader has succeeded since {since}: changes to monitors are not applied."
            yield Condition("sync_late", reason)

    async def run(self, term: str) -> None:
        """Sync once the events are subscribed, then at every interval; raises StaleTermError when the term is over."""
        self._first = True
        self.synced_at = time.monotonic()
        await self._until(time.monotonic() + self._timing.first_sync_wait_s)

        async def turn() -> float:
            self._wakeup.clear()
            started_at, asked = time.monotonic(), self._asked
            await self.run_once(term)
            if asked and asked != self.answered:
                self.answered = asked
                self._placing.answered(asked.who)
            self.loop.turn_succeeded()
            with self.loop.waiting():
                await self._until(started_at + self.interval_s)
            return 1.0 if self._hints.overflowed else 0.0  # a pause also after an overflow

        try:
            await self.loop.run(turn)
        finally:
            self.refused_removal, self.unschedulable, self.synced_at = False, 0, None  # the next leader reports them
            self._asked = self.answered = None

    async def _until(self, then: float) -> None:
        while (left_s := then - time.monotonic()) > 0 and not self._hints.overflowed:
            if await wait_for_event(self._wakeup, min(left_s, 1.0)):
                return

    async def run_once(self, term: str) -> None:
        """Compare once. Raises StoreError, RedisError or StaleTermError; what was placed stays."""
        started_at = time.monotonic()
        self._hints.overflowed = False
        try:
            async with self._store.session() as session:
                rows = await self._place_all(term, session)
                self.refused_removal = not await self._removal.run(term, session, rows)
        finally:
            self._placing.sync_ended()
        await self._sweep()
        took_s = time.monotonic() - started_at
        self._metrics.sync_duration.observe(took_s)
        if not self.refused_removal:
            self._succeeded(len(rows.known), took_s)

    async def _sweep(self) -> None:
        orphans, duplicates = await self._broker.sweep()
        if orphans or duplicates:
            self._metrics.pending_repaired.labels("orphan").inc(orphans)
            self._metrics.pending_repaired.labels("duplicate").inc(duplicates)
            log.warning("queue.repaired", message="Removed stray entries.", orphans=orphans, duplicates=duplicates)

    def _succeeded(self, monitors: int, took_s: float) -> None:
        """Log the success: the first of a term at info, and an empty database as a warning."""
        self._metrics.sync_last_success.set_to_current_time()
        self.synced_at = time.monotonic()
        write = log.info if self._first else log.debug
        message = "The schedule agrees with the database."
        if not monitors:
            write, message = (log.warning if self._first else log.info), "The database has no monitor to schedule."
        self._first = False
        write("sync.completed", message=message, monitors=monitors, took_ms=round(took_s * 1000))

    async def _place_all(self, term: str, session: Session) -> RowsRead:
        """Place every active monitor that differs; returns what was read."""
        rows = RowsRead()
        after: str | None = None
        while True:
            async with self._placing.exclusive(self.loop):
                plans = await session.page_of_plans(after, PAGE)
                self.loop.call_succeeded(DATABASE)
                await self._place(term, session, plans)
            rows.add(plans)
            if len(plans) < PAGE:
                self.unschedulable = rows.unschedulable
                self.shortest_interval_s = rows.shortest_interval_s
                self._metrics.unschedulable.set(rows.unschedulable)
                return rows
            after = plans[-1].id

    async def _place(self, term: str, session: Session, plans: list[Plan]) -> None:
        """Place what differs in a page; one plan that cannot be placed stops no other."""

        async def attempt(part: list[Plan]) -> None:
            found = await self._finder.compare(part)
            self._hints.add(found.leased)
            if differing := found.differing(part):
                self._hints.add((await self._placing.place(self.loop, term, session, differing)).leased)

        def set_aside(plan: Plan, error: Exception) -> None:
            self._placing.report_unplaced(plan.id, error)

        self._placing.report_problems(plans)
        await isolate(plans, attempt, set_aside)
