"""What only the Postgres store does: broken connections, refusals, poolers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from peekaping_producer.errors import ConfigError, StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.stores import store_for
from peekaping_producer.stores.postgres import PostgresSession
from peekaping_producer.stores.postgres_connections import PostgresDriver
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.conformance.conftest import opened, refusal
from tests.kit import databases, postgres, processes
from tests.kit.certificates import self_signed
from tests.kit.databases import SqlDatabase
from tests.kit.pgbouncer import pgbouncer
from tests.kit.postgres import PostgresServer
from tests.kit.waiting import until

PostgresStore = Store[PostgresSession]
CUT_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'peekaping-producer'
"""


@pytest.fixture
def empty_database(postgres_database: DatabaseTarget) -> DatabaseTarget:
    return postgres_database


async def test_options_of_a_url_reach_the_server(empty_database: DatabaseTarget) -> None:
    """Hosted providers name a cluster or an endpoint there; an unknown schema shows that they arrive."""
    await migrate(empty_database)
    async with opened(empty_database):
        pass
    said = await refusal(msgspec.structs.replace(empty_database, params={"options": "-c search_path=nowhere"}))
    assert 'relation "monitors" does not exist' in str(said)


async def test_idle_session_timeout_fails_no_read(database: SqlDatabase, store: PostgresStore) -> None:
    async with store.session() as session:
        await session._read("SET idle_session_timeout = 50")
        ended = session.slot.connection
        await until(lambda: ended.is_closed(), "ended by the server")
        assert await session.page_of_plans(None, 1) == []
        await session._read("SET idle_session_timeout = 50")
        ended = session.slot.connection
    await until(lambda: ended.is_closed(), "ended by the server")
    await store.ping()


async def test_a_missing_privilege_is_final(database: SqlDatabase) -> None:
    await database.execute("DROP ROLE IF EXISTS peekaping_tests_stranger")
    await database.execute("CREATE ROLE peekaping_tests_stranger LOGIN PASSWORD 'strange-secret'")
    error = await refusal(
        msgspec.structs.replace(database.target, user="peekaping_tests_stranger", password="strange-secret")
    )
    assert "permission denied for table monitors" in str(error)
    assert not isinstance(error, StoreUnavailableError)


async def test_a_server_without_tls_is_refused_when_tls_is_required(database: SqlDatabase) -> None:
    error = await refusal(msgspec.structs.replace(database.target, tls=Tls()))
    assert "TLS is required, but the server does not offer it" in str(error)
    assert not isinstance(error, StoreUnavailableError)


async def test_a_full_server_may_have_room_later() -> None:
    with processes.running(PostgresServer, "max_connections=4", "superuser_reserved_connections=0") as server:
        busy = [await postgres.connect(server.target) for _ in range(4)]
        assert isinstance(await refusal(server.target), StoreUnavailableError)
        for connection in busy:
            await connection.close()


async def test_a_time_beyond_pythons_years_breaks_only_its_monitor(database: SqlDatabase, store: PostgresStore) -> None:
    far, infinite, near = (database.monitor(type="push") for _ in range(3))
    await database.insert("monitors", far, infinite, near)
    await database.insert(
        "heartbeats", database.heartbeat(far, end_time="200000-01-01 00:00:00"), database.heartbeat(near)
    )
    await database.insert("heartbeats", database.heartbeat(infinite, end_time="-infinity"))
    async with store.session() as session:
        loaded = await session.load([far["id"], infinite["id"], near["id"]])
    assert loaded.monitors.keys() == {far["id"], infinite["id"], near["id"]}


@pytest_asyncio.fixture
async def ascii_database(
    postgres_server: DatabaseTarget, postgres_database: DatabaseTarget
) -> AsyncIterator[SqlDatabase]:
    """A database that does not check the bytes of texts."""
    target = msgspec.structs.replace(postgres_server, name=f"{postgres_database.name}_ascii")
    await postgres.execute(postgres_server, f"CREATE DATABASE {target.name} ENCODING SQL_ASCII TEMPLATE template0")
    await migrate(target)
    database = await databases.connect_sql(target)
    yield database
    await database.close()
    await postgres.execute(postgres_server, f"DROP DATABASE {target.name} WITH (FORCE)")


@pytest.mark.parametrize("bad_first", [True, False])
async def test_many_proxies_and_heartbeats_with_invalid_utf8_silence_no_monitor(
    ascii_database: SqlDatabase, bad_first: bool
) -> None:
    database = ascii_database
    proxies = [database.proxy() for _ in range(60)]
    monitors = [database.monitor(type="push", proxy_id=proxy["id"]) for proxy in proxies]
    await database.insert("proxies", *proxies)
    await database.insert("monitors", *monitors)
    await database.insert("heartbeats", *map(database.heartbeat, monitors))
    bad = monitors[:30] if bad_first else monitors[30:]
    ids = "','".join(row["id"] for row in bad)
    await database.execute(rf"UPDATE heartbeats SET msg = E'\xff\xfe' WHERE monitor_id IN ('{ids}')")
    ids = "','".join(row["proxy_id"] for row in bad)
    await database.execute(rf"UPDATE proxies SET host = E'\xff\xfe' WHERE id IN ('{ids}')")
    async with opened(database.target) as store, store.session() as session:
        for _ in range(2):
            loaded = await session.load([row["id"] for row in monitors])
            assert (loaded.broken, loaded.waiting, len(loaded.monitors)) == ({}, {}, 60)
            for row in monitors:
                details = loaded.monitors[row["id"]]
                kinds = {kind for kind, _ in details.problems}
                assert kinds == ({"monitor.bad_proxy", "monitor.bad_heartbeat"} if row in bad else set())
                assert (details.proxy is None, details.latest_heartbeat is None) == (row in bad, row in bad)


