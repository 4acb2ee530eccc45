"""The demo's parts that need no replica: what it counts, how it takes tasks, what it refuses."""

import asyncio
import json
import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import PENDING, TASK_ID_PREFIX, TASK_KEY_PREFIX, encode_message
from peekaping_producer.cli.main import main
from peekaping_producer.demo import environment, run_demo, runner
from peekaping_producer.demo import replica as replica_module
from peekaping_producer.demo.consumer import Consumer, payload_of
from peekaping_producer.demo.embedded import EmbeddedServerError, RedisServer
from peekaping_producer.demo.failover import Failover
from peekaping_producer.demo.ledger import Ledger, Result
from peekaping_producer.demo.replica import Replica, ReplicaDiedError
from peekaping_producer.demo.runner import _kill_at, _open_view
from peekaping_producer.demo.table import LiveTable
from peekaping_producer.demo.target import open_target
from peekaping_producer.demo.view import GuardedView, Lines, Snapshot, counted
from peekaping_producer.errors import ConfigError, UnreachableError
from peekaping_producer.monitors.monitor import Monitor
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.settings import Settings, load_settings
from tests.kit.sentinel import WatchedRedis
from tests.kit.waiting import until


def every_two_seconds(name: str = "a") -> Monitor:
    return Monitor(name, name, "http", 2, 1, 0, 2, 0, True, "{}")


def task_of(monitor: Monitor) -> HealthCheckTask:
    payload = {"monitor_id": monitor.id, "timeout": monitor.timeout, "config": monitor.config}
    return HealthCheckTask(monitor.id, monitor.interval, monitor.timeout, json.dumps(payload).encode())


async def enqueue(redis: Redis, monitor: Monitor, at_ms: int) -> None:
    task_id = TASK_ID_PREFIX + monitor.id
    fields: dict[str | bytes | bytearray | memoryview | int | float, str | bytes | bytearray | memoryview | int | float]
    fields = {"msg": encode_message(task_of(monitor)), "state": "pending", "pending_since": f"{at_ms}000000"}
    await redis.hset(TASK_KEY_PREFIX + task_id, mapping=fields)
    await redis.lpush(PENDING, task_id)


def test_the_first_hand_off_sets_the_rhythm_and_lateness_follows_from_it() -> None:
    ledger = Ledger([every_two_seconds()])
    for at_ms in (3_900, 4_005, 6_250):
        ledger.hand_off("a", at_ms)
    row = ledger.rows["a"]
    assert (row.tick_ms, row.late_ms, ledger.latest_ms) == (6_000, 250, 250)
    assert (ledger.handed_off, ledger.duplicated, ledger.lost(7_999, None)) == (3, 0, 0)


def test_a_second_hand_off_of_the_same_tick_is_duplicated() -> None:
    ledger = Ledger([every_two_seconds()])
    for at_ms in (4_005, 4_006, 5_999):
        ledger.hand_off("a", at_ms)
    assert ledger.duplicated == 2


def test_skipped_ticks_are_lost_and_a_late_one_is_not() -> None:
    ledger = Ledger([every_two_seconds()])
    ledger.hand_off("a", 4_000)
    ledger.hand_off("a", 10_500)  # for 6,000; 8,000 and 10,000 were skipped
    assert ledger.lost(10_500, None) == 2
    assert ledger.lost(10_500, (7_000, 9_000)) == 1
    assert ledger.lost(12_000, (7_000, 11_000)) == 1  # 12,000 itself was never served


def test_a_tick_that_passes_while_the_check_still_runs_is_not_lost() -> None:
    ledger = Ledger([every_two_seconds()])
    ledger.hand_off("a", 3_500)
    ledger.complete("a", Result(False, "timeout", 1000), 4_500)  # 4,000 passed meanwhile
    ledger.hand_off("a", 6_004)
    row = ledger.rows["a"]
    assert (row.tick_ms, row.late_ms, ledger.overlapped) == (6_000, 4, 1)
    ledger.complete("a", Result(True, "200", 2_500), 8_500)
    assert ledger.lost(8_500, None) == 0
    assert ledger.lost(10_000, None) == 1


def test_results_are_counted_by_kind_and_monitors_never_handed_off_are_named() -> None:
    ledger = Ledger([every_two_seconds("a"), every_two_seconds("b")])
    ledger.hand_off("a", 4_000)
    ledger.complete("a", Result(False, "timeout", 1000), 5_000)
    assert (ledger.completed, ledger.up, dict(ledger.results), ledger.never_handed_off()) == (
        1,
        0,
        {"timeout": 1},
        ["b"],
    )


def test_the_payload_is_found_in_a_real_message() -> None:
    line = (Path(__file__).parent.parent / "golden" / "tasks.jsonl").read_text().splitlines()[0]
    golden = json.loads(line)
    message = msgspec.json.decode(json.dumps(golden["task"]["msg_b64"]), type=bytes)
    assert payload_of(message) == golden["task"]["payload_text"].encode()


