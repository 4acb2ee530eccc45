"""`doctor`: each finding about the database, in a state that the test makes, on every kind of database."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from peekaping_producer.migrate import migrate
from peekaping_producer.operations import answering
from peekaping_producer.operations.doctor import database_group
from peekaping_producer.operations.doctor.codes import Finding, Level
from peekaping_producer.stores import Session
from peekaping_producer.stores.catalogue import TABLES, Catalogue
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo_catalogue import writable_by as writable_in_mongo
from peekaping_producer.stores.mysql import writable_by
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases, mysql, postgres
from tests.kit.databases import Database, SqlDatabase
from tests.kit.fake_redis import mute_server
from tests.kit.fault_proxy import fault_proxy
from tests.kit.mongo import MongoDatabase
from tests.kit.processes import free_port

OK = {"database.tables", "database.server", "database.version", "database.indexes", "database.windows"}
PRODUCTS = {"postgres": "Postgres 1", "mysql": ("MySQL", "1"), "sqlite": "SQLite 3", "mongo": "MongoDB "}
RIGHTS = {"database.read_only", "database.may_write", "database.rights_unknown"}
HOSTILE = "*/5 * * *\x1b[31m\u202e"


@pytest.fixture(autouse=True)
def no_answer_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine is at the moment is no finding of these tests."""
    monkeypatch.setattr(database_group, "SLOW_S", 60.0)


async def examined(target: DatabaseTarget) -> dict[str, Finding]:
    """The findings by code; of several with one code, the last."""
    findings = await listed(target)
    return {found.code: found for found in findings}


async def listed(target: DatabaseTarget) -> list[Finding]:
    findings = await database_group.examine(target, "UTC")
    assert all(found.text.isprintable() and found.text.endswith(".") for found in findings), findings
    return findings


async def test_a_healthy_database(database: Database) -> None:
    await database.insert("monitors", database.monitor())
    before = await database.schema()
    found = await examined(database.target)
    assert found.keys() - RIGHTS == OK
    assert {found[code].level for code in OK} == {Level.OK}
    assert found["database.version"].text.startswith(PRODUCTS[database.target.dialect])
    assert str(database.target) in found["database.server"].text
    assert len(found.keys() & RIGHTS) == 1
    assert await database.schema() == before, "it writes nothing"


async def test_no_active_monitor(database: Database) -> None:
    await database.insert("monitors", database.monitor(active=False))
    assert (await examined(database.target))["database.empty"].level is Level.NOTE


async def test_a_missing_index(database: Database) -> None:
    match database:
        case MongoDatabase():
            await asyncio.to_thread(database._database["heartbeat"].drop_index, "monitor_id_1_time_-1")
        case SqlDatabase(target=DatabaseTarget(dialect=dialect)):
            for name in ("idx_heartbeats_monitor_time", "idx_heartbeats_monitor_time_important"):
                await database.execute(f"DROP INDEX {name}" + (" ON heartbeats" if dialect == "mysql" else ""))
    found = await examined(database.target)
    assert "database.indexes" not in found
    assert found["database.index_missing"].text.startswith(
        "No index begins with the columns heartbeats (monitor_id, time)"
    )


async def test_a_missing_table(database: Database) -> None:
    await database.rename("monitors", "gone")
    found = await examined(database.target)
    assert found.keys() == {"database.refused"}
    assert "monitor" in found["database.refused"].text
    await database.rename("gone", "monitors")


@pytest.mark.parametrize("empty_database", ["postgres", "mysql", "sqlite"], indirect=True)
async def test_a_missing_column(database: SqlDatabase) -> None:
    await database.execute("ALTER TABLE maintenances DROP COLUMN duration")
    found = await examined(database.target)
    assert found.keys() == {"database.refused"}
    assert "duration" in found["database.refused"].text


async def test_windows_are_evaluated_as_tasks_are_built(database: Database) -> None:
    cron = {"strategy": "cron", "duration": 30}
    times = {"start_date_time": "2020-01-01T00:00", "end_date_time": "2099-01-01T00:00"}
    await database.insert(
        "maintenances",
        database.window(timezone="Europe/Oslo", cron="0 3 * * *", **cron, **times),
        database.window(timezone="Europe/Atlantis", cron="0 3 * * *", **cron, **times),
        database.window(timezone=None, cron=HOSTILE, **cron, **times),
        database.window(active=False, cron="broken", timezone="nowhere"),
    )
    broken = [found for found in await listed(database.target) if found.code == "database.window_broken"]
    assert len(broken) == 2
    texts = "\n".join(sorted(found.text for found in broken))
    assert "'Europe/Atlantis'; UTC is used" in texts
    assert "expected 5 fields" in texts or "expected" in texts
    assert "\x1b" not in texts


