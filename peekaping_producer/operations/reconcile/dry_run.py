"""`reconcile --dry-run`: reads what a sync of the leader would change now. Needs no leader and no replica."""

import time
from collections.abc import Callable

import msgspec

from peekaping_producer.brokers.protocol import SweepResult
from peekaping_producer.brokers.stray_entries import StrayEntries
from peekaping_producer.errors import StoreError
from peekaping_producer.operations.answering import LIMITS, answering
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.opened import opened_redis
from peekaping_producer.operations.reconcile.differences import Difference, Differences, find_differences
from peekaping_producer.operations.reconcile.find import Finder
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import CALL_LIMIT, Schedule
from peekaping_producer.service.chunks import chunks
from peekaping_producer.stores import Session, store_for
from peekaping_producer.targets import DatabaseTarget, RedisTarget


class DryRun(msgspec.Struct, frozen=True):
    """What was found."""

    found: Differences
    names: dict[str, str]
    """Of the listed monitors, by id; those without a row have none."""
    strays: SweepResult | None
    """Entries of the pending list that a sync would remove; None if the tasks are not in asynq's queue."""
    look: Look
    took_s: float

    @property
    def differs(self) -> bool:
        """Whether a sync would change anything, or refuse to."""
        return bool(self.found.reasons or self.found.refused or (self.strays and any(self.strays)))

    def name(self, difference: Difference) -> str:
        """Return the name of the monitor, or an empty text."""
        return self.names.get(difference.id, "")


async def dry_run(
    redis_target: RedisTarget,
    database_target: DatabaseTarget,
    *,
    lease_ttl_s: float,
    with_queue: bool = True,
    list_all: bool = False,
    clock: str = CLOCK,
) -> DryRun:
    """Compare all rows with all members. `with_queue`: the tasks are in asynq's queue.

    Raises UnreachableError if Redis or the database does not answer, another ProducerError if one cannot be used.
    """
    began_at = time.monotonic()
    store = store_for(database_target, connections=1, limits=LIMITS)
    try:
        async with opened_redis(redis_target, connections=1) as redis:
            schedule = Schedule(redis, lease_ttl_s=lease_ttl_s, clock=clock)
            async with answering(database_target) as answered:
                await store.open()
                async with store.session() as session:
                    finder = Finder(schedule=schedule, is_id=store.is_id, succeeded=lambda _dependency: answered())
                    found = await find_differences(finder, session, list_all=list_all)
                    names = await _names(session, [difference.id for difference in found.listed], answered)
            strays = await StrayEntries(redis, clock=clock).count() if with_queue else None
            look = Look(await schedule.stats())
        return DryRun(found, names, strays, look, time.monotonic() - began_at)
    finally:
        await store.close()


async def _names(session: Session, ids: list[str], answered: Callable[[], None]) -> dict[str, str]:
    """Return the names of the monitors that have a row; those read so far if the database fails now."""
    names: dict[str, str] = {}
    try:
        for chunk in chunks(ids, CALL_LIMIT):
            loaded = await session.load(chunk)
            answered()
            names |= {id_: details.monitor.name for id_, details in loaded.monitors.items()}
    except StoreError:
        return names
    return names