@pytest.mark.parametrize(
    ("name", "up", "kind"),
    [
        ("Shop", True, "200"),
        ("Status page", True, "keyword found"),
        ("Mail gateway", False, "refused"),
        ("Reports", False, "timeout"),
    ],
)
async def test_the_consumer_checks_completes_and_frees_the_id(redis: Redis, name: str, up: bool, kind: str) -> None:
    async with open_target() as monitors:
        monitor = next(monitor for monitor in monitors if monitor.name == name)
        ledger = Ledger(monitors)
        await enqueue(redis, monitor, 4_000)
        stop = asyncio.Event()
        stop.set()
        await Consumer(redis, ledger).run(stop)
    result = ledger.rows[monitor.id].result
    assert result
    assert (result.up, result.kind, ledger.rows[monitor.id].handed_off_ms) == (up, kind, 4_000)
    assert not await redis.exists(
        PENDING,
        "asynq:{healthcheck}:active",
        "asynq:{healthcheck}:lease",
        TASK_KEY_PREFIX + TASK_ID_PREFIX + monitor.id,
    )
    assert await redis.get("asynq:{healthcheck}:processed") == b"1"


async def test_every_third_answer_of_the_flaky_page_fails(redis: Redis) -> None:
    async with open_target() as monitors:
        flaky = next(monitor for monitor in monitors if monitor.name == "Search")
        ledger = Ledger(monitors)
        stop = asyncio.Event()
        stop.set()
        for at_ms in (2_000, 4_000, 6_000):
            await enqueue(redis, flaky, at_ms)
            await Consumer(redis, ledger).run(stop)
    assert dict(ledger.results) == {"200": 2, "500": 1}


@pytest.mark.parametrize(
    ("seconds", "kill_at"), [(5, None), (13.9, None), (14, 2), (16, 4), (18, 6), (30, 10), (60, 20)]
)
def test_the_leader_is_killed_after_a_third_of_the_time_if_possible(seconds: float, kill_at: float | None) -> None:
    assert _kill_at(seconds) == kill_at


def test_a_term_names_its_replica_by_its_pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica("replica 1", tmp_path, {})
    assert not replica.leads("host-77-1a2b/3c4d")
    monkeypatch.setattr(Replica, "pid", 77)
    assert replica.leads("my-77-host-77-1a2b/3c4d")
    assert not replica.leads("my-77-host-78-1a2b/3c4d")
    assert not replica.leads(None)


@pytest.mark.parametrize("seconds", [4, 0, -5, 86_401, float("inf"), float("nan")])
async def test_a_duration_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match=f"^--seconds: expected 5 to 86400, got {seconds:g}$"):
        await run_demo(seconds)


def without_a_binary() -> str:
    raise EmbeddedServerError("no Redis-compatible server found: pip install it")


def at(url: str) -> Settings:
    return Settings(redis_url=SecretStr(url))


async def open_only_redis(directory: Path, given: Settings | None) -> None:
    async with environment._redis_server(directory, given) as answer:
        assert answer is given


async def test_without_a_server_the_error_contains_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    with pytest.raises(EmbeddedServerError, match="pip install it; or set REDIS_URL"):
        await open_only_redis(tmp_path, None)


