"""What only the MongoDB store does: documents with any values, users, TLS, options of the driver."""

import asyncio
import logging
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bson import Code, DBRef, Decimal128, Int64, ObjectId
from pymongo import monitoring

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.migrate import mongo as migrations
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores import store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo import MongoSession
from peekaping_producer.stores.mongo_client import MongoDatabaseClient
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.conformance.conftest import limited, opened
from tests.kit.fault_proxy import fault_proxy
from tests.kit.mongo import MongoDatabase, MongoServer
from tests.kit.mongo_gate import Gate, gate
from tests.kit.pgbouncer import self_signed
from tests.kit.waiting import until

MongoStore = Store[MongoSession]
SECRET = "pl4nted"
USER, PASSWORD = "péé,ka=ping", "s3cret@:/?#%é"
NAMES = ("name", "type", "interval", "timeout", "max_retries", "retry_interval", "resend_interval", "active", "config")


@pytest.fixture
def empty_database(mongo_database: DatabaseTarget) -> DatabaseTarget:
    return mongo_database


SHORT_WAIT = Limits(acquire_s=1.0)
"""The driver looks for a usable server until this is over."""


async def refusal(target: DatabaseTarget) -> StoreError:
    """The error of opening or reading, which contains no password and no document."""
    with pytest.raises(StoreError) as caught:
        async with opened(target, SHORT_WAIT) as store, store.session() as session:
            await session.load([str(ObjectId())])
    shown = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in shown
    assert "$match" not in shown
    return caught.value


def behind(target: DatabaseTarget, entrance: Gate, **changes: Any) -> DatabaseTarget:
    fields = {"port": entrance.port, "user": USER, "password": PASSWORD} | changes
    return msgspec.structs.replace(target, **fields)


def document(**changes: Any) -> dict[str, Any]:
    """A monitor as the API server writes it."""
    numbers = dict.fromkeys(("timeout", "max_retries", "retry_interval", "resend_interval"), 5)
    row = {"_id": ObjectId(), "name": "n", "type": "http", "interval": 60, "active": True, "config": "{}"}
    return row | numbers | changes


class Operations(monitoring.CommandListener):
    """The names of the commands that clients send."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Not used."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Not used."""


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Operations:
    """Those of every client that is made after this."""
    listener = Operations()
    listeners = monitoring._LISTENERS
    monkeypatch.setattr(monitoring, "_LISTENERS", listeners._replace(command_listeners=[listener]))
    return listener


