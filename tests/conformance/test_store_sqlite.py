"""What only the SQLite store does: a file that others write, and columns with any values."""

import asyncio
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores import MonitorStore, sqlite, store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.sqlite import SqliteSession
from peekaping_producer.stores.sqlite_file import SqliteFileError
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import limited, opened
from tests.kit import databases
from tests.kit.databases import SqlDatabase
from tests.kit.pages import all_plans
from tests.kit.settings_loading import load

SqliteStore = Store[SqliteSession]
SECRET = "pl4nted"


@pytest.fixture
def empty_database(tmp_path: Path) -> DatabaseTarget:
    return databases.sqlite_target(tmp_path)


@pytest.fixture
def text_file(empty_database: DatabaseTarget) -> DatabaseTarget:
    Path(empty_database.name).write_bytes(b"not a database, but long enough to be read as a header " * 100)
    return empty_database


async def test_a_missing_file_is_named_with_the_remedy(empty_database: DatabaseTarget) -> None:
    with pytest.raises(
        StoreError, match="no such file; run the API server's migrations, or `peekaping-producer migrate`"
    ) as caught:
        await store_for(empty_database, connections=1).open()
    assert empty_database.name in str(caught.value)
    assert not isinstance(caught.value, StoreUnavailableError)


async def test_a_file_that_is_not_a_database_is_refused(text_file: DatabaseTarget) -> None:
    with pytest.raises(StoreError, match="not a SQLite database"):
        await store_for(text_file, connections=1).open()


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SqliteFileError, match=f"DB_NAME: expected the path of a SQLite file, got {tmp_path}: it is a d"
    ):
        await store_for(DatabaseTarget(dialect="sqlite", name=str(tmp_path)), connections=1).open()


async def test_the_store_cannot_write(store: SqliteStore) -> None:
    async with store.session() as session:
        assert session.slot.connection is not None
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await session.slot.connection.fetch("DELETE FROM monitors")


async def test_reads_continue_while_the_api_server_writes(database: SqlDatabase, store: MonitorStore) -> None:
    before, after = database.monitor(), database.monitor()
    await database.insert("monitors", before)
    await database.execute("BEGIN IMMEDIATE")
    await database.insert("monitors", after)
    async with store.session() as session:
        assert set((await session.load([before["id"], after["id"]])).monitors) == {before["id"]}
        await database.execute("COMMIT")
        assert set((await session.load([before["id"], after["id"]])).monitors) == {before["id"], after["id"]}


@limited(acquire_s=1.0)
async def test_a_locked_file_is_an_unavailable_store(database: SqlDatabase, store: MonitorStore) -> None:
    await store.close()
    await database.execute("PRAGMA journal_mode = delete")
    await database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
        await store.open()
    await database.execute("COMMIT")
    await store.open()


async def test_a_read_that_takes_too_long_costs_its_connection(database: SqlDatabase) -> None:
    await database.execute("PRAGMA journal_mode = delete")
    async with opened(database.target, Limits(command_s=0.5)) as store:
        await database.execute("BEGIN EXCLUSIVE")
        async with store.session() as session:
            stuck = session.slot.connection
            with pytest.raises(StoreUnavailableError, match="no answer in time"):
                await session.page_of_plans(None, 1)
        await database.execute("COMMIT")
        async with store.session() as session:
            assert session.slot.connection is not stuck
            assert await session.page_of_plans(None, 1) == []


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("interval", SECRET, "interval: expected an integer, got text"),
        ("interval", 2**53, "interval: expected at most 9007199254740, got 9007199254740992"),
        ("interval", 1.5, "interval: expected an integer, got a fraction"),
        ("timeout", b"\xff", "timeout: expected an integer, got bytes"),
        ("active", "yes", "active: expected 0 or 1, got text"),
        ("active", 2, "active: expected 0 or 1, got 2"),
        ("name", b"pl4nted \xff", "name: expected text, got bytes"),
        ("type", None, "type: expected text, got NULL"),
        ("retry_interval", None, "retry_interval: expected an integer, got NULL"),
    ],
)
async def test_a_value_of_the_wrong_type_breaks_only_its_monitor(
    database: SqlDatabase, store: MonitorStore, column: str, value: object, reason: str
) -> None:
    await _without_constraints(database)
    bad, good = database.monitor(**{column: value}), database.monitor()
    await database.insert("monitors", bad, good)
    async with store.session() as session:
        loaded = await session.load([bad["id"], good["id"]])
        plans = await session.plans([bad["id"], good["id"]])
    assert set(loaded.monitors) == {good["id"]}
    assert loaded.broken[bad["id"]].startswith(reason)
    assert SECRET not in loaded.broken[bad["id"]]
    assert plans[good["id"]] == Plan(good["id"], 60)
    assert bad["id"] in plans