async def test_an_existing_redis_must_be_empty_and_is_left_empty(
    tmp_path: Path, private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    async with Redis.from_url(private_redis.url) as redis:
        async with environment._redis_server(tmp_path, at(private_redis.url)):
            await redis.set("peekaping:producer:leader", "x")
            await redis.set("asynq:queues", "x")
        assert await redis.dbsize() == 0
        await redis.set("another:program", 1)
        with pytest.raises(ConfigError, match=r"^REDIS_URL: expected an empty database, got 1 key$"):
            await open_only_redis(tmp_path, at(private_redis.url))
        assert await redis.dbsize() == 1


async def test_an_unreachable_redis_is_reported_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    with pytest.raises(UnreachableError) as caught:
        await open_only_redis(tmp_path, at("redis://:hunter2@127.0.0.1:1/0"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"REDIS_URL: expected redis://"):
        await open_only_redis(tmp_path, at("http://hunter2"))


async def test_both_replicas_get_the_settings_of_sentinel(
    tmp_path: Path, watched_redis: WatchedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis_for(watched_redis.target(), connections=1) as client:
        await client.flushdb()
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    given = load_settings({"redis"}, environ=watched_redis.settings, env_files=())
    async with environment.open_environment(given) as opened:
        for replica in opened.replicas:
            env = replica._settings
            assert {name: env[name] for name in watched_redis.settings} == watched_redis.settings

        async def a_replica_leads() -> bool:
            return await opened.redis.get(KEYS.leader) is not None

        await until(a_replica_leads, "a replica leads", within_s=30)


class StandIn(Replica):
    """A replica without a process: only its pid changes."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(name, Path(), {})
        self.now: int | None = pid

    @property
    def pid(self) -> int | None:
        return self.now

    def start(self) -> None:
        self.now = 99

    async def stop(self, *, kill: bool = False) -> None:
        assert kill
        self.now = None


async def test_the_leader_is_killed_once_and_comes_back_as_a_follower() -> None:
    first, second = StandIn("replica 1", 11), StandIn("replica 2", 22)
    announced: list[str] = []
    failover = Failover([first, second], announced.append, kill_at=4.0)
    of_first, of_second, of_its_return = ("host-11-a/b", "host-22-a/b", "host-99-a/b")
    await failover.step(3.9, 1_003_900, of_first)
    assert (first.pid, failover.killed_at_ms) == (11, None)
    await failover.step(4.1, 1_004_100, of_first)
    assert (first.pid, failover.killed_at_ms) == (None, 1_004_100)
    await failover.step(9.0, 1_009_000, of_first)  # the key of the killed leader has not expired
    assert failover.took_s is None
    await failover.step(10.1, 1_010_100, of_second)
    assert failover.took_s == pytest.approx(6.0)
    assert announced[-1] == "leader killed at 4.1 s → new leader replica 2 after 6.0 s"
    await failover.step(12.2, 1_012_200, of_second)
    assert first.pid == 99
    await failover.step(20.0, 1_020_000, of_its_return)
    assert (first.pid, second.pid, len(announced)) == (99, 22, 3)


async def test_a_replica_that_exits_ends_the_demo_with_its_last_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(replica_module, "RUN", (sys.executable, "-c", "print('a bad setting'); raise SystemExit(2)"))
    with pytest.raises(ReplicaDiedError, match=r"replica [12] exited with code 2: a bad setting"):
        await run_demo(5)
    assert os.listdir(tmp_path) == []


async def test_the_demo_ends_though_its_consumer_misses_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for may, before Python 3.12."""

    class IgnoresCancellation:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self, _stop: asyncio.Event) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            await asyncio.sleep(3600)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runner, "Consumer", IgnoresCancellation)
    monkeypatch.setattr(replica_module, "RUN", (sys.executable, "-c", "raise SystemExit(2)"))
    async with asyncio.timeout(60):
        with pytest.raises(ReplicaDiedError):
            await run_demo(5)


async def until_it_ends(replica: Replica) -> None:
    while True:
        replica.check_alive()
        await asyncio.sleep(0.01)


async def test_a_replica_sees_none_of_the_shells_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    monkeypatch.setattr(replica_module, "RUN", ("env",))
    replica = Replica("replica 1", tmp_path, {"DB_TYPE": "sqlite"})
    replica.start()
    with pytest.raises(ReplicaDiedError, match="code 0"):
        await asyncio.wait_for(until_it_ends(replica), 10)
    await replica.stop()
    names = {line.partition("=")[0] for line in (tmp_path / "replica-1.log").read_text().splitlines()}
    assert {"DB_TYPE", "METRICS_ADDR", "PATH"} <= names
    assert "REDIS_PASSWORD" not in names


def test_without_rich_a_terminal_gets_lines_and_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "peekaping_producer.demo.table", None)
    assert isinstance(_open_view(), Lines)
    assert capsys.readouterr().out == "For the live table: pip install rich\n"


def test_a_closed_terminal_is_reported_once_and_nothing_more_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class ClosedTerminal(Lines):
        def announce(self, sentence: str) -> None:
            raise BrokenPipeError(sentence)

    gone: list[bool] = []
    view = GuardedView(ClosedTerminal(), gone=lambda: gone.append(True))
    with (tmp_path / "screen").open("w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        view.announce("an event")
        view.print("a summary")
    assert gone == [True]
    assert (tmp_path / "screen").read_text() == ""


def test_the_demo_reads_no_settings_where_a_server_can_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The Redis of this shell may be a production server, or wrong."""
    monkeypatch.chdir(tmp_path)
    given: list[Settings | None] = []

    async def run(_seconds: float, *, redis: Settings | None) -> int:
        given.append(redis)
        return 0

    monkeypatch.setattr("peekaping_producer.demo.run_demo", run)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    for available in (True, False):
        monkeypatch.setattr("peekaping_producer.demo.embedded.is_available", lambda available=available: available)
        assert main(["demo"]) == 0
    embedded, borrowed = given
    assert embedded is None
    assert borrowed
    assert str(borrowed.redis_target()) == "redis://127.0.0.1:1/0"
    monkeypatch.setenv("REDIS_URL", "http://nonsense")
    assert main(["demo"]) == 2
    monkeypatch.setattr("peekaping_producer.demo.embedded.is_available", lambda: True)
    assert main(["demo"]) == 0


@pytest.mark.parametrize(
    ("environment", "colors"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_lines_are_colored_as_the_environment_says(
    environment: dict[str, str], colors: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _open_view().announce("a leader")
    assert ("\x1b[" in capsys.readouterr().out) is colors


@pytest.mark.parametrize(("environment", "colors"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_table_is_colored_as_the_environment_says(
    environment: dict[str, str], colors: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"FORCE_COLOR": "1", "TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    table = LiveTable()
    table.announce("a leader")
    table.show(Snapshot(1.0, 30.0, "replica 1", Ledger([every_two_seconds()])))
    table.close()
    assert bool(re.search(r"\x1b\[[\d;]*3[0-7]", capsys.readouterr().out)) is colors


def test_counts_agree_with_their_nouns() -> None:
    assert (counted(0, "check"), counted(1, "check"), counted(2, "check")) == ("0 checks", "1 check", "2 checks")
