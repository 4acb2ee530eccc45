"""migrate() on real databases: new ones, repeated, concurrent, and on the API server's own."""

import asyncio
import shutil
from pathlib import Path

import pytest

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.migrate import NO_TABLES, SchemaState, dialect_of, inspect, migrate, scripts
from peekaping_producer.migrate.files import LEDGER, migrations
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import DIALECTS, SQL_DIALECTS, opened
from tests.kit import databases
from tests.kit.databases import connected
from tests.kit.pgbouncer import pgbouncer


async def snapshot(target: DatabaseTarget) -> object:
    async with connected(target) as database:
        return await database.schema()


async def make_upstream_tables(target: DatabaseTarget) -> None:
    """As the API server leaves them: the same tables and more, without our ledger."""
    await migrate(target)
    async with connected(target) as database:
        await database.rename(LEDGER, "bun_migrations")


async def test_a_fresh_database_gets_its_tables_and_a_second_run_does_nothing(empty_database: DatabaseTarget) -> None:
    first = await migrate(empty_database)
    assert first.before == SchemaState(tuple(migrations(empty_database.dialect)))
    async with opened(empty_database):
        pass
    before = await snapshot(empty_database)
    second = await migrate(empty_database)
    assert second.before == SchemaState(has_ledger=True)
    assert str(second) == "up to date: nothing to do"
    assert await snapshot(empty_database) == before


async def test_several_at_once_apply_each_migration_once(empty_database: DatabaseTarget) -> None:
    reports = await asyncio.gather(*(migrate(empty_database) for _ in range(6)))
    applied = [tuple(each.name for each in report.before.missing) for report in reports]
    assert sorted(applied) == [()] * 5 + [("0001_tables_read",)]
    async with dialect_of(empty_database).read_only(empty_database) as connection:
        assert await connection.applied() == {"0001_tables_read"}


async def test_nothing_is_written_to_the_api_servers_database(empty_database: DatabaseTarget) -> None:
    await make_upstream_tables(empty_database)
    before = await snapshot(empty_database)
    assert await inspect(empty_database) == SchemaState(upstream=True)
    report = await migrate(empty_database)
    assert str(report) == "Peekaping's own tables found: nothing to do"
    assert await snapshot(empty_database) == before
    async with opened(empty_database):
        pass


async def test_inspect_writes_nothing_and_returns_what_migrate_would_run(empty_database: DatabaseTarget) -> None:
    before = await snapshot(empty_database)
    state = await inspect(empty_database)
    assert str(state) == NO_TABLES
    assert str(SchemaState(state.missing, has_ledger=True)) == "pending migrations: 0001_tables_read"
    assert await snapshot(empty_database) == before
    async with dialect_of(empty_database).locked(empty_database) as connection:
        for script in scripts(empty_database, state):
            await connection.run(script)
    assert await inspect(empty_database) == SchemaState(has_ledger=True)
    assert scripts(empty_database, await inspect(empty_database)) == []
    async with opened(empty_database):
        pass


async def test_a_migration_waits_for_another_and_then_has_nothing_to_do(empty_database: DatabaseTarget) -> None:
    state = await inspect(empty_database)
    async with dialect_of(empty_database).locked(empty_database) as connection:
        second = asyncio.create_task(migrate(empty_database))
        for script in scripts(empty_database, state):
            await connection.run(script)
            assert not second.done()
    assert (await second).before == SchemaState(has_ledger=True)


async def test_a_database_of_a_newer_version_is_refused(empty_database: DatabaseTarget) -> None:
    await migrate(empty_database)
    dialect = dialect_of(empty_database)
    async with dialect.locked(empty_database) as connection:
        await connection.run(dialect.record("9999_from_the_future"))
    for call in (migrate, inspect):
        with pytest.raises(StoreError, match="9999_from_the_future, unknown to this version"):
            await call(empty_database)


async def test_an_incomplete_schema_is_left_unchanged(empty_database: DatabaseTarget) -> None:
    await migrate(empty_database)
    async with connected(empty_database) as database:
        for table in ("heartbeats", "monitor_maintenances", "monitors"):
            await database.rename(table, f"{table}_away")
        await database.rename(LEDGER, "ledger_away")
    before = await snapshot(empty_database)
    with pytest.raises(StoreError, match=r"found maintenances?, proxies, but neither monitors?") as caught:
        await migrate(empty_database)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert await snapshot(empty_database) == before


@pytest.mark.parametrize("empty_database", SQL_DIALECTS, indirect=True)
async def test_an_incomplete_schema_of_the_api_server_is_refused(empty_database: DatabaseTarget) -> None:
    await make_upstream_tables(empty_database)
    async with connected(empty_database) as database:
        await database.rename("heartbeats", "heartbeats_away")
    for call in (migrate, inspect):
        with pytest.raises(StoreError, match="missing tables: heartbeats; finish the API server's migrations"):
            await call(empty_database)


async def test_an_interrupted_migration_is_finished_by_the_next(empty_database: DatabaseTarget) -> None:
    """Where the database has transactions for it, it rolled back; elsewhere each statement can be repeated."""
    state = await inspect(empty_database)
    dialect = dialect_of(empty_database)

    async def break_off() -> None:
        async with dialect.locked(empty_database) as connection:
            for script in scripts(empty_database, state)[:-1]:
                await connection.run(script)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        await break_off()
    assert str(await migrate(empty_database)).endswith("applied 0001_tables_read")
    async with opened(empty_database):
        pass


async def test_the_api_servers_file_and_its_log_stay_unchanged(tmp_path: Path) -> None:
    target = databases.sqlite_target(tmp_path)
    await make_upstream_tables(target)
    async with connected(target) as writer:
        await writer.insert("monitors", writer.monitor())
        # A copy is what a crash leaves: opened for writing, it would have its log moved into the file and removed.
        copy = databases.sqlite_target(_copied(tmp_path))
        before = _content(copy)
        assert len(before) == 2
        assert (await migrate(copy)).before.upstream
        assert _content(copy) == before


async def test_a_new_file_is_named(tmp_path: Path) -> None:
    target = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "new.db"))
    await inspect(target)
    assert _content(target) == {}
    assert str(await migrate(target)) == f"created {tmp_path / 'new.db'}; applied 0001_tables_read"


async def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    for call in (migrate, inspect):
        with pytest.raises(StoreError, match=r"the directory .*nowhere does not exist"):
            await call(DatabaseTarget(dialect="sqlite", name=str(tmp_path / "nowhere" / "new.db")))


async def test_migrate_works_behind_a_transaction_pooler(postgres_database: DatabaseTarget) -> None:
    with pgbouncer(postgres_database) as pooler:
        reports = await asyncio.gather(*(migrate(pooler) for _ in range(4)))
    assert sorted(len(report.before.missing) for report in reports) == [0, 0, 0, 1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrations_are_numbered_without_gaps(dialect: str) -> None:
    names = [migration.name for migration in migrations(dialect)]
    assert names
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def _copied(folder: Path) -> Path:
    copy = folder / "copy"
    shutil.copytree(folder, copy)
    return copy


def _content(target: DatabaseTarget) -> dict[str, bytes]:
    """The database's file and its log, without the shared memory, which each reader creates anew."""
    files = Path(target.name).parent.iterdir()
    return {file.name: file.read_bytes() for file in files if not file.name.endswith("-shm")}
