"""migrate() on real databases: fresh, repeated, at once, and on the API server's own."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.migrate import LEDGER, MigrationReport, migrate, migrations
from peekaping_producer.stores import open_store
from peekaping_producer.targets import DatabaseTarget
from tests.servers import databases, postgres
from tests.servers.databases import Database, monitor
from tests.servers.pgbouncer import pgbouncer

POSTGRES_SCHEMA = """
SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), c.relfilenode, c.xmin::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 3
"""


async def connect(target: DatabaseTarget) -> Database:
    if target.dialect == "postgres":
        return await databases.postgres_database(target)
    return databases.SqliteDatabase(target)


async def schema(target: DatabaseTarget) -> list[Any]:
    if target.dialect == "postgres":
        return await postgres.execute(target, POSTGRES_SCHEMA)
    return await (await connect(target)).execute("SELECT * FROM sqlite_master ORDER BY name")


async def make_upstream_tables(target: DatabaseTarget) -> None:
    """As the API server leaves them: the same tables and more, without our ledger."""
    await migrate(target)
    database = await connect(target)
    await database.execute(f"DROP TABLE {LEDGER}")
    await database.execute("CREATE TABLE bun_migrations (id integer PRIMARY KEY, name varchar(100))")
    await database.insert("monitors", monitor())


async def test_a_fresh_database_gets_its_tables_and_a_second_run_does_nothing(empty_database: DatabaseTarget) -> None:
    first = await migrate(empty_database)
    assert first.applied == ("0001_tables_read",)
    assert not first.upstream
    store = open_store(empty_database, connections=1)
    await store.open()
    await store.close()
    before = await schema(empty_database)
    second = await migrate(empty_database)
    assert second == MigrationReport()
    assert str(second) == "up to date: nothing to do"
    assert await schema(empty_database) == before


async def test_several_at_once_apply_each_migration_once(empty_database: DatabaseTarget) -> None:
    reports = await asyncio.gather(*(migrate(empty_database) for _ in range(6)))
    assert sorted(report.applied for report in reports) == [()] * 5 + [("0001_tables_read",)]
    rows = await (await connect(empty_database)).execute(f"SELECT name FROM {LEDGER}")
    assert [tuple(row) for row in rows] == [("0001_tables_read",)]


async def test_nothing_is_written_to_the_api_servers_database(empty_database: DatabaseTarget) -> None:
    await make_upstream_tables(empty_database)
    before = await schema(empty_database)
    report = await migrate(empty_database)
    assert report == MigrationReport(upstream=True)
    assert str(report) == "upstream schema found: nothing to do"
    assert await schema(empty_database) == before
    store = open_store(empty_database, connections=1)
    await store.open()
    await store.close()


async def test_the_api_servers_file_and_its_log_stay_as_they_are(tmp_path: Path) -> None:
    target = databases.sqlite_target(tmp_path)
    await make_upstream_tables(target)
    writer = databases.SqliteDatabase(target)
    await writer.insert("monitors", monitor())
    # A copy is what a crash leaves: opened for writing, it would have its log moved into the file and removed.
    copy = databases.sqlite_target(_copied(tmp_path))
    before = _content(copy)
    assert len(before) == 2
    assert (await migrate(copy)).upstream
    assert _content(copy) == before
    writer.close()


async def test_a_ledger_from_a_newer_version_is_refused(empty_database: DatabaseTarget) -> None:
    await migrate(empty_database)
    database = await connect(empty_database)
    await database.insert(LEDGER, {"name": "9999_from_the_future", "applied_at": "2026-11-22 00:00:00"})
    with pytest.raises(StoreError, match="9999_from_the_future, which this version does not know"):
        await migrate(empty_database)


async def test_a_half_made_schema_is_left_as_it_was(empty_database: DatabaseTarget) -> None:
    await (await connect(empty_database)).execute("CREATE TABLE heartbeats (id integer)")
    before = await schema(empty_database)
    with pytest.raises(StoreError, match=r"heartbeats.* already exists") as caught:
        await migrate(empty_database)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert await schema(empty_database) == before


async def test_a_new_file_is_announced(tmp_path: Path) -> None:
    target = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "new.db"))
    assert str(await migrate(target)) == f"created {tmp_path / 'new.db'}; applied 0001_tables_read"


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the folder .*nowhere does not exist"):
        await migrate(DatabaseTarget(dialect="sqlite", name=str(tmp_path / "nowhere" / "new.db")))


async def test_migrate_works_behind_a_transaction_pooler(postgres_database: DatabaseTarget) -> None:
    with pgbouncer(postgres_database) as pooler:
        reports = await asyncio.gather(*(migrate(pooler) for _ in range(4)))
    assert sorted(report.applied for report in reports) == [()] * 3 + [("0001_tables_read",)]


async def test_a_dialect_without_migrations_is_refused() -> None:
    with pytest.raises(ConfigError, match="got mongo"):
        await migrate(DatabaseTarget(dialect="mongo", name="x"))


@pytest.mark.parametrize("dialect", ["postgres", "sqlite"])
def test_migrations_are_numbered_without_gaps(dialect: str) -> None:
    names = [migration.name for migration in migrations(dialect)]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def _copied(folder: Path) -> Path:
    copy = folder / "copy"
    shutil.copytree(folder, copy)
    return copy


def _content(target: DatabaseTarget) -> dict[str, bytes]:
    """The database's file and its log; the shared memory between them is made anew by each reader."""
    files = Path(target.name).parent.iterdir()
    return {file.name: file.read_bytes() for file in files if not file.name.endswith("-shm")}
