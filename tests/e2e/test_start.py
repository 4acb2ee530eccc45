"""The start of a replica: what it waits for, what it refuses, and how it ends without success."""

import asyncio
import json
import re
import signal
import socket
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import ProducerError, RedisUnusableError, UnreachableError
from peekaping_producer.migrate import migrate
from peekaping_producer.producer import replica as producer_replica
from peekaping_producer.producer.wiring import build
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.asynq_peer import task_key
from tests.kit.databases import SqlDatabase, sqlite_target
from tests.kit.fake_redis import fake_redis, hello, info
from tests.kit.postgres import PostgresServer
from tests.kit.processes import HOST, free_port
from tests.kit.replicas import RUN, ReplicaProcess, environment, replicas
from tests.kit.settings_loading import load
from tests.kit.waiting import until

SECRET = "h0rse-battery"


async def ended(replica: ReplicaProcess, *, within_s: float = 120.0) -> tuple[int, str]:
    """Its exit code and all that it printed. A dozen that start together take their time on two cores."""
    await until(lambda: not replica.runs, "the replica ends", within_s=within_s)
    text = replica.log_file.read_text()
    assert "Traceback" not in text, text
    return replica.process.returncode, text


def logged(replica: ReplicaProcess) -> list[str]:
    """The events so far, without the last line of a command that failed, which is no log line."""
    lines = replica.log_file.read_text().split("\n")[:-1]
    return [line.split('"event": "')[1].split('"')[0] for line in lines if '"event": "' in line]


def last_words(text: str) -> str:
    """The one line that says why; the others are log lines."""
    (words,) = [line for line in text.splitlines() if line.startswith("peekaping-producer: ")]
    return words


@pytest.fixture
async def sqlite(tmp_path: Path) -> DatabaseTarget:
    target = sqlite_target(tmp_path)
    await migrate(target)
    return target


@pytest.fixture
def nowhere(postgres_server: DatabaseTarget) -> DatabaseTarget:
    """A database whose server is not there."""
    return msgspec.structs.replace(postgres_server, host=HOST, port=free_port(), password=SECRET)


async def test_a_server_that_is_not_reached_in_time_ends_with_3_and_a_clear_line(
    private_redis: RedisServer, sqlite: DatabaseTarget, nowhere: DatabaseTarget, tmp_path: Path
) -> None:
    port = free_port()
    environments = {
        f"postgres://{HOST}:{nowhere.port}": environment(private_redis.port, nowhere, STARTUP_TIMEOUT="2"),
        f"redis://{HOST}:{port}/0": environment(port, sqlite, STARTUP_TIMEOUT="2", REDIS_PASSWORD=SECRET),
    }
    started_at = time.monotonic()
    with replicas(tmp_path, *environments.values()) as running:
        results = await asyncio.gather(*map(ended, running))
    assert time.monotonic() - started_at >= 2
    for replica, where, (code, text) in zip(running, environments, results, strict=True):
        assert code == 3
        assert where in last_words(text)
        assert "given up after STARTUP_TIMEOUT=2 s" in last_words(text)
        assert logged(replica).count("producer.waiting") == 1
        assert SECRET not in text


