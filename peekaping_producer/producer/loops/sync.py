"""Compares the database with the schedule: a difference lasts for one interval at most.

Two walks. The first goes through the database's active monitors and places each page. The second goes through the
schedule's members and removes what the database, asked again about exactly these, does not know.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from peekaping_producer.brokers import Broker
from peekaping_producer.errors import DATABASE, REDIS
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.placing import Placing
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import CALL_LIMIT, MAX_ID_LENGTH, Member, Schedule
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import describe, isolate
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import MonitorStore, Session

log = structlog.stdlib.get_logger()

PAGE = 1000
BELIEVE_EMPTY_BELOW = 20
"""A wholly empty answer removes nothing from a schedule with this many members or more."""
SUSPICIOUS_SHARE = 0.8
"""An answer with a smaller share of the schedule's members is read twice."""


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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.loop = Loop("sync", dependencies, uses=(REDIS, DATABASE))
        self.refused_removal = False
        """The database returned no active monitor, and nothing was removed."""
        self.unschedulable = 0
        """Number of active rows that cannot be scheduled, in the last walk."""
        self._first = True
        self._synced_at: float | None = None
        """The last success of this term, or its beginning; None while another replica leads."""
        self._schedule = schedule
        self._store = store
        self._broker = broker
        self._placing = placing
        self._hints = hints
        self._anomalies = anomalies
        self._metrics = metrics
        self._interval_s = interval_s
        self._timing = timing
        self._sleep = sleep
        self._wakeup = asyncio.Event()

    def request(self) -> None:
        """Sync at once, rather than when the interval is over."""
        self._wakeup.set()

    @property
    def unsynced_s(self) -> float:
        """Seconds since the last success of this term, or since its beginning; 0 while another replica leads."""
        return 0.0 if self._synced_at is None else time.monotonic() - self._synced_at

    async def run(self, term: str) -> None:
        """Sync once the events are subscribed, then at every interval; raises StaleTermError when the term is over."""
        self._first = True
        self._synced_at = time.monotonic()
        await self._until(time.monotonic() + self._timing.subscribed_within_s)

        async def turn() -> float:
            self._wakeup.clear()
            started_at = time.monotonic()
            await self.run_once(term)
            self.loop.succeeded()
            with self.loop.waiting():
                await self._until(started_at + self._interval_s)
            return 1.0 if self._hints.overflowed else 0.0  # a pause also after an overflow

        try:
            await self.loop.run(turn)
        finally:
            self.refused_removal, self.unschedulable, self._synced_at = False, 0, None  # the next leader reports them

    async def _until(self, then: float) -> None:
        while (left_s := then - time.monotonic()) > 0 and not self._hints.overflowed:
            if await wait_for_event(self._wakeup, min(left_s, 1.0)):
                return

    async def run_once(self, term: str) -> None:
        """Compare once. Raises StoreError, RedisError or StaleTermError; what was placed stays."""
        started_at = time.monotonic()
        self._hints.overflowed = False
        async with self._store.session() as session:
            known = await self._place_all(term, session)
            await self._remove_unknown(term, session, known)
        orphans, duplicates = await self._broker.sweep()
        if orphans or duplicates:
            self._metrics.pending_repaired.labels("orphan").inc(orphans)
            self._metrics.pending_repaired.labels("duplicate").inc(duplicates)
            log.warning("queue.repaired", message="Removed stray entries.", orphans=orphans, duplicates=duplicates)
        took_s = time.monotonic() - started_at
        self._metrics.sync_duration.observe(took_s)
        if not self.refused_removal:
            self._succeeded(len(known), took_s)

    def _succeeded(self, monitors: int, took_s: float) -> None:
        """Log the success: the first of a term at info, and an empty database as a warning."""
        self._metrics.sync_last_success.set_to_current_time()
        self._synced_at = time.monotonic()
        write = log.info if self._first else log.debug
        message = "The schedule agrees with the database."
        if not monitors:
            write, message = (log.warning if self._first else log.info), "The database has no monitor to schedule."
        self._first = False
        write("sync.completed", message=message, monitors=monitors, took_ms=round(took_s * 1000))

    async def _place_all(self, term: str, session: Session) -> set[int]:
        """Place every active monitor; returns the hashes of their ids (32 bytes each; a million fit)."""
        known: set[int] = set()
        after: str | None = None
        unschedulable = 0
        while True:
            async with self._placing.exclusive(self.loop):
                plans = await session.page_of_plans(after, PAGE)
                self.loop.worked(DATABASE)
                await self._place(term, session, plans)
            known.update(hash(plan.id) for plan in plans if plan.interval > 0)
            unschedulable += sum(plan.interval <= 0 for plan in plans)
            if len(plans) < PAGE:
                self.unschedulable = unschedulable
                self._metrics.unschedulable.set(unschedulable)
                return known
            after = plans[-1].id

    async def _place(self, term: str, session: Session, plans: list[Plan]) -> None:
        """Place a page; one plan that cannot be placed stops no other."""

        async def attempt(some: list[Plan]) -> None:
            self._hints.add((await self._placing.place(self.loop, term, session, some)).leased)

        def set_aside(plan: Plan, error: Exception) -> None:
            self._anomalies.report(plan.id, "monitor.unplaced", f"Redis refused to schedule it: {describe(error)}.")

        self._placing.report_problems(plans)
        await isolate([plan for plan in plans if len(plan.id) <= MAX_ID_LENGTH], attempt, set_aside)

    async def _remove_unknown(self, term: str, session: Session, known: set[int]) -> None:
        members, unknown = await self._members(lambda monitor_id: hash(monitor_id) not in known)
        await self._expel(term, unknown)
        foreign, ours = _split(unknown, self._store.is_id)
        for seen in (seen for some in foreign.values() for seen in some):
            self._anomalies.report(
                seen.id, "schedule.foreign_member", "Not a valid monitor id; removed from the schedule."
            )
        await self._remove(term, foreign, "Removed members that are not monitor ids.")
        self.refused_removal = not known and members >= BELIEVE_EMPTY_BELOW
        if self.refused_removal:
            self._metrics.sync_refused.inc()
            log.error(
                "sync.empty_result",
                message="The database returned no active monitor, but monitors are scheduled: nothing is removed.",
                members=members,
            )
            return
        if len(known) < SUSPICIOUS_SHARE * members:
            ours = await self._confirm_absent(session, ours)
        for key, members_seen in ours.items():
            for some in chunks(members_seen, CALL_LIMIT):
                async with self._placing.exclusive(self.loop):  # one resumed meanwhile is placed before or after
                    absent = await self._absent(session, some)
                    await self._remove(term, {key: absent}, "Removed monitors that are gone or paused.")

    async def _expel(self, term: str, unknown: dict[str, list[Member]]) -> None:
        """Remove members that are too long to be ids: Redis may refuse to be sent one of them."""
        for key, members_seen in unknown.items():
            long = [seen for seen in members_seen if len(seen.id) > MAX_ID_LENGTH]
            for seen in long:
                self._anomalies.report(
                    seen.id[:40], "schedule.foreign_member", "Longer than any monitor id; removed from the schedule."
                )
            removed = await self._schedule.expel(term, key, (seen.score for seen in long))
            self._metrics.schedule_changes.labels("removed").inc(removed)

    async def _members(self, wanted: Callable[[str], bool]) -> tuple[int, dict[str, list[Member]]]:
        """Return the number of members in the schedule, and by set the `wanted` ones."""
        members = 0
        keys = self._schedule.keys
        found: dict[str, list[Member]] = {keys.due: [], keys.lease: []}
        for key, members_seen in found.items():
            async for page in self._schedule.members(key):
                self.loop.worked(REDIS)
                members += len(page)
                members_seen.extend(seen for seen in page if wanted(seen.id))
        return members, found

    async def _confirm_absent(self, session: Session, ours: dict[str, list[Member]]) -> dict[str, list[Member]]:
        """Find the members that are absent now; they must be absent again later to be removed.

        The members are walked again after the wait: those without a row move between due and lease meanwhile.
        """
        absent = {
            seen.id
            for members_seen in ours.values()
            for some in chunks(members_seen, CALL_LIMIT)
            for seen in await self._absent(session, some)
        }
        if not absent:
            return {}
        log.warning(
            "sync.smaller_result",
            message="The database returned far fewer monitors than are scheduled: reading again before removing.",
            absent=len(absent),
        )
        with self.loop.waiting():
            await self._sleep(self._timing.read_again_after_s)
        return (await self._members(absent.__contains__))[1]

    async def _absent(self, session: Session, members_seen: list[Member]) -> list[Member]:
        """Return those, of up to 1,000, that have no row now, or one that does not run."""
        plans = await session.plans([seen.id for seen in members_seen])
        self.loop.worked(DATABASE)
        return [seen for seen in members_seen if seen.id not in plans or plans[seen.id].interval <= 0]

    async def _remove(self, term: str, gone: dict[str, list[Member]], message: str) -> None:
        removed = 0
        for key, members_seen in gone.items():
            removed += await self._schedule.remove(term, key, members_seen)
        if removed:
            self._metrics.schedule_changes.labels("removed").inc(removed)
            log.info("sync.removed", message=message, count=removed)


def _split(
    unknown: dict[str, list[Member]], is_id: Callable[[str], bool]
) -> tuple[dict[str, list[Member]], dict[str, list[Member]]]:
    """Split into members that are not ids of this database, and those that are; too long ones are left out."""
    fit = {key: [seen for seen in some if len(seen.id) <= MAX_ID_LENGTH] for key, some in unknown.items()}
    foreign = {key: [seen for seen in some if not is_id(seen.id)] for key, some in fit.items()}
    ours = {key: [seen for seen in some if is_id(seen.id)] for key, some in fit.items()}
    return foreign, ours
