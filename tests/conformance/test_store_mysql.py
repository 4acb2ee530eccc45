"""What only the MySQL store does: settings of servers, broken connections, refusals, TLS, use of indexes."""

import asyncio
import json
import traceback
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.migrate import mysql as migrations
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores import mysql as statements
from peekaping_producer.stores import store_for
from peekaping_producer.stores.mysql import MysqlSession
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.conformance.conftest import limited, opened
from tests.kit import mysql, processes
from tests.kit.mysql import MysqlDatabase, MysqlServer
from tests.kit.mysql_impostor import OK, SALT, Peer, impostor
from tests.kit.pgbouncer import self_signed
from tests.kit.waiting import until

MysqlStore = Store[MysqlSession]
SESSIONS = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"


@pytest.fixture
def empty_database(mysql_database: DatabaseTarget) -> DatabaseTarget:
    return mysql_database


async def refusal(target: DatabaseTarget) -> StoreError:
    """The error of opening a store, which does not contain the password."""
    with pytest.raises(StoreError) as caught:
        await store_for(target, connections=1).open()
    shown = "".join(traceback.format_exception(caught.value))
    assert str(target.password) not in shown
    return caught.value


async def cut_all(database: MysqlDatabase) -> None:
    for (number,) in await database.execute(SESSIONS):
        await database.execute(f"KILL {number}")


async def test_a_load_is_one_statement_for_each_table_it_needs(database: MysqlDatabase, store: MysqlStore) -> None:
    rows = [database.monitor(type="push") for _ in range(300)]
    shared, through = database.window(), database.proxy()
    await database.insert("monitors", *rows)
    await database.insert("maintenances", shared)
    await database.insert("monitor_maintenances", *(database.link(row, shared) for row in rows))
    await database.insert("heartbeats", *(database.heartbeat(row) for row in rows))
    await database.insert("proxies", through)
    async with store.session() as session:
        before = await _questions(session)
        monitors = (await session.load([row["id"] for row in rows])).monitors
        assert await _questions(session) - before == 4 + 1
        assert all(details.latest_heartbeat and details.windows for details in monitors.values())
        await session.load(["00000000-0000-0000-0000-000000000000"])
        assert await _questions(session) - before == 4 + 1 + 1 + 1


async def test_returning_a_connection_costs_no_statement(store: MysqlStore) -> None:
    async with store.session() as session:
        before = await _questions(session)
    async with store.session() as session:
        assert await _questions(session) - before == 1


async def test_reads_do_not_depend_on_settings_of_the_server(database: MysqlDatabase, store: MysqlStore) -> None:
    """The tests' own server has another time zone, sql_mode, character set and autocommit than ours."""
    row = database.monitor(type="push", name="日本 é 🚦 'a' \"b\" \\ `c` || d", config=json.dumps({"k": "é\\\n'🚦"}))
    await database.insert("monitors", row)
    await database.insert("heartbeats", {"id": database.new_id(), "monitor_id": row["id"], "status": 1})
    async with store.session() as session:
        details = (await session.load([row["id"]])).monitors[row["id"]]
        (age,) = (await session._fetch("SELECT timestampdiff(SECOND, time, UTC_TIMESTAMP()) FROM heartbeats"))[0]
        assert details.monitor.name == row["name"]
        assert json.loads(details.monitor.config) == json.loads(row["config"])
        assert abs(age) < 60, "DEFAULT gives UTC whatever the server's zone"
        await database.delete("monitors", row["id"])
        assert (await session.load([row["id"]])).monitors == {}, "each read sees what is there now"


async def test_timestamps_are_read_in_utc_too(database: MysqlDatabase, store: MysqlStore) -> None:
    """A column of the type TIMESTAMP is returned in the session's zone."""
    row = database.monitor(type="push")
    await database.insert("monitors", row)
    await database.execute("ALTER TABLE heartbeats MODIFY end_time TIMESTAMP(6) NULL")
    await database.execute("SET time_zone = '+00:00'")
    await database.insert("heartbeats", database.heartbeat(row, end_time="2026-11-22 12:37:54.001"))
    async with store.session() as session:
        beat = (await session.load([row["id"]])).monitors[row["id"]].latest_heartbeat
    assert str(getattr(beat, "end_time", None)) == "2026-11-22 12:37:54.001000+00:00"


