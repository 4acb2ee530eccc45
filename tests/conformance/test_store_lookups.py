"""What `explain` reads from every store: monitors by a part of their id or name, and recent heartbeats."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from peekaping_producer.monitors.monitor import Plan, RecentHeartbeat
from peekaping_producer.stores import FoundMonitor, MonitorStore
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import STORES, without_tables
from tests.kit.databases import Database, SqlDatabase


@pytest.fixture(params=STORES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    return without_tables(request, tmp_path)


async def find(store: MonitorStore, text: str, limit: int = 20) -> list[FoundMonitor]:
    async with store.session() as session:
        return await session.find(text, limit)


async def names(store: MonitorStore, text: str, limit: int = 20) -> list[str]:
    return [found.name for found in await find(store, text, limit)]


async def test_a_prefix_of_four_characters_finds_the_ids_that_begin_with_it(
    database: Database, store: MonitorStore
) -> None:
    first = database.new_id()
    other = first[:6] + ("0" if first[6] != "0" else "1") + first[7:]
    far = ("0" if first[1] != "0" else "1").join((first[:1], first[2:]))
    rows = [database.monitor(id=id_, name=f"name {n}", active=n != 1) for n, id_ in enumerate((first, other, far))]
    await database.insert("monitors", *rows)
    assert await find(store, first) == [FoundMonitor(Plan(first, 60), "name 0")]
    assert sorted(await names(store, first[:4])) == ["name 0", "name 1"]
    assert await find(store, other[:7]) == [FoundMonitor(Plan(other, 0), "name 1")]
    assert len(await find(store, first[:4], 1)) == 1
    assert await find(store, first[:3] + "~") == []


@pytest.mark.parametrize("empty_database", ["postgres", "mysql", "sqlite"], indirect=True)
async def test_a_prefix_may_look_like_a_number(database: Database, store: MonitorStore) -> None:
    ids = ["12345678-0000-4000-8000-000000000001", "12e45678-0000-4000-8000-000000000002"]
    await database.insert("monitors", *(database.monitor(id=id_, name=id_[:4]) for id_ in ids))
    assert [found.plan.id for found in await find(store, "1234")] == ids[:1]
    assert [found.plan.id for found in await find(store, "12345678")] == ids[:1]
    assert [found.plan.id for found in await find(store, "12e4")] == ids[1:]


@pytest.mark.parametrize("empty_database", ["postgres", "mongo"], indirect=True)
async def test_a_prefix_may_be_in_upper_case(database: Database, store: MonitorStore) -> None:
    row = database.monitor(name="found")
    await database.insert("monitors", row)
    assert await names(store, row["id"][:8].upper()) == ["found"]


async def test_a_name_is_found_by_any_part_of_it_the_exact_one_first(database: Database, store: MonitorStore) -> None:
    await database.insert("monitors", *(database.monitor(name=name) for name in ("an API", "api", "API", "other")))
    found = await names(store, "api")
    assert found[0] == "api"
    assert sorted(found) == ["API", "an API", "api"]
    assert len(await names(store, "api", 2)) == 2
    assert await names(store, "nothing has this name") == []


async def test_a_name_is_found_by_words_in_any_order(database: Database, store: MonitorStore) -> None:
    rows = ("checkout · login flow", "login flow", "flow of checkout", "a b c d e f", "f e d c b a")
    await database.insert("monitors", *(database.monitor(name=name) for name in rows))
    assert await names(store, "flow checkout login") == ["checkout · login flow"]
    assert sorted(await names(store, " CHECKOUT  flow ")) == ["checkout · login flow", "flow of checkout"]
    assert await names(store, "login nothing") == []
    assert await names(store, "b a c d e f") == ["a b c d e f"], "from the fifth word on, the rest is one part"
    assert (await names(store, "login flow"))[0] == "login flow"


@pytest.mark.parametrize("name", ["100%", "a_b", "a\\b", "it's", 'say "x"', "(.*)", "日本 é 🚦", "<img src=x>", "a\nb"])
async def test_a_name_is_text_and_no_pattern(database: Database, store: MonitorStore, name: str) -> None:
    await database.insert("monitors", database.monitor(name=name), database.monitor(name="1000 aXb"))
    assert await names(store, name) == [name]
    assert await names(store, name[1:]) == [name]


@pytest.mark.parametrize("text", ["", "\0", "a\0b", "\udcff", "x" * 301])
async def test_what_no_database_accepts_is_not_found(database: Database, store: MonitorStore, text: str) -> None:
    await database.insert("monitors", database.monitor())
    assert await find(store, text) == []


async def test_recent_heartbeats_are_those_of_the_monitor_latest_first(database: Database, store: MonitorStore) -> None:
    row, other = database.monitor(), database.monitor()
    await database.insert("monitors", row, other)
    times = [f"2026-11-22 12:3{n}:00.500" for n in (2, 0, 3, 1)]
    beats = [database.heartbeat(row, time=time, status=n, ping=None if n == 2 else n) for n, time in enumerate(times)]
    await database.insert("heartbeats", *beats, database.heartbeat(other))
    async with store.session() as session:
        recent = await session.recent_heartbeats(row["id"], 3)
        assert await session.recent_heartbeats("no id", 3) == []
        assert await session.recent_heartbeats(database.new_id(), 3) == []
        latest = await session.latest_heartbeats([row["id"], database.new_id(), "no id"])
        assert await session.latest_heartbeats([]) == {}

    def at(minute: int) -> datetime:
        return datetime(2026, 11, 22, 12, minute, 0, 500_000, UTC)

    assert latest == {row["id"]: recent[0]}
    assert recent == [RecentHeartbeat(at(33), 2, 0), RecentHeartbeat(at(32), 0, 0), RecentHeartbeat(at(31), 3, 3)]


@pytest.mark.parametrize("empty_database", ["sqlite", "mongo"], indirect=True)
async def test_unusable_heartbeats_are_left_out(database: Database, store: MonitorStore) -> None:
    """The other databases have typed columns."""
    row = database.monitor()
    await database.insert("monitors", row)
    await database.insert("heartbeats", database.heartbeat(row, status="up"), database.heartbeat(row))
    async with store.session() as session:
        assert [beat.status for beat in await session.recent_heartbeats(row["id"], 3)] == [1]


@pytest.mark.parametrize("empty_database", ["mysql"], indirect=True)
async def test_a_whole_id_is_found_in_a_column_of_the_type_uuid(database: Database, store: MonitorStore) -> None:
    """MariaDB compares such a column with nothing but UUIDs."""
    assert isinstance(database, SqlDatabase)
    row = database.monitor(name="found")
    for table in ("heartbeats", "monitor_maintenances"):
        await database.execute(f"DROP TABLE {table}")
    await database.execute("ALTER TABLE monitors MODIFY id UUID NOT NULL")
    await database.insert("monitors", row, database.monitor())
    assert await names(store, row["id"]) == ["found"]
    assert await names(store, "found") == ["found"]
