"""While `monitors` is locked or the database is mute, commands and the page report that within their own limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.operations import answering
from peekaping_producer.operations.acts import Actor, named
from peekaping_producer.operations.explain import reading, silent
from peekaping_producer.operations.reconcile import dry_run as dry_run_module
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import SIDE_TABLES
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from tests.kit import databases
from tests.kit.fake_redis import mute_server

ID = "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"
LOCKED = "no answer in time, although connected: look for a lock or a long transaction"
MUTE = "the database did not answer within 0.3 s"
WITHIN_S = 5.0
"""Of a limit of 0.3 s, on a busy machine; without limits of their own, commands wait for 8 s."""

Read = Callable[[RedisTarget, DatabaseTarget], Awaitable[str]]


@pytest_asyncio.fixture
async def locked(postgres_database: DatabaseTarget) -> AsyncIterator[DatabaseTarget]:
    """A database whose table of monitors is locked, as by a migration of the API server that hangs."""
    await migrate(postgres_database)
    async with databases.connected(postgres_database) as database:
        await database.insert("monitors", database.monitor(id=ID))
    async with databases.locked_table(postgres_database, "monitors"):
        yield postgres_database


async def explained(redis: RedisTarget, database: DatabaseTarget) -> str:
    found = await reading.explain(ID[:6], redis, database, lease_ttl_s=10.0, server_zone="UTC")
    assert found.facts
    assert (found.facts.monitor_id, found.exit_code) == (ID, 3)
    assert found.facts.state, "what Redis contains is known"
    return found.facts.database_error


async def listed(_redis: RedisTarget, database: DatabaseTarget) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        await silent.read_silent(database, datetime.now(UTC))
    return str(caught.value)


async def compared(redis: RedisTarget, database: DatabaseTarget) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        await dry_run_module.dry_run(redis, database, lease_ttl_s=10.0)
    return str(caught.value)


async def held(redis: RedisTarget, database: DatabaseTarget) -> str:
    def hold(acts: Any, ids: list[str]) -> Any:
        return acts.hold(ids, Actor("anna", "a test"), "why")

    with pytest.raises(StoreUnavailableError) as caught:
        await named.act_on_named([ID[:6]], hold, redis, database, lease_ttl_s=10.0, with_queue=True)
    assert str(caught.value).startswith("Nothing was done, since the database does not answer")
    return str(caught.value)


async def run_now(redis: RedisTarget, database: DatabaseTarget) -> str:
    def act(acts: Any, ids: list[str]) -> Any:
        return acts.run_now(ids, Actor("anna", "a test"))

    acted = await named.act_on_named([ID[:6], "a name"], act, redis, database, lease_ttl_s=10.0, with_queue=True)
    assert [(one.monitor_id, outcome and outcome.done) for one in acted.named for outcome in [acted.outcome(one)]] == [
        (ID, True),
        ("", None),
    ]
    assert acted.exit_code == 3
    return str(acted.database_error)


READS = pytest.mark.parametrize("read", [explained, listed, compared, held, run_now], ids=lambda read: read.__name__)


@pytest_asyncio.fixture
async def scheduled(redis: Redis, redis_server: RedisTarget) -> RedisTarget:
    await redis.zadd(KEYS.due, {ID: int(time.time() * 1000) + 60_000})
    return redis_server


@READS
async def test_a_lock_on_monitors(
    locked: DatabaseTarget, scheduled: RedisTarget, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (reading, silent, dry_run_module, named):
        monkeypatch.setattr(module, "LIMITS", Limits(open_table_s=0.3))
    async with asyncio.timeout(WITHIN_S):
        assert LOCKED in await read(scheduled, locked)


@READS
async def test_a_server_that_never_answers(
    postgres_server: DatabaseTarget, scheduled: RedisTarget, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is accepted, and no byte follows."""
    monkeypatch.setattr(answering, "ANSWER_WITHIN_S", 0.3)
    async with mute_server() as (port, _), asyncio.timeout(WITHIN_S):
        assert MUTE in await read(scheduled, msgspec.structs.replace(postgres_server, port=port))


@pytest.mark.parametrize(("read", "module", "walk"), [
    (listed, silent, "_walk"), (compared, dry_run_module, "find_differences"),
], ids=["silent", "dry_run"])  # fmt: skip
async def test_a_lock_that_comes_after_the_start(
    postgres_database: DatabaseTarget,
    scheduled: RedisTarget,
    monkeypatch: pytest.MonkeyPatch,
    read: Read,
    module: Any,
    walk: str,
) -> None:
    await migrate(postgres_database)
    inner = getattr(module, walk)

    async def locked_walk(*arguments: Any, **options: Any) -> Any:
        async with databases.locked_table(postgres_database, "monitors"):
            monkeypatch.setattr(answering, "ANSWER_WITHIN_S", 0.3)
            arguments[-1]() if module is silent else arguments[0].succeeded("database")  # the time begins again
            return await inner(*arguments, **options)

    monkeypatch.setattr(module, walk, locked_walk)
    monkeypatch.setattr(module, "LIMITS", Limits())
    async with asyncio.timeout(WITHIN_S):
        assert MUTE in await read(scheduled, postgres_database)


async def test_the_time_begins_again_with_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "ANSWER_WITHIN_S", 0.3)
    with pytest.raises(StoreUnavailableError, match=MUTE):
        async with answering.answering():
            await asyncio.Event().wait()
    async with answering.answering() as answered:
        monkeypatch.setattr(answering, "ANSWER_WITHIN_S", 60.0)
        answered()
        await asyncio.sleep(0.4)


def test_a_person_waits_for_five_seconds_at_most() -> None:
    limits = answering.LIMITS
    assert max(limits.acquire_s, limits.open_table_s, limits.command_s) < answering.ANSWER_WITHIN_S <= 5
    reads = len(SIDE_TABLES) + 1  # at the start, and the heartbeats that are shown
    assert reads * limits.side_table_s < answering.ANSWER_WITHIN_S, "also if every side table is locked"