async def test_a_session_cannot_write(database: MysqlDatabase, store: MysqlStore) -> None:
    async with store.session() as session:
        with pytest.raises(StoreError, match="READ ONLY"):
            await session._fetch("DELETE FROM monitors")


async def test_odd_values_break_only_their_monitor(database: MysqlDatabase, store: MysqlStore) -> None:
    good, two, zero, no_day, no_config = (database.monitor(type="push") for _ in range(5))
    await database.insert("monitors", good, two, zero, no_day, no_config | {"config": None, "name": ""})
    await database.update("monitors", two["id"], active=2)
    await database.insert("heartbeats", database.heartbeat(zero, time="0000-00-00 00:00:00", end_time=None))
    await database.insert("heartbeats", database.heartbeat(no_day, time="2026-11-00 00:00:00"))
    await database.insert("heartbeats", database.heartbeat(good, time="2026-11-22 12:37:53.220344"))
    async with store.session() as session:
        loaded = await session.load([row["id"] for row in (good, two, zero, no_day, no_config)])
    assert loaded.broken.keys() == {two["id"]}
    assert "time: expected a time like" in str(loaded.monitors[no_day["id"]].problems)
    assert loaded.broken[two["id"]] == "active: expected 0 or 1, got 2"
    beats = {id_: details.latest_heartbeat for id_, details in loaded.monitors.items()}
    assert str(getattr(beats[zero["id"]], "time", None)) == "0001-01-01 00:00:00+00:00"
    assert str(getattr(beats[good["id"]], "time", None)) == "2026-11-22 12:37:53.220344+00:00"
    assert (loaded.monitors[no_config["id"]].monitor.config, loaded.monitors[no_config["id"]].monitor.name) == ("", "")


async def test_invalid_utf8_breaks_only_its_monitor(database: MysqlDatabase, store: MysqlStore) -> None:
    await database.execute("ALTER TABLE monitors MODIFY name VARBINARY(600) NOT NULL")
    bad, good = database.monitor(), database.monitor(name="日本 🚦")
    await database.insert("monitors", bad, good)
    await database.execute(f"UPDATE monitors SET name = X'FFFE' WHERE id = '{bad['id']}'")
    async with store.session() as session:
        loaded = await session.load([bad["id"], good["id"]])
    assert loaded.broken == {bad["id"]: "name: expected text, got bytes"}
    assert loaded.monitors[good["id"]].monitor.name == "日本 🚦"


@pytest.mark.parametrize("collation", ["ascii_bin", "ascii_general_ci"])
async def test_ids_of_any_printable_text_are_used_unchanged(
    database: MysqlDatabase, store: MysqlStore, collation: str
) -> None:
    await database.execute("DROP TABLE heartbeats")  # its foreign key fixes the type
    await database.execute("ALTER TABLE monitor_maintenances DROP CONSTRAINT fk_monitor_maintenances_monitor")
    await database.execute(f"ALTER TABLE monitors MODIFY id CHAR(80) CHARACTER SET ascii COLLATE {collation} NOT NULL")
    ids = [database.new_id(), database.new_id().upper(), "x", "~" * 36, "it's \\ 100%", "a" * 64]
    strange = ["", f"{database.new_id()}\n", "?", "b" * 65]
    await database.insert("monitors", *(database.monitor(id=id_) for id_ in [*ids, *strange]))
    seen: list[Plan] = []
    async with store.session() as session:
        while page := await session.page_of_plans(seen[-1].id if seen else None, 3):
            seen += page
        loaded = await session.load([*ids, *strange, ids[0].upper(), ids[1].lower(), "X", "x "])
        plans = await session.plans([*ids, *strange, ids[1].lower()])
    assert {plan.id for plan in seen if plan.interval} == set(ids) == set(loaded.monitors) == set(plans)
    assert all(store.is_id(id_) for id_ in ids)
    assert {plan.id for plan in seen if plan.problem.startswith("id: expected")} == set(strange)
    assert not any(store.is_id(id_) for id_ in strange)