async def test_a_load_is_one_operation_for_each_collection_it_needs(
    operations: Operations, database: MongoDatabase
) -> None:
    rows = [database.monitor(type="push") for _ in range(300)]
    shared, through = database.window(), database.proxy()
    await database.insert("monitors", *rows)
    await database.insert("maintenances", shared)
    await database.insert("monitor_maintenances", *(database.link(row, shared) for row in rows))
    await database.insert("heartbeats", *(database.heartbeat(row) for row in rows))
    await database.insert("proxies", through)
    limits = Limits(side_table_s=7.0)  # the tests' server is slow at joins
    async with opened(database.target, limits) as store, store.session() as session:
        operations.names.clear()
        monitors = (await session.load([row["id"] for row in rows])).monitors
        assert operations.names == ["find"] * 3 + ["aggregate"]
        assert all(details.latest_heartbeat and details.windows for details in monitors.values())
        operations.names.clear()
        await session.load([str(ObjectId())])
        assert operations.names == ["find"]
        operations.names.clear()
        await session.page_of_plans(None, 100)
        await session.plans([row["id"] for row in rows])
        assert operations.names == ["find"] * 2


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("interval", SECRET, "interval: expected an integer, got text"),
        ("interval", 1.5, "interval: expected an integer, got a fraction"),
        ("interval", float("nan"), "interval: expected an integer, got a fraction"),
        ("interval", float("inf"), "interval: expected an integer, got a fraction"),
        ("interval", Int64(2**53), "interval: expected at most 9007199254740, got 9007199254740992"),
        ("interval", 2.0**60, "interval: expected at most 9007199254740, got 1152921504606846976"),
        ("interval", DBRef("c", 1), "interval: expected an integer, got DBRef"),
        ("interval", True, "interval: expected an integer, got bool"),
        ("interval", [60], "interval: expected an integer, got list"),
        ("interval", Decimal128("60"), "interval: expected an integer, got Decimal128"),
        ("timeout", {"a": SECRET}, "timeout: expected an integer, got dict"),
        ("active", [True], "active: expected 0 or 1, got list"),
        ("name", b"pl4nted \xff", "name: expected text, got bytes"),
        ("config", {"url": SECRET}, "config: expected text, got dict"),
        ("type", 7, "type: expected text, got an integer"),
    ],
)
async def test_a_value_of_the_wrong_type_breaks_only_its_monitor_and_its_plan_is_a_problem(
    database: MongoDatabase, store: MongoStore, field: str, value: object, reason: str
) -> None:
    bad, good = document(**{field: value}), document()
    await database.insert_documents("monitor", bad, good)
    async with store.session() as session:
        loaded = await session.load([str(bad["_id"]), str(good["_id"])])
        plans = await session.plans([str(bad["_id"]), str(good["_id"])])
        page = await session.page_of_plans(None, 10)
    good_plan = Plan(str(good["_id"]), 60)
    assert set(loaded.monitors) == {good_plan.id}
    assert loaded.broken == {str(bad["_id"]): reason}
    if field in {"interval", "active"}:
        plan = plans[str(bad["_id"])]
        assert (plan.interval, plan.problem[: len(field)]) == (0, field)
        assert SECRET not in plan.problem
        assert (plans[good_plan.id], page) == (good_plan, [plan, good_plan])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_walk_sees_every_active_document_and_reports_what_cannot_be_scheduled(
    database: MongoDatabase, store: MongoStore, limit: int
) -> None:
    odd: list[Any] = [1.5, [60], Decimal128("60"), "60", None, float("nan"), 0.5, 2**60, -1, {"$ref": 1, "$id": 2}]
    rows = [document(interval=value) for value in (*odd, 60, *odd, 61.0, Int64(62), *odd, 2**31)]
    before: list[Any] = [7, "6b02e26c69e1fd917a5fde33", b"x" * 12]
    behind: list[Any] = [datetime(2026, 1, 1), True]
    strange = [document(_id=id_) for id_ in before + behind]
    inactive = [document(active=value) for value in (False, None, 0, 0.0)]
    await database.insert_documents("monitor", *rows, *strange, document(active=[True]), document(active=1), *inactive)
    seen: list[Plan] = []
    async with store.session() as session:
        while len(page := await session.page_of_plans(seen[-1].id if seen else None, limit)) == limit:
            seen += page
            assert len(seen) < 100
    seen += page
    assert [plan.interval for plan in seen if not plan.problem] == [60, 61, 62, 2**31, 60]
    assert all(type(plan.interval) is int for plan in seen)
    nameless = {plan.id for plan in seen if plan.problem.startswith("_id: expected an ObjectId")}
    # Where a page ends among those whose ids the order has no cursor for, the rest of them is passed over.
    assert len(nameless) == len(strange) if limit > len(strange) else len(nameless) >= 2
    assert sum(plan.problem.startswith("interval") for plan in seen) == 3 * len(odd)
    assert sum(plan.problem.startswith("active") for plan in seen) == 1


@pytest.mark.parametrize("absent", NAMES)
@pytest.mark.parametrize("how", ["left out", "null"])
async def test_an_absent_field_is_read_as_gos_zero_value(
    database: MongoDatabase, store: MongoStore, absent: str, how: str
) -> None:
    row = document()
    del row[absent]
    await database.insert_documents("monitor", row | ({absent: None} if how == "null" else {}))
    async with store.session() as session:
        loaded = await session.load([str(row["_id"])])
    assert loaded.broken == {}
    zero: object = {"active": False, "name": "", "type": "", "config": ""}.get(absent, 0)
    assert getattr(loaded.monitors[str(row["_id"])].monitor, absent) == zero


async def test_numbers_of_any_width_are_read(database: MongoDatabase, store: MongoStore) -> None:
    row = document(interval=60.0, timeout=Int64(7), retry_interval=-0.0, active=1)
    await database.insert_documents("monitor", row)
    async with store.session() as session:
        monitor = (await session.load([str(row["_id"])])).monitors[str(row["_id"])].monitor
    read = (monitor.interval, monitor.timeout, monitor.retry_interval, monitor.active)
    assert read == (60, 7, 0, True)
    assert [type(value) for value in read] == [int, int, int, bool]


