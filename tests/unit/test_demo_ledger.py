"""What the demo counts, and how its consumer checks."""

import asyncio
import json

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.brokers.asynq_keys import PENDING, TASK_ID_PREFIX, TASK_KEY_PREFIX
from peekaping_producer.demo.monitors.consumer import Consumer
from peekaping_producer.demo.monitors.ledger import Ledger, Result
from peekaping_producer.demo.monitors.target import open_target
from peekaping_producer.monitors.monitor import Monitor
from peekaping_producer.monitors.task import HealthCheckTask


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


@pytest.mark.parametrize(
    ("name", "up", "kind"),
    [
        ("Shop", True, "HTTP 200"),
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
    assert dict(ledger.results) == {"HTTP 200": 2, "HTTP 500": 1}