async def test_a_connection_that_is_killed_during_a_read_is_replaced(
    database: MysqlDatabase, store: MysqlStore
) -> None:
    row = database.monitor()
    await database.insert("monitors", row)
    async with store.session() as session:
        await database.execute("LOCK TABLES monitors WRITE")
        read = asyncio.create_task(session.load([row["id"]]))
        async with asyncio.timeout(20):
            while not await database.execute(f"{SESSIONS} AND state LIKE '%lock%'"):
                pass
        await cut_all(database)
        with pytest.raises(StoreUnavailableError):
            await read
        await database.execute("UNLOCK TABLES")
    async with store.session() as session:
        assert set((await session.load([row["id"]])).monitors) == {row["id"]}


async def test_a_connection_that_the_server_closed_while_idle_fails_no_read(
    database: MysqlDatabase, store: MysqlStore
) -> None:
    async with store.session() as first, store.session() as second:
        for session in (first, second):
            await session._fetch("SET SESSION wait_timeout = 1")
    idle = [connection for connection, _ in store._pool.idle] if store._pool else []
    assert len(idle) == 2
    await until(lambda: all(connection.is_dead for connection in idle), "closed by wait_timeout")
    async with store.session() as first, store.session() as second:
        assert await first.page_of_plans(None, 1) == await second.page_of_plans(None, 1) == []


async def test_a_restarted_server_is_used_again(private_mysql: MysqlServer) -> None:
    store = store_for(private_mysql.target, connections=2)
    with pytest.raises(StoreError, match=r"monitors.*migrate") as caught:
        await store.open()
    assert not isinstance(caught.value, StoreUnavailableError)
    await migrate(private_mysql.target)
    await store.open()
    private_mysql.stop()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await store.ping()
    private_mysql.start()
    await store.ping()
    await store.close()


async def test_canceled_reads_leave_no_connection_open(database: MysqlDatabase, store: MysqlStore) -> None:
    async def read() -> None:
        async with store.session() as session:
            while True:
                await session.page_of_plans(None, 10)

    for turns in range(40):
        task = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert store._pool is not None
    assert not store._pool._slots
    await store.close()

    async def gone() -> bool:
        return not await database.execute(SESSIONS)

    await until(gone, "the server has no session of ours")


async def test_closing_ends_every_session_on_the_server(database: MysqlDatabase, store: MysqlStore) -> None:
    async with store.session() as first, store.session() as second:
        await asyncio.gather(first.ping(), second.ping())
        assert len(await database.execute(SESSIONS)) >= 2
    await store.close()

    async def gone() -> bool:
        return not await database.execute(SESSIONS)

    await until(gone, "the server has no session of ours")


async def test_a_missing_privilege_is_final(database: MysqlDatabase) -> None:
    await database.execute("DROP USER IF EXISTS peekaping_tests_stranger")
    await database.execute("CREATE USER peekaping_tests_stranger IDENTIFIED BY 'strange-secret'")
    stranger = msgspec.structs.replace(database.target, user="peekaping_tests_stranger", password="strange-secret")
    assert "Access denied for user 'peekaping_tests_stranger'" in str(await refusal(stranger))
    await database.execute("GRANT SELECT ON peekaping_tests.monitors TO peekaping_tests_stranger")
    error = await refusal(stranger)
    assert "SELECT command denied to user 'peekaping_tests_stranger'" in str(error)
    assert "monitor_maintenances" in str(error)
    assert not isinstance(error, StoreUnavailableError)
    await database.execute("DROP USER peekaping_tests_stranger")


async def test_the_right_select_is_enough(database: MysqlDatabase) -> None:
    await database.execute("DROP USER IF EXISTS peekaping_tests_reader")
    await database.execute("CREATE USER peekaping_tests_reader IDENTIFIED BY 'reader-secret'")
    await database.execute("GRANT SELECT ON peekaping_tests.* TO peekaping_tests_reader")
    reader = msgspec.structs.replace(database.target, user="peekaping_tests_reader", password="reader-secret")
    async with opened(reader):
        pass
    await database.execute("DROP USER peekaping_tests_reader")


async def test_a_full_server_may_have_room_later() -> None:
    with processes.running(MysqlServer, "--max-connections=10") as server:
        busy = [await mysql.connect(server.target) for _ in range(11)]  # one more for an administrator
        error = await refusal(server.target)
        assert isinstance(error, StoreUnavailableError)
        assert "Too many connections" in str(error)
        for connection in busy:
            connection.close()


