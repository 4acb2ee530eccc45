"""The dry run on each database, and on 100,000 members."""

import time

import pytest
from redis.asyncio import Redis

from peekaping_producer.operations.reconcile.dry_run import dry_run
from peekaping_producer.operations.reconcile.find import Change, Reason
from peekaping_producer.operations.reconcile.guards import Guard
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.clock import START_MS, TEST_CLOCK, Clock
from tests.kit.databases import Database

MEMBERS = 100_000
WITHIN_S = 60.0
"""Many times what it takes: a limit for work that grows with the square of the members."""


async def test_a_dry_run_on_each_database(
    database: Database, redis: Redis, clock: Clock, redis_server: RedisTarget
) -> None:
    names = {"new": "new \x1b[31m", "paused": "paused", "moved": "moved", "fine": "fine", "zero": "zero"}
    rows = {key: database.monitor(name=name, active=key != "paused") for key, name in names.items()}
    rows["zero"]["interval"] = 0
    await database.insert("monitors", *rows.values())
    gone = database.new_id()
    fine = {rows[key]["id"]: START_MS for key in ("paused", "fine", "zero")}
    await redis.zadd(KEYS.due, fine | {rows["moved"]["id"]: START_MS + 50_001, gone: START_MS, "\x00" * 3: START_MS})
    found = await dry_run(redis_server, database.target, lease_ttl_s=10.0, list_all=True, clock=TEST_CLOCK)
    assert {difference.id: difference.reason for difference in found.found.listed} == {
        rows["new"]["id"]: Reason.NOT_SCHEDULED,
        rows["moved"]["id"]: Reason.MISALIGNED,
        rows["paused"]["id"]: Reason.PAUSED,
        rows["zero"]["id"]: Reason.UNSCHEDULABLE,
        gone: Reason.DELETED,
        "\x00" * 3: Reason.FOREIGN,
    }
    assert found.names == {rows[key]["id"]: names[key] for key in ("new", "moved", "paused", "zero")}
    assert (found.found.rows, found.found.members, found.found.agree) == (3, 6, 1)
    assert found.strays == (0, 0)
    assert await redis.zcard(KEYS.due) == 6


@pytest.mark.parametrize("empty_database", ["postgres"], indirect=True)
async def test_a_hundred_thousand_members_of_another_database(
    database: Database, redis: Redis, clock: Clock, redis_server: RedisTarget
) -> None:
    """All of them are read again, in the order of a hash: the slowest case."""
    await database.insert("monitors", database.monitor())
    for start in range(0, MEMBERS, 10_000):
        await redis.zadd(KEYS.due, {database.new_id(): START_MS + n for n in range(start, start + 10_000)})
    began_at = time.monotonic()
    found = await dry_run(redis_server, database.target, lease_ttl_s=10.0, clock=TEST_CLOCK)
    took_s = time.monotonic() - began_at
    assert found.found.reasons == {Reason.NOT_SCHEDULED: 1, Reason.DELETED: MEMBERS}
    assert len(found.found.listed) == 4
    assert found.found.count(Change.REMOVE) == MEMBERS
    assert (found.found.guard, found.differs) == (Guard.READ_TWICE, True)
    assert took_s < WITHIN_S, f"took {took_s:.1f} s"
