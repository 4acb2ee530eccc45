"""The second walk of a sync: removes the members of the schedule that are not to run.

The database is read again for those that the first walk did not see; what has no row then, or does not run, is removed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.reconcile.find import Finder, MemberSeen, Reason, Removable, RowsRead
from peekaping_producer.operations.reconcile.guards import Guard, guard_of
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.placing import Placing
from peekaping_producer.producer.timing import Timing
from peekaping_producer.schedule import CALL_LIMIT, Member
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import Session

log = structlog.stdlib.get_logger()


@dataclass(kw_only=True, eq=False)
class Removal:
    """Part of Sync. Every method raises StoreError, RedisError or StaleTermError."""

    loop: Loop
    """Of the sync."""
    finder: Finder
    placing: Placing
    anomalies: Anomalies
    metrics: Metrics
    timing: Timing

    async def run(self, term: str, session: Session, rows: RowsRead) -> bool:
        """Remove what is not to run; returns False if the database seems empty, and nothing was removed.

        `rows`: what the first walk read.
        """
        count, unknown = await self.finder.members(lambda monitor_id: not rows.contains(monitor_id))
        foreign = [seen for seen in unknown if self.finder.is_foreign(seen)]
        await self._remove_foreign(term, foreign)
        count -= len(foreign)
        guard = guard_of(len(rows.known), count)
        if guard is Guard.REFUSE:
            self.metrics.sync_refused.inc()
            log.error(
                "sync.empty_result",
                message="The database returned no active monitor, but monitors are scheduled: nothing is removed.",
                members=count,
            )
            return False
        unknown = [seen for seen in unknown if not self.finder.is_foreign(seen)]
        if guard is Guard.READ_TWICE:
            unknown = await self._confirm_absent(session, unknown)
        for chunk in chunks(unknown, CALL_LIMIT):
            async with self.placing.exclusive(self.loop):  # one resumed meanwhile is placed before or after
                absent = await self.finder.not_to_run(session, chunk)
                await self._remove(term, absent, "Removed monitors that are deleted or paused.")
        return True

    async def _remove_foreign(self, term: str, foreign: list[MemberSeen]) -> None:
        """Remove members that are not ids; oversized ones by their score, since Redis may refuse to be sent them."""
        for seen in foreign:
            self.anomalies.foreign_member(seen.id)
        schedule = self.finder.schedule
        for key, members in _by_key(seen for seen in foreign if seen.is_oversized).items():
            expelled = await schedule.expel(term, key, (seen.score for seen in members))
            self.placing.removed_by_sync(expelled, {Reason.FOREIGN: expelled})
        others = [Removable(seen, Reason.FOREIGN) for seen in foreign if not seen.is_oversized]
        await self._remove(term, others, "Removed members that are not monitor ids.")

    async def _confirm_absent(self, session: Session, unknown: list[MemberSeen]) -> list[MemberSeen]:
        """Return the members that are absent now; they are removed if they are absent again later.

        The members are walked again after the wait: those without a row move between due and lease meanwhile.
        """
        absent = {
            found.seen.id
            for chunk in chunks(unknown, CALL_LIMIT)
            for found in await self.finder.not_to_run(session, chunk)
        }
        if not absent:
            return []
        log.warning(
            "sync.smaller_result",
            message="The database returned far fewer monitors than are scheduled: reading again before removing.",
            absent=len(absent),
        )
        await self._pause()
        return (await self.finder.members(absent.__contains__))[1]

    async def _pause(self) -> None:
        with self.loop.waiting():
            await asyncio.sleep(self.timing.read_again_after_s)

    async def _remove(self, term: str, found: list[Removable], message: str) -> None:
        """Remove members whose score is unchanged."""
        removed = 0
        for key, of_key in _by_key(each.seen for each in found).items():
            removed += await self.finder.schedule.remove(term, key, of_key)
        if removed:
            self.placing.removed_by_sync(removed, Counter(each.reason for each in found))
            self.placing.name("removed", (each.seen.id for each in found[:removed]))
            log.info("sync.removed", message=message, count=removed)


def _by_key(members: Iterable[MemberSeen]) -> dict[str, list[Member]]:
    by_key: dict[str, list[Member]] = {}
    for seen in members:
        by_key.setdefault(seen.key, []).append(seen.member)
    return by_key