async def test_an_error_that_waiting_cannot_repair_ends_at_once(
    private_redis: RedisServer, sqlite: DatabaseTarget, postgres_database: DatabaseTarget, tmp_path: Path
) -> None:
    """Each would otherwise try for a minute."""
    wrong = msgspec.structs.replace(postgres_database, password=SECRET)
    unknown = msgspec.structs.replace(postgres_database, name="no_such_database")
    bare = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "bare.db"))
    sqlite3.connect(bare.name).close()
    old = {"INFO": info(redis_version="6.0.16", redis_mode="standalone")}
    async with (
        embedded.redis_server(args=("--requirepass", "another", "--databases", "1")) as closed,
        fake_redis(old) as outdated,
        fake_redis(dict.fromkeys(("CLIENT", "HELLO"), PROTECTED)) as protected,
        fake_redis({"CLIENT": b"HTTP/1.1 400 Bad Request\r\n\r\n"}) as web,
    ):
        port, single = closed.port, {"REDIS_PASSWORD": "another", "REDIS_DB": "3"}
        cases = [
            (environment(protected.port, sqlite), 1, "refuses connections from this host: DENIED Redis is running"),
            (environment(port, sqlite, **single), 1, "no such database (REDIS_DB): DB index is out of range"),
            (environment(port, sqlite, REDIS_TLS="true"), 1, "REDIS_TLS: expected false, got true"),
            (environment(web.port, sqlite), 1, "expected a Redis server, got the reply"),
            (environment(private_redis.port, wrong), 1, 'password authentication failed for user "peekaping"'),
            (environment(private_redis.port, unknown), 1, '"no_such_database" does not exist'),
            (environment(private_redis.port, postgres_database), 1, "run the API server's migrations, or `"),
            (environment(private_redis.port, bare), 1, "run the API server's migrations, or `"),
            (environment(closed.port, sqlite, REDIS_PASSWORD=SECRET), 1, "(REDIS_USERNAME, REDIS_PASSWORD)"),
            (environment(closed.port, sqlite), 1, "(REDIS_USERNAME, REDIS_PASSWORD)"),
            (environment(outdated.port, sqlite), 1, "expected version 6.2 or newer, got 6.0.16"),
            (environment(private_redis.port, sqlite, DB_TYPE="oracle"), 2, "case-insensitive, got 'oracle'"),
            (environment(private_redis.port, sqlite, DB_TYPE="oracle", **PARTS), 2, "case-insensitive, got 'oracle'"),
        ]
        with replicas(tmp_path, *(env for env, _, _ in cases)) as running:
            results = await asyncio.gather(*map(ended, running))
    for (_, expected_code, words), (code, text) in zip(cases, results, strict=True):
        assert (code, words in last_words(text)) == (expected_code, True), text
        assert "producer.waiting" not in text
        assert SECRET not in text
        assert "unset" not in text, "only the first sentence"


PROTECTED = b"-DENIED Redis is running in protected mode because it has no password. To change that, unset it.\r\n"
PARTS = {"DB_HOST": "db", "DB_PORT": "1", "DB_USER": "u", "DB_PASS": SECRET}


async def test_servers_that_come_late_are_waited_for(
    private_postgres: PostgresServer, sqlite: DatabaseTarget, private_redis: RedisServer, tmp_path: Path
) -> None:
    await migrate(private_postgres.target)
    private_postgres.stop()
    late_port = free_port()
    late = RedisServer(tmp_path, port=late_port)
    environments = environment(private_redis.port, private_postgres.target), environment(late_port, sqlite)
    with replicas(tmp_path, *environments) as running:
        for replica in running:
            await until(lambda replica=replica: "producer.waiting" in logged(replica))
            assert "producer.started" not in logged(replica)
        private_postgres.start()
        await late.start()
        try:
            for replica in running:
                await until(lambda replica=replica: "producer.started" in logged(replica))
                assert logged(replica).count("producer.reached") == 1
                assert replica.terminate() == 0
        finally:
            await late.stop()


