"""The second walk of a sync: removes the members of the schedule that are not to run.

The database is read again for those that the first walk did not see; what has no row then, or does not run, is removed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(kw_only=True, eq=False)
class Removal:
    """Part of Sync. Every method raises StoreError, RedisError or StaleTermError."""

    loop: Loop
    """Of the sync."""
    schedule: Schedule
    is_id: Callable[[str], bool]
    placing: Placing
    anomalies: Anomalies
    metrics: Metrics
    timing: Timing

    async def run(self, term: str, session: Session, known: set[int]) -> bool:
        """Remove what is not to run; returns False if the database seems empty, and nothing was removed.

        `known`: the hashes of the ids that the first walk saw.
        """
        count, unknown = await self._walk(lambda monitor_id: hash(monitor_id) not in known)
        foreign = [(key, seen) for key, seen in unknown if not self._may_be_monitor(seen)]
        await self._remove_foreign(term, foreign)
        if not known and count >= BELIEVE_EMPTY_BELOW:
            self.metrics.sync_refused.inc()
            log.error(
                "sync.empty_result",
                message="The database returned no active monitor, but monitors are scheduled: nothing is removed.",
                members=count,
            )
            return False
        unknown = [(key, seen) for key, seen in unknown if self._may_be_monitor(seen)]
        if len(known) < SUSPICIOUS_SHARE * count:
            unknown = await self._confirm_absent(session, unknown)
        for chunk in chunks(unknown, CALL_LIMIT):
            async with self.placing.exclusive(self.loop):  # one resumed meanwhile is placed before or after
                absent = await self._absent(session, chunk)
                await self._remove(term, absent, "Removed monitors that are deleted or paused.")
        return True

    def _may_be_monitor(self, seen: Member) -> bool:
        return not _is_oversized(seen) and self.is_id(seen.id)

    async def _walk(self, is_wanted: Callable[[str], bool]) -> tuple[int, Members]:
        """Return the number of members in the schedule, and the wanted ones."""
        count = 0
        wanted: Members = []
        for key in (self.schedule.keys.due, self.schedule.keys.lease):
            async for page in self.schedule.members(key):
                self.loop.call_succeeded(REDIS)
                count += len(page)
                wanted += [(key, seen) for seen in page if is_wanted(seen.id)]
        return count, wanted

    async def _remove_foreign(self, term: str, foreign: Members) -> None:
        """Remove members that are not ids; oversized ones by their score, since Redis may refuse to be sent them."""
        for _, seen in foreign:
            self.anomalies.foreign_member(seen.id)
        for key, members in _by_key(foreign).items():
            expelled = await self.schedule.expel(term, key, (seen.score for seen in members if _is_oversized(seen)))
            self.placing.removed_by_sync(expelled)
        foreign = [(key, seen) for key, seen in foreign if not _is_oversized(seen)]
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
        with self.loop.waiting():
            await asyncio.sleep(self.timing.read_again_after_s)

    async def _absent(self, session: Session, members: Members) -> Members:
        """Return those, of up to 1,000, that have no row now, or one that does not run."""
        plans = await session.plans([seen.id for _, seen in members])
        self.loop.call_succeeded(DATABASE)
        return [(key, seen) for key, seen in members if seen.id not in plans or plans[seen.id].interval <= 0]

    async def _remove(self, term: str, members: Members, message: str) -> None:
        """Remove members whose score is unchanged."""
        removed = 0
        for key, of_key in _by_key(members).items():
            removed += await self.schedule.remove(term, key, of_key)
        if removed:
            self.placing.removed_by_sync(removed)
            log.info("sync.removed", message=message, count=removed)


def _is_oversized(seen: Member) -> bool:
    return len(seen.id) > MAX_ID_LENGTH


def _by_key(members: Members) -> dict[str, list[Member]]:
    by_key: dict[str, list[Member]] = {}
    for key, seen in members:
        by_key.setdefault(key, []).append(seen)
    return by_key