async def test_the_drivers_own_types_can_be_encoded(database: MongoDatabase, store: MongoStore) -> None:
    """One document that could not be encoded would end one replica after the other."""
    wide = dict.fromkeys(("interval", "timeout", "max_retries", "retry_interval", "resend_interval"), Int64(60))
    window, through = {"_id": ObjectId(), "active": True, "duration": Int64(5), "interval_day": Int64(1)}, ObjectId()
    row = document(**wide, type="push", name=Code("f()"), config=Code("{}"), proxy_id=through)
    await database.insert_documents("monitor", row)
    await database.insert_documents(
        "proxies", {"_id": through, "port": Int64(1), "host": Code("h"), "protocol": "http"}
    )
    await database.insert_documents("maintenance", window | {"timezone": Code("UTC"), "strategy": "manual"})
    link = {"monitor_id": row["_id"], "maintenance_id": window["_id"]}
    await database.insert_documents("monitor_maintenance", link)
    beat = dict.fromkeys(("status", "ping", "duration", "down_count", "retries"), Int64(1))
    await database.insert_documents("heartbeat", {"monitor_id": row["_id"], "msg": Code("m"), **beat})
    async with store.session() as session:
        loaded = await session.load([str(row["_id"])])
    details = loaded.monitors[str(row["_id"])]
    assert details.proxy
    assert details.windows
    assert details.latest_heartbeat
    msgspec.json.encode(details)


async def test_an_empty_or_dangling_proxy_id(database: MongoDatabase, store: MongoStore) -> None:
    gone = ObjectId()
    rows = [document(proxy_id=value) for value in ("", None, gone)]
    await database.insert_documents("monitor", *rows)
    async with store.session() as session:
        monitors = (await session.load([str(row["_id"]) for row in rows])).monitors
    assert [monitors[str(row["_id"])].proxy for row in rows] == [None] * 3
    assert [monitors[str(row["_id"])].dangling_proxy_id for row in rows] == [None, None, str(gone)]


async def test_an_unreadable_document_of_another_collection_is_named(
    database: MongoDatabase, store: MongoStore
) -> None:
    proxy, window, beat = ({"_id": ObjectId()} for _ in range(3))
    by_proxy, by_window, by_beat, good = document(proxy_id=proxy["_id"]), document(), document(type="push"), document()
    await database.insert_documents("monitor", by_proxy, by_window, by_beat, good)
    await database.insert_documents("proxies", proxy | {"port": SECRET})
    await database.insert_documents("maintenance", window | {"active": True, "duration": SECRET})
    link = {"monitor_id": by_window["_id"], "maintenance_id": window["_id"]}
    await database.insert_documents("monitor_maintenance", link)
    await database.insert_documents("heartbeat", beat | {"monitor_id": by_beat["_id"], "time": SECRET})
    async with store.session() as session:
        loaded = await session.load([str(row["_id"]) for row in (by_proxy, by_window, by_beat, good)])
    assert loaded.broken == {}
    assert {id_: details.problems for id_, details in loaded.monitors.items()} == {
        str(by_proxy["_id"]): (("monitor.bad_proxy", f"proxy '{proxy['_id']}': port: expected an integer, got text"),),
        str(by_window["_id"]): (
            ("monitor.bad_maintenance", f"maintenance '{window['_id']}': duration: expected an integer, got text"),
        ),
        str(by_beat["_id"]): (
            (
                "monitor.bad_heartbeat",
                f"heartbeat '{beat['_id']}': time: expected a time like 2026-11-22 12:37:53.220344+00:00, got text",
            ),
        ),
        str(good["_id"]): (),
    }


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


async def test_a_heartbeat_with_a_date_beyond_pythons_years_is_left_out(
    database: MongoDatabase, store: MongoStore
) -> None:
    from bson.datetime_ms import DatetimeMS

    far, good = document(type="push"), document()
    await database.insert_documents("monitor", far, good)
    await database.insert_documents("heartbeat", {"monitor_id": far["_id"], "time": DatetimeMS(2**60)})
    async with store.session() as session:
        loaded = await session.load([str(far["_id"]), str(good["_id"])])
    assert set(loaded.monitors) == {str(far["_id"]), str(good["_id"])}
    assert "time: expected a time like" in str(loaded.monitors[str(far["_id"])].problems)


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


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-1", "SCRAM-SHA-256"])
async def test_a_user_of_the_admin_database_may_read(database: MongoDatabase, mechanism: str | None) -> None:
    params = {} if mechanism is None else {"authmechanism": mechanism}
    async with (
        gate(database.target.port or 0, {("admin", USER): PASSWORD}) as entrance,
        opened(behind(database.target, entrance, params=params)) as store,
        store.session() as session,
    ):
        assert await session.page_of_plans(None, 1) == []
    assert set(entrance.mechanisms) == {mechanism or "SCRAM-SHA-256"}