@pytest.mark.parametrize(("how", "expected"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
async def test_a_stop_while_it_still_waits_is_clean_and_quick(
    private_redis: RedisServer,
    sqlite: DatabaseTarget,
    nowhere: DatabaseTarget,
    tmp_path: Path,
    how: signal.Signals,
    expected: int,
) -> None:
    environments = environment(private_redis.port, nowhere), environment(free_port(), sqlite)
    with replicas(tmp_path, *environments) as running:
        for replica in running:
            await until(lambda replica=replica: "producer.waiting" in logged(replica))
        for replica in running:
            replica.process.send_signal(how)
        for replica in running:
            code, _ = await ended(replica, within_s=30)  # STARTUP_TIMEOUT is 60 s
            assert code == expected
            assert logged(replica)[-2:] == ["producer.stopping", "producer.stopped"]
            assert replica.lines()[-1]["message"] == "Producer stopped gracefully"


async def test_an_attempt_that_fails_after_the_stop_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[asyncio.Future[str]] = []

    def check(*_: object) -> asyncio.Future[str]:
        attempts.append(asyncio.get_running_loop().create_future())
        return attempts[-1]

    monkeypatch.setattr(producer_replica, "check_server", check)
    replica = build(load(DB_TYPE="sqlite", DB_NAME="x.db", METRICS_ADDR="off"))
    with capture_logs() as lines:
        running = asyncio.create_task(replica.run())
        await until(lambda: bool(attempts))
        attempts[0].set_exception(UnreachableError("refused"))
        replica.stop()
        await running
    assert [line["event"] for line in lines] == ["producer.stopping", "producer.stopped"]


@pytest.mark.parametrize("hows", [[signal.SIGHUP], [signal.SIGHUP, signal.SIGHUP], [signal.SIGTERM, signal.SIGHUP]])
async def test_a_terminal_that_closes_stops_a_replica_in_order(
    private_redis: RedisServer, sqlite: DatabaseTarget, tmp_path: Path, hows: list[signal.Signals]
) -> None:
    with replicas(tmp_path, environment(private_redis.port, sqlite)) as (replica,):
        await until(lambda: "producer.started" in logged(replica))
        for how in hows:
            replica.process.send_signal(how)
        code, _ = await ended(replica)
        assert (code, logged(replica)[-1]) == (0, "producer.stopped")
        assert "producer.drained" in logged(replica)


async def test_a_replica_under_nohup_outlives_its_terminal(
    private_redis: RedisServer, sqlite: DatabaseTarget, tmp_path: Path
) -> None:
    with replicas(tmp_path) as running:
        running.append(
            replica := ReplicaProcess(tmp_path, environment(private_redis.port, sqlite), argv=["nohup", *RUN])
        )
        await until(lambda: "producer.started" in logged(replica))
        replica.process.send_signal(signal.SIGHUP)
        replica.process.send_signal(signal.SIGTERM)
        code, _ = await ended(replica)
        assert (code, logged(replica).count("producer.aborted")) == (0, 0)


async def test_an_eviction_policy_draws_a_warning(
    private_redis: RedisServer, sqlite: DatabaseTarget, tmp_path: Path
) -> None:
    async with embedded.redis_server(args=("--maxmemory-policy", "allkeys-lru")) as evicting:
        environments = environment(private_redis.port, sqlite), environment(evicting.port, sqlite)
        with replicas(tmp_path, *environments) as running:
            for replica in running:
                await until(lambda replica=replica: "producer.started" in logged(replica))
                assert replica.terminate() == 0
            assert "redis.eviction_enabled" not in logged(running[0])
            (warning,) = running[1].lines("redis.eviction_enabled")
            assert (warning["level"], warning["policy"]) == ("warning", "allkeys-lru")


async def test_a_reason_to_wait_is_logged_once(sqlite: DatabaseTarget, tmp_path: Path) -> None:
    with replicas(tmp_path, environment(free_port(), sqlite, STARTUP_TIMEOUT="2")) as (replica,):
        code, text = await ended(replica)
    lines = map(json.loads, text.splitlines()[:-1])
    messages = [str(line["message"]) for line in lines if line["event"] == "producer.waiting"]
    assert code == 3
    assert len(messages) == 1
    assert "refused" in messages[0]
    assert "refused" in last_words(text)


def _degraded(replica: ReplicaProcess) -> list[dict[str, object]]:
    return [line for line in replica.lines("condition.raised") if line["code"] == "database_degraded"]


async def test_a_locked_side_table_does_not_prevent_the_start(
    private_redis: RedisServer, server: Redis, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    monitor = postgres_only.monitor()
    await postgres_only.insert("monitors", monitor)
    environ = environment(private_redis.port, postgres_only.target, STARTUP_TIMEOUT="20")

    async def enqueued(id_: str) -> bool:
        return bool(await server.exists(task_key(id_)))

    async with databases.connected(postgres_only.target) as other:
        assert isinstance(other, SqlDatabase)
        await other.execute("BEGIN")
        await other.execute("LOCK TABLE heartbeats, proxies IN ACCESS EXCLUSIVE MODE")
        with replicas(tmp_path, environ) as (replica,):
            await until(lambda: enqueued(monitor["id"]))
            await until(lambda: bool(_degraded(replica)))
            (line,) = _degraded(replica)
            assert "no answer in time" in str(line["message"])
        await other.execute("ROLLBACK")


async def test_a_metrics_port_that_is_taken(private_redis: RedisServer, sqlite: DatabaseTarget, tmp_path: Path) -> None:
    """The one asked for: bad configuration. The default one: another replica's, most likely, so only a warning."""
    with socket.socket() as ours, socket.socket() as default:
        ours.bind((HOST, 0))
        ours.listen()
        take(default, 9464)
        asked = f"{HOST}:{ours.getsockname()[1]}"
        by_default = environment(private_redis.port, sqlite)
        del by_default["METRICS_ADDR"]
        with replicas(tmp_path, by_default | {"METRICS_ADDR": asked}, by_default) as running:
            code, text = await ended(running[0])
            assert code == 2
            assert f"METRICS_ADDR: expected a free host:port, or off, got {asked}, which is in use" in last_words(text)
            await until(lambda: "producer.started" in logged(running[1]))
            (warning,) = running[1].lines("health.no_port")
            assert warning["level"] == "warning"
            assert "127.0.0.1:9464, which is in use" in str(warning["message"])
            assert running[1].terminate() == 0


def take(taker: socket.socket, port: int) -> None:
    """Listen there, unless another process does."""
    with suppress(OSError):
        taker.bind((HOST, port))
        taker.listen()


async def refusal(replies: dict[str, bytes | None]) -> ProducerError:
    """What check_server raises for a server that answers like this."""
    async with fake_redis(replies) as target, redis_for(target, connections=1) as redis:
        with pytest.raises(ProducerError, match=re.escape(str(target))) as caught:
            await check_server(redis, target)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"redis_version": "6.0.16", "redis_mode": "standalone"}, "expected version 6.2 or newer, got 6.0.16"),
        ({"redis_version": "5.0", "redis_mode": "standalone"}, "6.2 or newer, got 5.0"),
        ({"redis_version": "7.4.1", "redis_mode": "cluster"}, "expected a single server, got a cluster"),
        ({}, "6.2 or newer, got ?"),
    ],
)
async def test_a_server_that_cannot_serve_is_refused(fields: dict[str, str], words: str) -> None:
    error = await refusal({"INFO": info(**fields)})
    assert isinstance(error, RedisUnusableError)
    assert words in str(error)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-ERR max number of clients reached\r\n", UnreachableError),
        (b"-BUSY Redis is busy running a script.\r\n", UnreachableError),
        (b"-CLUSTERDOWN The cluster is down\r\n", UnreachableError),
        (b"-DENIED Redis is running in protected mode.\r\n", RedisUnusableError),
        (b"-MOVED 1 127.0.0.1:7000\r\n", RedisUnusableError),
        (b"-MOVED\r\n", RedisUnusableError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", RedisUnusableError),
        (b"-LOADING Redis is loading the dataset in memory\r\n", UnreachableError),
        (b"-MASTERDOWN Link with MASTER is down\r\n", UnreachableError),
        (b"-NOAUTH Authentication required.\r\n", RedisUnusableError),
        (None, UnreachableError),
    ],
)
async def test_a_temporary_error_is_waited_for_and_a_permanent_one_is_refused(
    reply: bytes | None, kind: type[ProducerError]
) -> None:
    assert type(await refusal({"INFO": reply})) is kind


