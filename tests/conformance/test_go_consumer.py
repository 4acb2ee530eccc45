"""hibiken/asynq itself takes the tasks, decodes them, applies their timeouts, finishes them and frees their ids."""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import Outcome
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.monitors.monitor import Heartbeat, Monitor, MonitorDetails, Plan, Proxy
from peekaping_producer.monitors.task import HealthCheckTask, TaskBuilder
from peekaping_producer.schedule import Claim, Schedule
from tests.kit import go

GOLDEN_TASKS = Path(__file__).parents[1] / "golden" / "tasks.jsonl"
MONITOR_ID = "cc90ad81-d52e-4b22-ad2f-5bb4fb3d8203"
TASK_ID = f"healthcheck:{MONITOR_ID}"
PATIENCE_S = 60
OutputLine = dict[str, Any]
T = TypeVar("T")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled Go program."""
    return go.build(".", tmp_path_factory)


class GoConsumer:
    """The running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self, event: str) -> OutputLine:
        """The next line of this kind; skips lines of other kinds."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE_S):
            while raw := await self._process.stdout.readline():
                line: OutputLine = json.loads(raw)
                if line["event"] == event:
                    return line
        raise AssertionError(f"the consumer ended before it wrote {event!r}")


async def inspect(program: Path, server: RedisServer) -> OutputLine:
    """TASK_ID in asynq's Inspector; the state is '' if there is no such task."""
    process = await asyncio.create_subprocess_exec(
        *argv(program, server), "inspect", TASK_ID, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    answer, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    seen: OutputLine = json.loads(answer)
    return seen


async def until_state(state: str, program: Path, server: RedisServer) -> OutputLine:
    """The task once the Inspector sees it in `state`, which asynq writes after the handler has ended."""
    return await until(lambda: inspect(program, server), lambda seen: seen["state"] == state)


async def until(attempt: Callable[[], Awaitable[T]], good: Callable[[T], object]) -> T:
    """The first result that satisfies `good`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if good(result := await attempt()):
                return result
            await asyncio.sleep(0.02)


def argv(program: Path, server: RedisServer) -> list[str]:
    return [str(program), "-redis", f"127.0.0.1:{server.port}"]


@asynccontextmanager
async def consuming(program: Path, server: RedisServer) -> AsyncIterator[GoConsumer]:
    """Run the program for the duration of the block; the end of its stdin also stops it."""
    process = await asyncio.create_subprocess_exec(
        *argv(program, server), stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**20
    )
    try:
        yield GoConsumer(process)
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()
        assert process.returncode == 0


class OneMonitor:
    """Takes one monitor through schedule, task and broker, tick by tick, by Redis TIME."""

    def __init__(self, redis: Redis, check: MonitorDetails) -> None:
        self._schedule = Schedule(redis)
        self._broker = AsynqBroker(redis)
        self._builder = TaskBuilder(server_zone="UTC", report=lambda *anomaly: pytest.fail(str(anomaly)))
        self._check = check

    async def place(self) -> None:
        await self._schedule.campaign("", "term-1", ttl_s=60)
        await self._schedule.place("term-1", [Plan(MONITOR_ID, self._check.monitor.interval)])

    async def tick(self) -> tuple[Outcome, OutputLine]:
        """Wait for the monitor to be due and hand it off; also returns the payload."""
        claim = await self._claim()
        (task,) = self._builder.build([self._check], claim.now_ms)
        return await self._hand_off(claim, task), json.loads(task.payload)

    async def tick_with(self, payload: bytes) -> Outcome:
        """The same with the given payload."""
        monitor = self._check.monitor
        task = HealthCheckTask(MONITOR_ID, monitor.interval, monitor.timeout, payload)
        return await self._hand_off(await self._claim(), task)

    async def _hand_off(self, claim: Claim, task: HealthCheckTask) -> Outcome:
        handed = await self._broker.hand_off(claim, [task])
        return handed.not_enqueued.get(MONITOR_ID, Outcome.ENQUEUED)

    async def _claim(self) -> Claim:
        return await until(lambda: self._schedule.claim(1), lambda claim: claim.due)


def monitor(name: str, *, timeout: int = 16) -> Monitor:
    """A monitor that is due every second."""
    config = json.dumps({"url": "https://example.test/?a=1&b=<2>", "check_cert_expiry": True})
    return Monitor(MONITOR_ID, name, "http", 1, timeout, 3, 60, 0, True, config)


def rich_check() -> MonitorDetails:
    """A payload with every field, and with text that JSON must escape."""
    proxy = Proxy("3f0e", "socks5", "proxy.test", 1080, True, "user", 'p"\\<&>\u2028ß')
    moment = datetime(2026, 11, 22, 12, 39, 11, 58_000, tzinfo=UTC)
    beat = Heartbeat("b1", MONITOR_ID, 1, 'third "quoted" \\ ok', 7, 120, 1, 2, True, moment, moment, True)
    return MonitorDetails(monitor("naïve 監視 🚦"), proxy=proxy, latest_heartbeat=beat)


async def test_a_task_is_taken_decoded_and_finished_and_its_id_is_free_at_the_next_tick(
    program: Path, private_redis: RedisServer, server: Redis
) -> None:
    one = OneMonitor(server, rich_check())
    await one.place()
    async with consuming(program, private_redis) as consumer:
        for _ in range(3):
            outcome, payload = await one.tick()
            taken = await consumer.next("taken")
            ended = await consumer.next("ended")
            await until_state("", program, private_redis)
            assert outcome is Outcome.ENQUEUED
            assert taken["payload"] == payload
            assert {"proxy", "last_heartbeat"} <= payload.keys()
            assert (taken["task_id"], taken["queue"], taken["max_retry"]) == (TASK_ID, "healthcheck", 0)
            assert 14 < taken["timeout_s"] <= 16
            assert "error" not in ended


async def test_the_inspector_reads_a_waiting_task(program: Path, private_redis: RedisServer, server: Redis) -> None:
    one = OneMonitor(server, rich_check())
    await one.place()
    _, payload = await one.tick()
    seen = await inspect(program, private_redis)
    assert json.loads(seen.pop("payload")) == payload
    assert seen == {
        "state": "pending",
        "type": "monitor:healthcheck",
        "timeout_s": 16,
        "max_retry": 0,
        "last_error": "",
    }


async def test_the_timeout_is_applied_and_meanwhile_there_is_no_second_task(
    program: Path, private_redis: RedisServer, server: Redis
) -> None:
    one = OneMonitor(server, MonitorDetails(monitor("hang", timeout=3)))
    await one.place()
    async with consuming(program, private_redis) as consumer:
        first, _ = await one.tick()
        taken = await consumer.next("taken")
        second, _ = await one.tick()
        ended = await consumer.next("ended")
    assert (first, second) == (Outcome.ENQUEUED, Outcome.OVERLAP)
    assert 2 < taken["timeout_s"] <= 3
    assert ended["error"] == "context deadline exceeded"
    assert 1000 * taken["timeout_s"] - 1 <= ended["after_ms"] < 10_000


async def test_a_failed_task_is_archived_and_replaced_at_the_next_tick(
    program: Path, private_redis: RedisServer, server: Redis
) -> None:
    one = OneMonitor(server, MonitorDetails(monitor("fail")))
    await one.place()
    async with consuming(program, private_redis) as consumer:
        outcomes, ticks = [], []
        for _ in range(2):
            outcome, _ = await one.tick()
            outcomes.append(outcome)
            ticks.append((await consumer.next("taken"))["scheduled_at"])
            await consumer.next("ended")
            archived = await until_state("archived", program, private_redis)
    assert outcomes == [Outcome.ENQUEUED, Outcome.REPLACED]
    assert ticks[0] < ticks[1]
    assert archived["last_error"] == "failed as its name asks"
    assert await server.zcard("asynq:{healthcheck}:archived") == 1


@pytest.mark.parametrize("surplus", [{"surplus": 1}, {"interval": "60"}, {"scheduled_at": "yesterday"}])
async def test_the_consumer_refuses_what_a_go_worker_could_not_decode(
    program: Path, private_redis: RedisServer, server: Redis, surplus: OutputLine
) -> None:
    """Otherwise the equality of the payloads above might prove nothing."""
    one = OneMonitor(server, MonitorDetails(monitor("plain")))
    await one.place()
    async with consuming(program, private_redis) as consumer:
        await one.tick_with(json.dumps({"monitor_id": MONITOR_ID, **surplus}).encode())
        ended = await consumer.next("ended")
    assert ended["error"].startswith("payload: ")


async def test_golden_tasks_are_taken(program: Path, private_redis: RedisServer, server: Redis) -> None:
    """The consumer decodes what the Go producer wrote without loss, so it can judge our tasks too."""
    with GOLDEN_TASKS.open(encoding="utf-8") as lines_of_file:  # str.splitlines would also split at U+2028 inside text
        records = [json.loads(line) for line in lines_of_file]
    golden = {record["task"]["payload"]["monitor_id"]: record["task"] for record in records if record["task"]}
    assert len(golden) > 40
    await server.sadd("asynq:queues", "healthcheck")
    for monitor_id, task in golden.items():
        fields = {name: value for name, value in task["hash"].items() if name not in ("msg", "unique_key")}
        await server.hset(task["redis_key"], mapping={**fields, "msg": base64.b64decode(task["msg_b64"])})
        await server.lpush("asynq:{healthcheck}:pending", f"healthcheck:{monitor_id}")
    async with consuming(program, private_redis) as consumer:
        lines = [await consumer.next("taken") for _ in golden]
    assert {line["monitor_id"]: line["payload"] for line in lines} == {
        monitor_id: task["payload"] for monitor_id, task in golden.items()
    }