async def test_invalid_utf8_breaks_only_its_monitor(ascii_database: SqlDatabase) -> None:
    database = ascii_database
    target = database.target
    rows = [database.monitor(name=f"gut, é {number}") for number in range(9)]
    await database.insert("monitors", *rows)
    await database.execute(rf"UPDATE monitors SET name = E'\xff\xfe' WHERE id = '{rows[4]['id']}'")
    async with opened(target) as store, store.session() as session:
        for _ in range(2):
            loaded = await session.load([row["id"] for row in rows])
            assert set(loaded.broken) == {rows[4]["id"]}
            assert {details.monitor.name for details in loaded.monitors.values()} == {
                r["name"] for r in rows if r is not rows[4]
            }
        await database.execute("ALTER TABLE monitors ALTER interval TYPE text")
        await database.execute(rf"UPDATE monitors SET interval = E'\xff' WHERE id = '{rows[4]['id']}'")
        page = await session.page_of_plans(None, 100)
        assert [plan.id for plan in page] == sorted(row["id"] for row in rows)
        assert [plan.id for plan in page if plan.problem.startswith("unreadable")] == [rows[4]["id"]]
        assert (await session.plans([row["id"] for row in rows])).keys() == {row["id"] for row in rows}


@pytest.mark.parametrize(
    "change",
    ["duration TYPE text USING 'abc'", "duration TYPE numeric USING 7.5", r"strategy TYPE bytea USING '\xff'::bytea"],
)
async def test_a_window_whose_column_type_was_altered_is_left_out(
    database: SqlDatabase, store: PostgresStore, change: str
) -> None:
    monitor, window = database.monitor(), database.window()
    await database.insert("monitors", monitor)
    await database.insert("maintenances", window)
    await database.insert("monitor_maintenances", database.link(monitor, window))
    await database.execute(f"ALTER TABLE maintenances ALTER COLUMN {change}")
    async with store.session() as session:
        loaded = await session.load([monitor["id"]])
    assert (loaded.broken, loaded.waiting, loaded.degraded) == ({}, {}, {})
    details = loaded.monitors[monitor["id"]]
    assert details.windows == ()
    assert [kind for kind, _ in details.problems] == ["monitor.bad_maintenance"]


async def test_tls_is_verified_unless_disabled(database: SqlDatabase) -> None:
    with self_signed() as certificate, pgbouncer(database.target, certificate=certificate) as server:
        for refused in (
            msgspec.structs.replace(server, tls=Tls()),
            msgspec.structs.replace(server, host="localhost", tls=Tls(ca_file=str(certificate))),
        ):
            untrusted = await refusal(refused)
            assert "certificate is not trusted" in str(untrusted)
            assert not isinstance(untrusted, StoreUnavailableError)
        await refusal(server)
        for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
            async with opened(msgspec.structs.replace(server, tls=tls)) as store, store.session() as session:
                assert await session.page_of_plans(None, 1) == []


def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    target = DatabaseTarget(dialect="postgres", name="x", tls=Tls(ca_file=str(tmp_path / "missing.pem")))
    with pytest.raises(ConfigError, match=r"missing\.pem: No such file"):
        store_for(target, connections=1)


async def test_a_transaction_pooler_is_detected_and_shared_by_many_sessions(database: SqlDatabase) -> None:
    rows = [database.monitor(type="push" if n % 2 else "http") for n in range(40)]
    await database.insert("monitors", *rows)
    await database.insert("heartbeats", *(database.heartbeat(row) for row in rows))

    async def read(store: PostgresStore, number: int) -> None:
        ids = [row["id"] for row in rows[number % 7 :]]
        async with store.session() as session:
            for _ in range(10):
                assert set((await session.load(ids)).monitors) == set(ids)
                assert set(await session.plans(ids)) == set(ids)
                assert len(await session.page_of_plans(None, 1 + number)) == 1 + number

    with pgbouncer(database.target, server_connections=2) as pooler:
        async with opened(pooler, connections=8) as first, opened(pooler, connections=8) as second:
            assert first.driver.pooled
            await asyncio.gather(*(read(store, number) for number in range(8) for store in (first, second)))


async def test_behind_a_pooler_a_cut_server_connection_is_replaced(database: SqlDatabase) -> None:
    with pgbouncer(database.target) as pooler:
        async with opened(pooler) as store:
            await database.execute(CUT_ALL)
            failures = 0
            for _ in range(10):
                try:
                    await store.ping()
                except StoreUnavailableError:
                    failures += 1
            assert failures <= 4
            await store.ping()


async def test_a_direct_server_is_not_taken_for_a_pooler(store: PostgresStore) -> None:
    assert isinstance(store.driver, PostgresDriver)
    assert not store.driver.pooled


async def test_what_a_pooler_refuses_is_final(database: SqlDatabase) -> None:
    with pgbouncer(database.target) as pooler:
        wrong = await refusal(msgspec.structs.replace(pooler, password="not the pa$$word"))
        assert not isinstance(wrong, StoreUnavailableError)
        nowhere = await refusal(msgspec.structs.replace(pooler, name="nowhere"))
        assert "nowhere" in str(nowhere)


async def test_a_pooler_that_is_gone_may_come_back(database: SqlDatabase) -> None:
    with pgbouncer(database.target) as pooler:
        store = store_for(pooler, connections=2)
        await store.open()
    with pytest.raises(StoreUnavailableError):
        await store.ping()
    await store.close()