async def test_windows_that_work_are_counted(database: Database) -> None:
    zones = ("Europe/Oslo", "Europe/Oslo", "Asia/Kathmandu")
    await database.insert("maintenances", *(database.window(timezone=zone) for zone in zones))
    text = (await examined(database.target))["database.windows"].text
    assert text == "3 active maintenance windows in 2 time zones: all can be evaluated."


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
async def test_of_many_broken_windows_a_few_are_named(database: Database) -> None:
    await database.insert("maintenances", *(database.window(timezone=f"No/Where{n}") for n in range(9)))
    broken = [found for found in await listed(database.target) if found.code == "database.window_broken"]
    assert len(broken) == 6
    assert broken[-1].text == "4 more problems of 9 active maintenance windows."


@pytest.mark.parametrize("empty_database", ["postgres"], indirect=True)
async def test_a_locked_table(database: SqlDatabase) -> None:
    async with databases.locked_table(database.target, "heartbeats"):
        found = await examined(database.target)
    assert found["database.degraded"].level is Level.NOTE
    assert "heartbeats" in found["database.degraded"].text
    assert "database.server" in found, "the other checks run"


@pytest.mark.parametrize("empty_database", ["postgres"], indirect=True)
async def test_a_locked_table_of_monitors(database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and port are right: the finding names the read."""
    monkeypatch.setattr(database_group, "_LIMITS", Limits(open_table_s=0.5))
    async with databases.locked_table(database.target, "monitors"):
        found = await examined(database.target)
    assert found.keys() == {"database.reads_time_out"}
    text = found["database.reads_time_out"].text
    assert text.startswith("monitors: ")
    assert "no answer in time, although connected: look for a lock or a long transaction" in text


async def test_a_slow_answer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_group, "SLOW_S", 0.0)
    assert "returns a monitor in" in (await examined(database.target))["database.slow"].text


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "mongo"])
async def test_a_server_that_is_away_or_hangs(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_group, "_LIMITS", Limits(acquire_s=0.5, command_s=0.5))
    target = DatabaseTarget(dialect=dialect, host="127.0.0.1", port=free_port(), name="n", user="u", password="s3cret")
    async with mute_server() as (port, _), asyncio.timeout(40):
        for one in (target, msgspec.structs.replace(target, port=port)):
            found = await examined(one)
            assert found.keys() == {"database.unreachable"}
            assert "s3cret" not in found["database.unreachable"].text


async def test_a_server_that_never_answers_is_given_up(
    postgres_database: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that does not keep to its own limits."""
    monkeypatch.setattr(answering, "ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr(database_group, "_LIMITS", Limits(acquire_s=100))
    async with mute_server() as (port, _), asyncio.timeout(30):
        found = await examined(msgspec.structs.replace(postgres_database, port=port))
    assert found["database.unreachable"].text.endswith(": the database did not answer within 0.3 s.")


@pytest.mark.parametrize("empty_database", ["postgres", "mysql", "mongo"], indirect=True)
async def test_a_server_that_hangs_after_the_first_check(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_group, "_LIMITS", Limits(acquire_s=10.0, command_s=2.0, answer_s=0.1))
    assert database.target.port
    async with fault_proxy(database.target.port) as proxy, asyncio.timeout(40):
        answer = database_group._answer

        async def hang(session: Session, target: DatabaseTarget) -> Iterable[Finding]:
            proxy.hold_replies()
            return await answer(session, target)

        monkeypatch.setattr(database_group, "_answer", hang)
        found = await examined(msgspec.structs.replace(database.target, port=proxy.port))
    assert found.keys() == {"database.tables", "database.unreachable"}
    assert found["database.unreachable"].text.startswith("answer: ")


async def test_users_of_postgres(postgres_database: DatabaseTarget, postgres_server: DatabaseTarget) -> None:
    await migrate(postgres_database)
    assert "monitors" in (await examined(postgres_database))["database.may_write"].text
    await postgres.execute(postgres_database, "DROP ROLE IF EXISTS peekaping_tests_reader")
    await postgres.execute(postgres_database, "CREATE ROLE peekaping_tests_reader LOGIN PASSWORD 'pw'")
    try:
        for right in ("USAGE ON SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA public"):
            await postgres.execute(postgres_database, f"GRANT {right} TO peekaping_tests_reader")
        reader = msgspec.structs.replace(postgres_database, user="peekaping_tests_reader", password="pw")
        assert "database.read_only" in await examined(reader)
        await postgres.execute(postgres_database, "GRANT DELETE ON proxies TO peekaping_tests_reader")
        assert (await examined(reader))["database.may_write"].text == "The user may write to proxies."
        await postgres.execute(postgres_database, "REVOKE SELECT ON monitors FROM peekaping_tests_reader")
        assert "permission denied" in (await examined(reader))["database.refused"].text
    finally:
        await postgres.execute(postgres_database, "DROP OWNED BY peekaping_tests_reader")
        await postgres.execute(postgres_database, "DROP ROLE peekaping_tests_reader")


async def test_users_of_mysql(mysql_database: DatabaseTarget) -> None:
    await migrate(mysql_database)
    assert "monitors" in (await examined(mysql_database))["database.may_write"].text
    user, schema = "peekaping_tests_reader", mysql_database.name
    await mysql.execute(mysql_database, f"CREATE OR REPLACE USER {user} IDENTIFIED BY 'pw'")
    try:
        await mysql.execute(mysql_database, f"GRANT SELECT ON {schema}.* TO {user}")
        reader = msgspec.structs.replace(mysql_database, user=user, password="pw")
        assert "database.read_only" in await examined(reader)
        await mysql.execute(mysql_database, f"GRANT UPDATE ON {schema}.proxies TO {user}")
        assert (await examined(reader))["database.may_write"].text == "The user may write to proxies."
    finally:
        await mysql.execute(mysql_database, f"DROP USER {user}")


@pytest.mark.parametrize(
    ("grants", "writable"),
    [
        (["GRANT USAGE ON *.* TO `u`@`%`", "GRANT SELECT ON `db`.* TO `u`@`%`"], ()),
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION"], TABLES),
        (["GRANT SELECT, INSERT, UPDATE ON `d\\_b`.* TO `u`@`%`"], ()),
        (["GRANT SELECT, INSERT, UPDATE ON `d\\_b`.`proxies` TO `u`@`%`"], ()),
        (["GRANT SELECT, INSERT ON `db`.`users` TO `u`@`%`"], ()),
        (["GRANT USAGE ON *.* TO `u`@`%`", "GRANT `reporting`@`%` TO `u`@`%`"], None),
        (["GRANT DELETE ON `db`.`monitors` TO `u`@`%`", "GRANT `reporting` TO `u`@`%`"], ("monitors",)),
    ],
)
def test_the_grants_of_a_user_of_mysql(grants: list[str], writable: tuple[str, ...] | None) -> None:
    assert writable_by(grants, "db") == writable
    assert writable_by(["GRANT INSERT ON `d\\_b`.* TO `u`@`%`"], "d_b") == TABLES


def test_the_privileges_of_a_user_of_mongodb() -> None:
    """As MongoDB 7 reports them; the server of the tests knows no users."""
    users = [{"user": "u", "db": "admin"}]

    def of(*actions: str, db: str = "n", collection: str = "") -> tuple[str, ...] | None:
        privilege = {"resource": {"db": db, "collection": collection}, "actions": list(actions)}
        return writable_in_mongo({"authenticatedUsers": users, "authenticatedUserPrivileges": [privilege]}, "n")

    assert of("find", "listIndexes", "listCollections") == ()
    assert of("find", "insert") == TABLES
    assert of("find", "insert", db="other") == ()
    assert of("remove", collection="heartbeat") == ("heartbeats",)
    assert of("update", db="") == TABLES
    assert writable_in_mongo({"authenticatedUsers": []}, "n") == TABLES
    assert writable_in_mongo({}, "n") is None
    assert writable_in_mongo({"authenticatedUsers": users}, "n") is None


async def test_a_file_of_sqlite_is_opened_to_be_read(tmp_path: Path) -> None:
    target = databases.sqlite_target(tmp_path)
    assert (await examined(target)).keys() == {"database.refused"}
    await migrate(target)
    assert "database.read_only" in await examined(target)


def test_what_a_server_does_not_report_is_unknown() -> None:
    unknown = Catalogue("MongoDB 7.0", None, None)
    (indexes,) = database_group._indexes(unknown)
    rights = database_group._rights(unknown, DatabaseTarget(dialect="mongo", name="n"))
    assert [(found.code, found.level) for found in (indexes, rights)] == [
        ("database.indexes_unknown", Level.NOTE),
        ("database.rights_unknown", Level.NOTE),
    ]