async def test_invalid_utf8_breaks_only_its_monitor(database: SqlDatabase, store: MonitorStore) -> None:
    good, bad = database.monitor(name="gut, é"), database.monitor()
    await database.insert("monitors", good, bad)
    await database.execute(f"UPDATE monitors SET name = CAST(X'706c346e746564ff' AS TEXT) WHERE id = '{bad['id']}'")
    async with store.session() as session:
        for _ in range(2):
            loaded = await session.load([good["id"], bad["id"]])
            assert loaded.broken == {bad["id"]: "name: expected text, got bytes"}
            assert loaded.monitors[good["id"]].monitor.name == "gut, é"


@pytest.mark.parametrize(
    "columns",
    [
        {"duration": "abc"},
        {"interval_day": 7.5},
        {"timezone": b"\xff\xfe"},
        {"strategy": b"\x00"},
        {"active": 2},
        {"cron": "*" * 70_000_000},
    ],
    ids=["duration", "interval_day", "timezone", "strategy", "active", "cron"],
)
async def test_a_window_that_cannot_be_read_is_left_out(
    database: SqlDatabase, store: MonitorStore, columns: dict[str, object]
) -> None:
    await _without_constraints(database)
    monitors, bad, good = [database.monitor() for _ in range(3)], database.window(**columns), database.window()
    await database.insert("monitors", *monitors)
    await database.insert("maintenances", bad, good)
    links = [database.link(monitor, window) for monitor in monitors for window in (bad, good)]
    await database.insert("monitor_maintenances", *links)
    async with store.session() as session:
        loaded = await session.load([monitor["id"] for monitor in monitors])
    assert loaded.monitors.keys() == {monitor["id"] for monitor in monitors}
    for details in loaded.monitors.values():
        assert [window.id for window in details.windows] == [good["id"]]
        assert [kind for kind, _ in details.problems] == ["monitor.bad_maintenance"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_walk_sees_every_active_row_whatever_its_id(
    database: SqlDatabase, store: MonitorStore, limit: int
) -> None:
    await _without_constraints(database)
    upper, early, late = database.new_id().upper(), "early", "zzz"
    runs = {upper, "monitor-1", "ünïcode ☃", "7", "it's", "a" * 64, "line\nfeed", late}
    odd = ["", "?x", "b" * 65, "b" * 65 + "c" * 100, "nul\0", None, 7.5, b"blob", b"\xff" * 100, b""]
    rows = [database.monitor(id=id_) for id_ in [*runs, *odd]]
    await database.insert("monitors", *rows, database.monitor(id=early, active=False))
    await database.insert("monitors", database.monitor(id="utf8"))
    await database.execute("UPDATE monitors SET id = CAST(X'66ff66' AS TEXT) WHERE id = 'utf8'")
    async with store.session() as session:
        seen = await all_plans(session, limit)
        loaded = await session.load([*runs, "07", "7.0", "?x"])
        plans = await session.plans([*runs, early])
    assert {plan.id for plan in seen if plan.interval} == runs == set(loaded.monitors)
    assert all(store.is_id(id_) for id_ in runs)
    problems = {plan.id for plan in seen if plan.problem}
    assert len(problems) == len(odd), "one more, but two long ones that begin alike share a name"
    assert not any(map(store.is_id, problems))
    assert plans == {id_: Plan(id_, 60) for id_ in runs} | {early: Plan(early, 0)}


async def test_a_damaged_page_of_the_file_breaks_only_its_rows(database: SqlDatabase) -> None:
    rows = [database.monitor(name=f"{n:03}" * 40) for n in range(200)]
    await database.insert("monitors", *rows)
    await database.execute("PRAGMA wal_checkpoint(truncate)")
    await database.execute("PRAGMA journal_mode = delete")
    [(size,)] = await database.execute("PRAGMA page_size")
    _damage(Path(database.target.name), size, b"100" * 40)
    async with opened(database.target) as store, store.session() as session:
        loaded = await session.load([row["id"] for row in rows])
        page = await session.page_of_plans(None, 1000)
        plans = await session.plans([row["id"] for row in rows])
    assert 0 < len(loaded.broken) < 50
    assert len(loaded.monitors) == 200 - len(loaded.broken)
    assert [plan.id for plan in page] == sorted(row["id"] for row in rows)
    assert {plan.id for plan in page if plan.problem} == loaded.broken.keys()
    assert {id_ for id_, plan in plans.items() if plan.problem} == loaded.broken.keys()


@pytest.mark.parametrize(
    ("config", "read"), [("1e3", "1000"), ("  {} ", "  {} "), ("broken {", "broken {"), ("", ""), (b"{}", "{}")]
)
async def test_config_is_the_text_as_written(
    database: SqlDatabase, store: MonitorStore, config: str | bytes, read: str
) -> None:
    row = database.monitor(config=config)
    await database.insert("monitors", row)
    async with store.session() as session:
        assert (await session.load([row["id"]])).monitors[row["id"]].monitor.config == read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22 12:37:53.220344+00:00", datetime(2026, 11, 22, 12, 37, 53, 220344, UTC)),
        ("2026-11-22 12:37:53.2203449+00:00", datetime(2026, 11, 22, 12, 37, 53, 220344, UTC)),
        ("2026-11-22 12:37:53.220344999 +0000 UTC", datetime(2026, 11, 22, 12, 37, 53, 220344, UTC)),
        ("2026-11-22 12:37:53.22 +0100 CET m=+0.5", datetime(2026, 11, 22, 11, 37, 53, 220000, UTC)),
        ("2026-11-22 12:37:53", datetime(2026, 11, 22, 12, 37, 53, 0, UTC)),
        ("2026-11-22T12:37:53Z", datetime(2026, 11, 22, 12, 37, 53, 0, UTC)),
        ("2026-11-22T12:37:53.5-03:30", datetime(2026, 11, 22, 16, 7, 53, 500000, UTC)),
        ("0001-01-01 00:00:00+00:00", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
async def test_times_are_read_in_every_form_that_go_writes(
    database: SqlDatabase, store: MonitorStore, text: str, expected: datetime
) -> None:
    row = database.monitor(type="push")
    await database.insert("monitors", row)
    await database.insert("heartbeats", database.heartbeat(row, time=text))
    async with store.session() as session:
        beat = (await session.load([row["id"]])).monitors[row["id"]].latest_heartbeat
    assert beat is not None
    assert beat.time == expected


@pytest.mark.parametrize(
    "text", ["", "2026-11-22", "2026-13-45 99:00:00", "0001-01-01 00:00:00+12:00", "now", 1795351066]
)
async def test_a_heartbeat_with_an_invalid_time_is_left_out(
    database: SqlDatabase, store: MonitorStore, text: object
) -> None:
    row = database.monitor(type="push")
    await database.insert("monitors", row)
    await database.insert("heartbeats", database.heartbeat(row, time=text))
    async with store.session() as session:
        details = (await session.load([row["id"]])).monitors[row["id"]]
    assert details.latest_heartbeat is None
    assert "time: expected a time like" in str(details.problems)


async def test_reads_use_the_indexes(database: SqlDatabase) -> None:
    statements = [*sqlite._STATEMENTS.values(), sqlite._expanded(sqlite._PAGE.format("m.id > ?2 AND"))]
    plans = [
        row[3]
        for statement in statements
        for row in await database.execute("EXPLAIN QUERY PLAN " + statement.replace("?1", "7").replace("?2", "'[]'"))
    ]
    assert not [step for step in plans if step.startswith("SCAN") and "wanted" not in step]


async def test_two_stores_read_what_a_third_process_wrote(database: SqlDatabase) -> None:
    stores = [store_for(database.target, connections=2) for _ in range(2)]
    await asyncio.gather(*(store.open() for store in stores))
    row = database.monitor()
    await database.insert("monitors", row)
    for store in stores:
        async with store.session() as session:
            assert await session.page_of_plans(None, 10) == [Plan(row["id"], 60)]
        await store.close()


def _damage(file: Path, page_size: int, at: bytes) -> None:
    content = bytearray(file.read_bytes())
    start = content.index(at) // page_size * page_size
    content[start : start + page_size] = b"\xff" * page_size
    file.write_bytes(content)


async def _without_constraints(database: SqlDatabase) -> None:
    """Recreate the table with the same columns and types, but without NOT NULL."""
    [(statement,)] = await database.execute("SELECT sql FROM sqlite_master WHERE name = 'monitors'")
    await database.execute("DROP TABLE monitors")
    await database.execute(statement.replace(" NOT NULL", ""))


async def test_a_percent_encoded_path_is_decoded_where_only_that_names_a_file(tmp_path: Path) -> None:
    decoded = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "a b.db"))
    await migrate(decoded)
    literal = load({"database"}, DB_TYPE="sqlite", DB_NAME=str(tmp_path / "a%20b.db?mode=rwc")).database_target()
    async with opened(literal):
        pass
    assert str(await migrate(literal)) == "up to date: nothing to do"
    assert os.listdir(tmp_path) == ["a b.db"]
