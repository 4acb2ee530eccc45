"""Servers that the bench and the tests are given: nothing is deleted that was there before, unless asked."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from redis.asyncio import Redis

from bench import __main__ as bench_main
from bench.harness import BenchHarness
from bench.servers import servers
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.targets import DatabaseTarget
from tests.kit.databases import Database, SqlDatabase, SqliteDatabase
from tests.kit.given import NotEmptyError, borrowed, require_empty, require_empty_server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A database with data that is no business of this program."""
    path = tmp_path / "orders.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute("INSERT INTO orders VALUES (1)")
    connection.close()
    return path


def tables(path: Path) -> dict[str, int]:
    """How many rows each table holds."""
    with sqlite3.connect(path) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    connection.close()
    return found


def give(monkeypatch: pytest.MonkeyPatch, redis: RedisServer, database: Path, prefix: str = "BENCH_") -> None:
    monkeypatch.setenv(f"{prefix}REDIS_URL", redis.url)
    monkeypatch.setenv(f"{prefix}DATABASE_URL", f"sqlite:///{database}")


async def test_the_bench_does_not_use_the_servers_of_the_product(
    private_redis: RedisServer, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, private_redis, orders, prefix="")
    async with Redis.from_url(private_redis.url) as redis:
        await redis.set("a", 1)
        async with servers("sqlite") as (environment, database):
            assert "REDIS_URL" not in environment
            assert environment["REDIS_PORT"] != str(private_redis.port)
            assert database.name != str(orders)
        assert await redis.get("a") == b"1"
    assert tables(orders) == {"orders": 1}


async def test_the_bench_refuses_a_redis_that_holds_keys(
    private_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, private_redis, tmp_path / "empty.db")
    async with Redis.from_url(private_redis.url) as redis:
        await redis.set("a", 1)
        with pytest.raises(SystemExit, match=r"^BENCH_REDIS_URL: expected an empty .*, got 1 key.*--flush-given-serv"):
            async with servers("sqlite"):
                pass
        assert await redis.get("a") == b"1"


async def test_the_bench_refuses_a_database_that_holds_rows_and_makes_no_tables_in_it(
    private_redis: RedisServer, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, private_redis, orders)
    with pytest.raises(SystemExit, match=r'^BENCH_DATABASE_URL: expected nothing in .*, got rows in "orders"'):
        async with servers("sqlite"):
            pass
    assert tables(orders) == {"orders": 1}


