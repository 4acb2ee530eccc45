"""The second walk of a sync: removes the members of the schedule that are not to run.

The database is read again for those that the first walk did not see; what has no row then, or does not run, is removed.
"""

import asyncio
from collections.abc import Callable

import structlog

from peekaping_producer.errors import DATABASE, REDIS
from peekaping_producer.metrics import Metrics
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.placing import Placing
from peekaping_producer.producer.timing import Timing
from peekaping_producer.schedule import CALL_LIMIT, MAX_ID_LENGTH, Member, Schedule
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import Session

log = structlog.stdlib.get_logger()

BELIEVE_EMPTY_BELOW = 20
"""An empty result removes nothing from a schedule with this many members or more."""
SUSPICIOUS_SHARE = 0.8
"""A result with a smaller share of the schedule's members is read twice."""

Members = list[tuple[str, Member]]
"""Members of the schedule, each with its set: due or lease."""


class Removal:
    """Part of Sync. Every method raises StoreError, RedisError or StaleTermError."""

    def __init__(
        self,
        loop: Loop,
        schedule: Schedule,
        is_id: Callable[[str], bool],
        *,
        placing: Placing,
        anomalies: Anomalies,
        metrics: Metrics,
        timing: Timing,
    ) -> None:
        """`loop`: of the sync."""
        self._loop = loop
        self._schedule = schedule
        self._is_id = is_id
        self._placing = placing
        self._anomalies = anomalies
        self._metrics = metrics
        self._timing = timing

    async def run(self, term: str, session: Session, known: set[int]) -> bool:
        """Remove what is not to run; returns False if the database seems empty, and nothing was removed.

        `known`: the hashes of the ids that the first walk saw.
        """
        count, unknown = await self._walk(lambda monitor_id: hash(monitor_id) not in known)
        await self._remove_oversized(term, [(key, seen) for key, seen in unknown if len(seen.id) > MAX_ID_LENGTH])
        unknown = [(key, seen) for key, seen in unknown if len(seen.id) <= MAX_ID_LENGTH]
        await self._remove_foreign(term, [(key, seen) for key, seen in unknown if not self._is_id(seen.id)])
        if not known and count >= BELIEVE_EMPTY_BELOW:
            self._metrics.sync_refused.inc()
            log.error(
                "sync.empty_result",
                message="The database returned no active monitor, but monitors are scheduled: nothing is removed.",
                members=count,
            )
            return False
        unknown = [(key, seen) for key, seen in unknown if self._is_id(seen.id)]
        if len(known) < SUSPICIOUS_SHARE * count:
            unknown = await self._confirm_absent(session, unknown)
        for chunk in chunks(unknown, CALL_LIMIT):
            async with self._placing.exclusive(self._loop):  # one resumed meanwhile is placed before or after
                absent = await self._absent(session, chunk)
                await self._remove(term, absent, "Removed monitors that are gone or paused.")
        return True

    async def _walk(self, is_wanted: Callable[[str], bool]) -> tuple[int, Members]:
        """Return the number of members in the schedule, and the wanted ones."""
        count = 0
        wanted: Members = []
        for key in (self._schedule.keys.due, self._schedule.keys.lease):
            async for page in self._schedule.members(key):
                self._loop.worked(REDIS)
                count += len(page)
                wanted += [(key, seen) for seen in page if is_wanted(seen.id)]
        return count, wanted

    async def _remove_oversized(self, term: str, oversized: Members) -> None:
        """Remove members that are too long to be ids: Redis may refuse to be sent one of them."""
        for _, seen in oversized:
            self._anomalies.report(
                seen.id[:40], "schedule.foreign_member", "Longer than any monitor id; removed from the schedule."
            )
        for key, members in _by_key(oversized).items():
            removed = await self._schedule.expel(term, key, (seen.score for seen in members))
            self._metrics.schedule_changes.labels("removed").inc(removed)

    async def _remove_foreign(self, term: str, foreign: Members) -> None:
        for _, seen in foreign:
            self._anomalies.report(
                seen.id, "schedule.foreign_member", "Not a valid monitor id; removed from the schedule."
            )
        await self._remove(term, foreign, "Removed members that are not monitor ids.")

    async def _confirm_absent(self, session: Session, unknown: Members) -> Members:
        """Return the members that are absent now; they are removed if they are absent again later.

        The members are walked again after the wait: those without a row move between due and lease meanwhile.
        """
        absent = {seen.id for chunk in chunks(unknown, CALL_LIMIT) for _, seen in await self._absent(session, chunk)}
        if not absent:
            return []
        log.warning(
            "sync.smaller_result",
            message="The database returned far fewer monitors than are scheduled: reading again before removing.",
            absent=len(absent),
        )
        await self._pause()
        return (await self._walk(absent.__contains__))[1]

    async def _pause(self) -> None:
        with self._loop.waiting():
            await asyncio.sleep(self._timing.read_again_after_s)

    async def _absent(self, session: Session, members: Members) -> Members:
        """Return those, of up to 1,000, that have no row now, or one that does not run."""
        plans = await session.plans([seen.id for _, seen in members])
        self._loop.worked(DATABASE)
        return [(key, seen) for key, seen in members if seen.id not in plans or plans[seen.id].interval <= 0]

    async def _remove(self, term: str, members: Members, message: str) -> None:
        """Remove members whose score is unchanged."""
        removed = 0
        for key, of_key in _by_key(members).items():
            removed += await self._schedule.remove(term, key, of_key)
        if removed:
            self._metrics.schedule_changes.labels("removed").inc(removed)
            log.info("sync.removed", message=message, count=removed)


def _by_key(members: Members) -> dict[str, list[Member]]:
    by_key: dict[str, list[Member]] = {}
    for key, seen in members:
        by_key.setdefault(key, []).append(seen)
    return by_key