async def test_the_auth_source_of_the_url_is_used(database: MongoDatabase) -> None:
    async with gate(database.target.port or 0, {("people", USER): PASSWORD}) as entrance:
        async with opened(behind(database.target, entrance, params={"AuthSource": "people"})) as store:
            await store.ping()
        error = await refusal(behind(database.target, entrance))
    assert "authSource is admin unless set" in str(error)


async def test_a_wrong_password_is_final_and_the_user_is_named(database: MongoDatabase) -> None:
    async with gate(database.target.port or 0, {("admin", USER): PASSWORD}) as entrance:
        for wrong in ({"password": PASSWORD + "x"}, {"user": "somebody"}):
            target = behind(database.target, entrance, **wrong)
            error = await refusal(target)
            assert not isinstance(error, StoreUnavailableError)
            assert f"{target}, user {target.user}: the server reports: authentication failed" in str(error)


async def test_a_missing_user_is_named(database: MongoDatabase) -> None:
    async with gate(database.target.port or 0, {("admin", USER): PASSWORD}) as entrance:
        error = await refusal(msgspec.structs.replace(database.target, port=entrance.port))
    assert not isinstance(error, StoreUnavailableError)
    assert "without a user" in str(error)


@pytest.mark.parametrize("command", ["listCollections", "find"])
async def test_a_missing_privilege_is_final(database: MongoDatabase, command: str) -> None:
    async with gate(database.target.port or 0, {("admin", USER): PASSWORD}, forbidden={command}) as entrance:
        error = await refusal(behind(database.target, entrance))
    assert "may not do that" in str(error)
    assert not isinstance(error, StoreUnavailableError)


async def test_tls_is_verified_unless_disabled(database: MongoDatabase) -> None:
    with self_signed() as certificate:
        async with gate(database.target.port or 0, certificate=certificate) as entrance:
            target = behind(database.target, entrance, user=None, password=None)
            for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
                async with opened(msgspec.structs.replace(target, tls=tls)) as store:
                    await store.ping()
            untrusted = await refusal(msgspec.structs.replace(target, tls=Tls()))
            other_name = await refusal(
                msgspec.structs.replace(target, host="localhost", tls=Tls(ca_file=str(certificate)))
            )
            in_clear = await refusal(target)
    for error in (untrusted, other_name):
        assert "certificate is not trusted" in str(error)
        assert not isinstance(error, StoreUnavailableError)
    assert isinstance(in_clear, StoreUnavailableError)


async def test_a_server_without_tls_is_refused_when_tls_is_required(database: MongoDatabase) -> None:
    assert isinstance(await refusal(msgspec.structs.replace(database.target, tls=Tls())), StoreUnavailableError)


async def test_a_client_certificate_is_in_one_file_with_its_key(database: MongoDatabase, tmp_path: Path) -> None:
    with self_signed() as certificate:
        both = tmp_path / "both.pem"
        both.write_bytes(certificate.read_bytes() + certificate.with_suffix(".key").read_bytes())
        entering = gate(database.target.port or 0, certificate=certificate, asks_for_certificates=True)
        async with entering as entrance:
            target = behind(database.target, entrance, user=None, password=None)
            tls = Tls(ca_file=str(certificate), cert_file=str(both))
            async with opened(msgspec.structs.replace(target, tls=tls)) as store:
                await store.ping()
            await refusal(msgspec.structs.replace(target, tls=Tls(ca_file=str(certificate))))
        two = Tls(cert_file=str(certificate), key_file=str(certificate.with_suffix(".key")))
        with pytest.raises(ConfigError, match=r"DB_TLS_KEY_FILE.*DB_TLS_CERT_FILE"):
            store_for(msgspec.structs.replace(target, tls=two), connections=1)


async def test_a_restarted_server_is_used_again(private_mongo: MongoServer) -> None:
    await migrate(private_mongo.target)
    async with opened(private_mongo.target, SHORT_WAIT) as store:
        private_mongo.stop()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.ping()
        private_mongo.start()
        await until(lambda: _answers(store), "the store answers again")
        async with store.session() as session:
            assert await session.page_of_plans(None, 1) == []