async def test_an_empty_server_is_used_and_left_empty(
    private_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "empty.db"
    give(monkeypatch, private_redis, path)
    for _ in range(2):
        async with servers("sqlite") as (environment, database), Redis.from_url(environment["REDIS_URL"]) as redis:
            await redis.set("a", 1)
            writer = SqliteDatabase(database)
            await writer.insert("monitors", writer.monitor())
            await writer.close()
    async with Redis.from_url(private_redis.url) as redis:
        assert await redis.dbsize() == 0
    assert tables(path)["monitors"] == 0


async def test_what_is_there_is_deleted_where_that_is_asked_for(
    private_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "full.db"
    give(monkeypatch, private_redis, path)
    async with Redis.from_url(private_redis.url) as redis:
        async with servers("sqlite") as (_, database):
            pass
        writer = SqliteDatabase(database)
        await writer.insert("monitors", writer.monitor())
        await writer.close()
        await redis.set("a", 1)
        async with servers("sqlite", flush_given_servers=True):
            assert await redis.dbsize() == 0
            assert tables(path)["monitors"] == 0


def test_the_command_line_asks_for_that_only_by_its_own_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for words in ([], ["--flush-given-servers"]):
        monkeypatch.setattr("sys.argv", ["bench", *words])
        asked.append(bench_main._arguments().flush_given_servers)
    assert asked == [False, True]


@pytest.mark.parametrize("name", ["BENCH_REDIS_URL", "BENCH_DATABASE_URL"])
async def test_one_given_server_without_the_other_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    with pytest.raises(SystemExit, match=f"^{name}: requires BENCH_"):
        async with servers("sqlite"):
            pass


async def test_a_wrong_url_is_named_by_its_own_name(
    private_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, private_redis, tmp_path / "x.db")
    with pytest.raises(SystemExit, match=r"^BENCH_DATABASE_URL: expected postgres as in --store, got sqlite"):
        async with servers("postgres"):
            pass
    monkeypatch.setenv("BENCH_DATABASE_URL", "oracle://u:hunter2@h/n")
    with pytest.raises(SystemExit, match=r"^BENCH_DATABASE_URL: ") as refused:
        async with servers("sqlite"):
            pass
    assert "hunter2" not in str(refused.value)


async def test_a_replica_of_the_bench_reads_no_dotenv_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the checkout may name servers in production."""
    started: list[dict[str, Any]] = []

    def start(_argv: object, **options: Any) -> MagicMock:
        started.append(options)
        return MagicMock()

    monkeypatch.setattr("tests.kit.replicas.subprocess.Popen", start)
    here = BenchHarness({"REDIS_URL": "redis://127.0.0.1:1/0"}, DatabaseTarget(dialect="sqlite", name="unused"))
    async with here.replicas():
        pass
    folder = started[0]["cwd"]
    assert folder != ROOT
    assert not (folder / ".env").exists()
    assert started[0]["env"]["PYTHONPATH"] == str(ROOT)
    await here.redis.aclose()


def test_tests_do_not_see_the_servers_of_the_product() -> None:
    named = {"REDIS_URL": "redis://h", "DATABASE_URL_FILE": "/x", "DB_HOST": "h", "TEST_REDIS_URL": "redis://t"}
    seen = "import os, tests.conftest; print([name for name in os.environ if 'REDIS' in name or 'D' == name[0]])"
    argv = [sys.executable, "-c", seen]
    done = subprocess.run(argv, cwd=ROOT, env={"PATH": "/", **named}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['TEST_REDIS_URL']"


async def test_every_database_tells_what_it_holds_and_is_cleared(database: Database, redis: Redis) -> None:
    await require_empty("R", redis, "D", database.target, "")  # the tables alone are no reason to refuse
    monitor = database.monitor()
    await database.insert("monitors", monitor)
    await database.insert("heartbeats", database.heartbeat(monitor))
    with pytest.raises(NotEmptyError, match=r"^D: .* got rows in .*heartbeat.*, rows in .*monitor.*\. Remedy\.$"):
        await require_empty("R", redis, "D", database.target, "Remedy.")
    await database.clear()
    assert await database.filled() == []


async def test_a_table_of_somebody_else_counts(database: Database, redis: Redis) -> None:
    if isinstance(database, SqlDatabase):
        await database.execute("CREATE TABLE orders (number integer)")
        await database.execute("INSERT INTO orders VALUES (1)")
    else:
        await database.insert("orders", {"number": 1})
    with pytest.raises(NotEmptyError, match="orders"):
        await require_empty("R", redis, "D", database.target, "")


def test_tests_drop_their_database_and_refuse_one_that_was_there(orders: Path) -> None:
    dropped: list[Path] = []

    async def drop() -> None:
        dropped.append(orders)

    target = DatabaseTarget(dialect="sqlite", name=str(orders))
    with pytest.raises(NotEmptyError, match=r"^POSTGRES_URL: "), borrowed("POSTGRES_URL", target, drop):
        pass
    assert dropped == []
    with borrowed("POSTGRES_URL", DatabaseTarget(dialect="sqlite", name=str(orders.parent / "new.db")), drop):
        assert dropped == []
    assert dropped == [orders]


async def test_tests_refuse_a_redis_with_keys_in_any_database(private_redis: RedisServer) -> None:
    async with Redis.from_url(private_redis.url) as first, Redis.from_url(f"{private_redis.url[:-1]}7") as eighth:
        await require_empty_server("TEST_REDIS_URL", first)
        await eighth.set("a", 1)
        with pytest.raises(NotEmptyError, match=r"^TEST_REDIS_URL: expected a Redis without keys, got 1 key in db7"):
            await require_empty_server("TEST_REDIS_URL", first)