@limited(answer_s=1000.0)
async def test_the_server_cancels_a_statement_at_its_limit(store: MysqlStore) -> None:
    endless = " CROSS JOIN ".join(f"information_schema.columns c{n}" for n in range(4))
    async with asyncio.timeout(20), store.session() as session:
        with pytest.raises(StoreUnavailableError, match="no answer in time"):
            await session._fetch(f"SELECT count(*) FROM {endless}", 0.5)
        connection = session.slot.connection
        assert await _questions(session) > 0
        assert session.slot.connection is connection, "kept"


async def test_tls_is_verified_unless_disabled() -> None:
    with self_signed() as certificate:
        files = (f"--ssl-cert={certificate}", f"--ssl-key={certificate.with_suffix('.key')}")
        with processes.running(MysqlServer, *files, "--require-secure-transport=ON") as server:
            target = server.target
            untrusted = await refusal(msgspec.structs.replace(target, tls=Tls()))
            assert "certificate is not trusted" in str(untrusted)
            assert not isinstance(untrusted, StoreUnavailableError)
            other_name = msgspec.structs.replace(target, host="localhost", tls=Tls(ca_file=str(certificate)))
            assert "certificate is not trusted" in str(await refusal(other_name))
            assert not isinstance(await refusal(target), StoreUnavailableError)
            await migrate(msgspec.structs.replace(target, tls=Tls(ca_file=str(certificate))))
            for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
                async with opened(msgspec.structs.replace(target, tls=tls)) as store, store.session() as session:
                    assert (await session._fetch("SHOW STATUS LIKE 'Ssl_cipher'"))[0][1]


async def test_a_server_without_tls_receives_nothing_when_tls_is_required() -> None:
    async def greet(peer: Peer) -> None:
        peer.greet("mysql_native_password")

    async with impostor(greet) as (target, peers):
        error = await refusal(msgspec.structs.replace(target, tls=Tls()))
    assert "TLS is required, but the server" in str(error)
    assert not isinstance(error, StoreUnavailableError)
    assert peers[0].said == b""