@pytest.mark.parametrize(
    "reply", [b"-NOPERM User u has no permissions to run the 'info' command\r\n", b"-ERR unknown command 'INFO'\r\n"]
)
async def test_a_server_that_hides_its_version_is_accepted(reply: bytes) -> None:
    async with fake_redis({"INFO": reply}) as target, redis_for(target, connections=1) as redis:
        assert await check_server(redis, target) == "unknown"


@pytest.mark.parametrize(("mode", "words"), [("cluster", "got a cluster"), ("sentinel", "REDIS_SENTINELS")])
async def test_the_reply_to_hello_is_enough(mode: str, words: str) -> None:
    forbidden = b"-NOPERM User u has no permissions\r\n"
    error = await refusal({"HELLO": hello("7.2.0", mode), "INFO": forbidden})
    assert isinstance(error, RedisUnusableError)
    assert words in str(error)
    async with (
        fake_redis({"HELLO": hello("7.2.0"), "INFO": forbidden}) as target,
        redis_for(target, connections=1) as redis,
    ):
        assert await check_server(redis, target) == "7.2.0"


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "8.0-rc1", "10.1"])
async def test_the_version_of_a_suitable_server_is_returned(version: str) -> None:
    reply = info(redis_version=version, redis_mode="standalone")
    async with fake_redis({"INFO": reply}) as target, redis_for(target, connections=1) as redis:
        assert await check_server(redis, target) == version
