"""What only the MongoDB store does: operations per load, optional collections, broken connections, migrations."""

import logging
import time
import traceback
from datetime import UTC, datetime

import pytest

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.migrate import mongo as migrations
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo import MongoSession
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import limited, opened, refusal
from tests.kit.mongo import MongoDatabase, document

MongoStore = Store[MongoSession]

SECRET = "pl4nted"


@pytest.fixture
def empty_database(mongo_database: DatabaseTarget) -> DatabaseTarget:
    return mongo_database


SHORT_WAIT = Limits(acquire_s=1.0)
"""The driver looks for a usable server until this is over."""


async def test_the_latest_of_many_heartbeats_is_read_to_the_millisecond(
    database: MongoDatabase, store: MongoStore
) -> None:
    rows = [document(type="push") for _ in range(3)]
    await database.insert_documents("monitor", *rows)
    beats = [
        {"monitor_id": row["_id"], "status": nth, "time": datetime(2026, 11, 22, 12, 0, n // 1000, n % 1000 * 1000)}
        for nth, row in enumerate(rows[:2])
        for n in range(2000)
    ]
    await database.insert_documents("heartbeat", *beats[::-1])
    async with store.session() as session:
        monitors = (await session.load([str(row["_id"]) for row in rows])).monitors
    found = [monitors[str(row["_id"])].latest_heartbeat for row in rows]
    assert [(beat.status, beat.time) for beat in found[:2] if beat] == [
        (nth, datetime(2026, 11, 22, 12, 0, 1, 999000, UTC)) for nth in range(2)
    ]
    assert found[2] is None


async def test_only_the_collection_monitor_is_required(database: MongoDatabase, store: MongoStore) -> None:
    """The API server creates a collection when it first writes to it."""
    row = database.monitor(type="push")
    await database.insert("monitors", row)
    for table in ("proxies", "maintenances", "monitor_maintenances", "heartbeats"):
        await database.rename(table, f"{table}_away")
    async with opened(database.target) as other, other.session() as session:
        assert set((await session.load([row["id"]])).monitors) == {row["id"]}
    await database.rename("monitors", "away")
    error = await refusal(database.target)
    assert "monitor" in str(error)
    assert "peekaping-producer migrate" in str(error)
    assert not isinstance(error, StoreUnavailableError)


async def test_the_drivers_debug_lines_are_not_logged(
    database: MongoDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    row = database.monitor(config=SECRET)
    async with opened(database.target) as store, store.session() as session:
        await session.load([row["id"]])
    assert not [record for record in caplog.records if record.name.startswith(("pymongo", "motor"))]


async def test_the_lock_of_a_dead_migration_expires(empty_database: DatabaseTarget) -> None:
    async with migrations.locked(empty_database, lock_lease_s=1.0) as dead:
        locked_at = time.monotonic()
        await dead.run(
            '{"update": "peekaping_producer_lock", "updates": [{"q": {}, "u": {"$set": {"owner": "dead"}}}]}'
        )
    async with migrations.locked(empty_database):  # waits until the other one's time is over
        assert time.monotonic() - locked_at > 0.5


async def test_a_migration_waits_for_the_lock_for_a_limited_time(empty_database: DatabaseTarget) -> None:
    async with migrations.locked(empty_database):
        with pytest.raises(StoreUnavailableError, match="another migration"):
            async with migrations.locked(empty_database, lock_timeout_s=0.1):
                pass


async def test_the_error_of_a_rejected_command_does_not_quote_it(empty_database: DatabaseTarget) -> None:
    async with migrations.locked(empty_database) as connection:
        twice = f'{{"insert": "monitor", "documents": [{{"_id": 1, "config": "{SECRET}"}}]}}\n' * 2
        with pytest.raises(StoreError) as caught:
            await connection.run(twice)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@limited(stream_bytes=250_000, batch_bytes=100_000, large_rows_bytes=350_000)
async def test_a_batch_of_large_documents_is_read_in_several_loads(database: MongoDatabase, store: MongoStore) -> None:
    large, small = [document(config="x" * 100_000) for _ in range(5)], [document() for _ in range(3)]
    await database.insert_documents("monitor", *large, *small)
    async with store.session() as session:
        loaded = await session.load([str(row["_id"]) for row in large + small])
    assert loaded.monitors.keys() >= {str(row["_id"]) for row in small}
    assert len(loaded.monitors) == 3 + 3
    assert loaded.waiting.keys() == {str(row["_id"]) for row in large} - loaded.monitors.keys()