@pytest.mark.parametrize("plugin", ["mysql_clear_password", "mysql_old_password"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_the_password_is_never_sent_in_clear(plugin: str, at_once: bool) -> None:
    async def ask(peer: Peer) -> None:
        peer.greet(plugin if at_once else "mysql_native_password")
        await peer.receive()
        peer.send(b"\xfe" + plugin.encode() + b"\x00" + SALT + b"\x00")

    async with impostor(ask) as (target, peers):
        error = await refusal(target)
        assert target.password
        assert f"by {plugin}, which requires TLS" in str(error)
        for encoding in ("utf-8", "utf-16", "latin-1"):
            assert target.password.encode(encoding, "replace") not in peers[0].said


async def test_no_server_receives_a_local_file() -> None:
    async def ask(peer: Peer) -> None:
        peer.greet("mysql_native_password")
        await peer.receive()
        peer.send(OK)
        await peer.receive()
        peer.send(b"\xfb" + __file__.encode())

    async with impostor(ask) as (target, peers):
        assert isinstance(await refusal(target), StoreUnavailableError)
        assert b"No server is given" not in peers[0].said


async def test_a_password_reaches_mysql_8_in_utf_8_and_encrypted() -> None:
    """caching_sha2_password without TLS and without the server's cache, as for a user's first connection."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    told: list[bytes] = []

    async def authenticate(peer: Peer) -> None:
        peer.greet("caching_sha2_password")
        await peer.receive()
        peer.send(b"\x01\x04")
        assert await peer.receive() == b"\x02"
        peer.send(b"\x01" + public)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        mixed = key.decrypt(await peer.receive(), oaep)
        told.append(bytes(byte ^ SALT[n % len(SALT)] for n, byte in enumerate(mixed)))

    async with impostor(authenticate) as (target, _):
        connecting = asyncio.create_task(store_for(target, connections=1).open())
        await until(lambda: bool(told))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    assert told == [f"{target.password}\0".encode()]


async def test_a_reply_of_another_protocol_is_an_unavailable_store() -> None:
    async def answer(peer: Peer) -> None:
        peer._writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100_000)

    async with impostor(answer) as (target, _):
        assert isinstance(await refusal(target), StoreUnavailableError)


@pytest.mark.parametrize("name", ["charset", "local_infile", "ssl-mode", "pool_size"])
def test_an_unsupported_parameter_is_named_without_its_value(name: str) -> None:
    with pytest.raises(ConfigError, match=f"expected ssl-mode only, got {name}=...") as caught:
        store_for(DatabaseTarget(dialect="mysql", name="x", params={name: "s3cret"}), connections=1)
    assert "s3cret" not in str(caught.value)


async def test_indexes_find_what_is_read(database: MysqlDatabase, store: MysqlStore) -> None:
    await _fill(database, monitors=3000, heartbeats=12_000)
    async with store.session() as session:
        ids = [plan.id for plan in await session.page_of_plans(None, 1000)]
        assert len((await session.load(ids)).monitors) == 1000
        page = await _explain(session, statements._PAGE.format(after=f"id > '{ids[500]}' AND", limit=1000))
        assert page == {"monitors": "PRIMARY"}
        for count in (10, 300):
            keys = {
                table: await _explain(session, text.format(ids=statements._quoted(ids[:count]), max_bytes=1))
                for table, text in statements._STATEMENTS.items()
            }
            assert keys["plans"] == {"monitors": "PRIMARY"}
            assert keys["monitors"]["m"] == "PRIMARY"
            assert keys["heartbeats"]["m"] == keys["heartbeats"]["h"] == "PRIMARY"
            assert "monitor_time" in str(keys["heartbeats"]["latest"])
            assert keys["monitor_maintenances"]["monitor_maintenances"] is not None


async def test_only_the_latest_of_many_heartbeats_are_read(database: MysqlDatabase, store: MysqlStore) -> None:
    """Counted by the storage engine, whatever the plan is."""
    await _fill(database, monitors=40, heartbeats=20_000)
    await database.execute("UPDATE monitors SET type = 'push'")
    async with store.session() as session:
        ids = [plan.id for plan in await session.page_of_plans(None, 1000)]
        before = await _rows_read(session)
        loaded = await session.load(ids)
        assert await _rows_read(session) - before < 20 * len(ids)
    assert all(details.latest_heartbeat for details in loaded.monitors.values())


async def test_the_lock_of_a_migration_ends_with_its_connection(mysql_database: DatabaseTarget) -> None:
    async with migrations.locked(mysql_database):
        with pytest.raises(StoreUnavailableError, match="another migration still runs"):
            async with migrations.locked(mysql_database, lock_timeout_s=0.05):
                pass
    with pytest.raises(RuntimeError, match="broke off"):
        async with migrations.locked(mysql_database):
            raise RuntimeError("broke off")
    async with migrations.locked(mysql_database):
        pass


async def test_a_connection_for_reading_the_ledger_cannot_write(database: MysqlDatabase) -> None:
    async with migrations.read_only(database.target) as connection:
        with pytest.raises(StoreError, match="READ ONLY"):
            await connection.run(migrations.record("x"))


async def _fill(database: MysqlDatabase, *, monitors: int, heartbeats: int) -> None:
    rows = [database.monitor() for _ in range(monitors)]
    await database.insert("monitors", *rows)
    for start in range(0, heartbeats, 5000):
        await database.insert(
            "heartbeats",
            *(
                database.heartbeat(
                    rows[n % monitors],
                    time=f"2026-11-{n // 3600 % 28 + 1:02} 12:{n // 60 % 60:02}:{n % 60:02}.{n:06}",
                    end_time=None,
                )
                for n in range(start, min(start + 5000, heartbeats))
            ),
        )
    await database.execute("ANALYZE TABLE monitors, heartbeats")


async def _explain(session: MysqlSession, statement: str) -> dict[str, Any]:
    """The key by which each table is read."""
    connection = session.slot.connection
    assert connection is not None
    await connection.query(f"EXPLAIN {statement}")
    result = connection._result
    names = [field.name for field in result.fields]
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    return {row["table"]: row["key"] for row in rows}


async def _questions(session: MysqlSession) -> int:
    """Statements that this session has sent, this one included."""
    return int((await session._fetch("SHOW SESSION STATUS LIKE 'Questions'"))[0][1])


async def _rows_read(session: MysqlSession) -> int:
    return sum(int(value) for _, value in await session._fetch("SHOW SESSION STATUS LIKE 'Handler_read%'"))