async def test_a_connection_that_is_cut_during_a_read_is_an_unavailable_store(database: MongoDatabase) -> None:
    row = database.monitor()
    await database.insert("monitors", row)
    async with (
        fault_proxy(database.target.port or 0) as proxy,
        opened(
            msgspec.structs.replace(database.target, port=proxy.port), Limits(acquire_s=1.0, command_s=2.0)
        ) as store,
    ):
        async with store.session() as session:
            proxy.hold_replies()
            reading = asyncio.create_task(session.load([row["id"]]))
            await until(lambda: proxy.requests > 0, "the server is asked")
            await proxy.down()
            with pytest.raises(StoreUnavailableError):
                await reading
        await proxy.up()
        await until(lambda: _answers(store), "the store answers again")
        async with store.session() as session:
            assert set((await session.load([row["id"]])).monitors) == {row["id"]}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"w": SECRET}, "expected tls, authMechanism, .*, got w=..."),
        ({"tlsCAFile": SECRET}, "DB_TLS"),
        ({"ssl": SECRET}, "DB_TLS"),
        ({"readPreference": SECRET}, "readPreference"),
        ({"retryReads": SECRET}, "retryReads"),
        ({"directConnection": SECRET}, "directConnection"),
        ({"maxStalenessSeconds": SECRET, "readPreference": "secondary"}, "maxStalenessSeconds"),
        ({"maxStalenessSeconds": "120"}, "maxStalenessSeconds"),
        ({"authMechanism": "MONGODB-X509"}, "authMechanism"),
        ({"authMechanism": SECRET}, "authMechanism"),
        ({"readPreferenceTags": SECRET, "readPreference": "secondary"}, "readPreferenceTags"),
    ],
)
def test_an_unsupported_parameter_is_named_without_its_value(params: dict[str, str], expected: str) -> None:
    target = DatabaseTarget(dialect="mongo", host="h", port=1, name="x", user="u", password="p", params=params)
    with pytest.raises(ConfigError, match=expected) as caught:
        store_for(target, connections=1)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "params",
    [
        {"readPreference": "secondaryPreferred", "maxStalenessSeconds": "120", "replicaSet": "rs0"},
        {"READPREFERENCE": "nearest", "readpreferencetags": "dc:ny,rack:1"},
        {"directConnection": "false", "retryReads": "false", "authSource": "people"},
    ],
)
def test_supported_parameters_reach_the_driver(params: dict[str, str]) -> None:
    target = DatabaseTarget(dialect="mongo", host="h1:1,[::1]:2,h3", port=3, name="x", params=params)
    options = MongoDatabaseClient(target, 1, Limits())._client.delegate.options
    told = {name.lower(): value for name, value in params.items()}
    mode = told.get("readpreference", "primary")
    assert options.read_preference.mongos_mode == mode
    assert options.retry_reads is (told.get("retryreads") != "false")
    assert options.replica_set_name == told.get("replicaset")
    tags = [{"dc": "ny", "rack": "1"}] if "readpreferencetags" in told else [{}]
    assert mode == "primary" or options.read_preference.tag_sets == tags


@pytest.mark.parametrize(("user", "password"), [("u", None), ("u", ""), (None, SECRET)])
def test_user_and_password_require_each_other(user: str | None, password: str | None) -> None:
    target = DatabaseTarget(dialect="mongo", host="h", port=1, name="x", user=user, password=password)
    with pytest.raises(ConfigError, match=r"user.*password") as caught:
        store_for(target, connections=1)
    assert SECRET not in str(caught.value)


async def test_the_drivers_debug_lines_are_not_logged(
    database: MongoDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    row = database.monitor(config=SECRET)
    async with opened(database.target) as store, store.session() as session:
        await session.load([row["id"]])
    assert not [record for record in caplog.records if record.name.startswith(("pymongo", "motor"))]


async def test_the_lock_of_a_dead_migration_expires(empty_database: DatabaseTarget) -> None:
    async with migrations.locked(empty_database, lock_lease_s=0.3) as dead:
        await dead.run(
            '{"update": "peekaping_producer_lock", "updates": [{"q": {}, "u": {"$set": {"owner": "dead"}}}]}'
        )
        died_at = time.monotonic()
    async with migrations.locked(empty_database):  # waits until the other one's time is over
        assert time.monotonic() - died_at > 0.2


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


async def _answers(store: MongoStore) -> bool:
    try:
        await store.ping()
    except StoreUnavailableError:
        return False
    return True


@limited(stream_bytes=250_000, batch_bytes=100_000, large_rows_bytes=350_000)
async def test_a_batch_of_large_documents_is_read_in_several_loads(database: MongoDatabase, store: MongoStore) -> None:
    large, small = [document(config="x" * 100_000) for _ in range(5)], [document() for _ in range(3)]
    await database.insert_documents("monitor", *large, *small)
    async with store.session() as session:
        loaded = await session.load([str(row["_id"]) for row in large + small])
    assert loaded.monitors.keys() >= {str(row["_id"]) for row in small}
    assert len(loaded.monitors) == 3 + 3
    assert loaded.waiting.keys() == {str(row["_id"]) for row in large} - loaded.monitors.keys()
