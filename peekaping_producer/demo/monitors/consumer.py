"""A small consumer: dequeues tasks as asynq's workers do, runs the HTTP check, completes the task."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp
import msgspec

from peekaping_producer.brokers.asynq_keys import QUEUE_KEYS, TASK_KEY_PREFIX
from peekaping_producer.demo.monitors.ledger import Ledger, Result
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.script import Script
from peekaping_producer.transports.asynq.task_message import decode

_PROCESSED = QUEUE_KEYS.prefix + "processed"
_LEASE_TTL_S = 30
_KEEP_COUNTS_S = 90 * 24 * 3600
_POLL_EVERY_S = 0.02


class _Config(msgspec.Struct, frozen=True):
    url: str
    keyword: str | None = None


class _Task(msgspec.Struct, frozen=True):
    monitor_id: str
    timeout: int
    config: str


class Consumer:
    """Dequeues every task and records hand-offs and results in `ledger`.

    It has scripts of its own: lateness follows from `pending_since`, which AsynqReceiver does not return.
    """

    def __init__(self, redis: Client, ledger: Ledger) -> None:
        self._redis = redis
        self._ledger = ledger
        self._take = Script("peekaping_producer.demo.monitors", "take")
        self._finish = Script("peekaping_producer.demo.monitors", "finish")

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set and the queue is empty; running checks are completed."""
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as checks:
            while True:
                if taken := await self._take_one():
                    checks.create_task(self._handle(http, *taken))
                elif stop.is_set():
                    break
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _POLL_EVERY_S)

    async def _take_one(self) -> tuple[str, _Task] | None:
        keys = (QUEUE_KEYS.pending, QUEUE_KEYS.active, QUEUE_KEYS.lease, QUEUE_KEYS.paused)
        taken = await self._take.run(self._redis, keys, (TASK_KEY_PREFIX, _LEASE_TTL_S))
        if taken is None:
            return None
        task_id, message, since_ns = taken
        task = msgspec.json.decode(decode(message).payload, type=_Task)
        self._ledger.hand_off(task.monitor_id, int(since_ns) // 1_000_000)
        return task_id.decode(), task

    async def _handle(self, http: aiohttp.ClientSession, task_id: str, task: _Task) -> None:
        result = await _check(http, task)
        today = f"{_PROCESSED}:{datetime.now(UTC):%Y-%m-%d}"
        keys = (QUEUE_KEYS.active, QUEUE_KEYS.lease, TASK_KEY_PREFIX + task_id, _PROCESSED, today)
        at_ms = await self._finish.run(self._redis, keys, (task_id, _KEEP_COUNTS_S))
        self._ledger.complete(task.monitor_id, result, at_ms)


async def _check(http: aiohttp.ClientSession, task: _Task) -> Result:
    """Run the check. A target that is down is a result, not an error."""
    config = msgspec.json.decode(task.config, type=_Config)
    began = time.monotonic()
    try:
        async with http.get(config.url, timeout=aiohttp.ClientTimeout(task.timeout)) as response:
            text = await response.text()
            up, kind = response.ok, f"HTTP {response.status}"
    except TimeoutError:
        up, kind = False, "timeout"
    except aiohttp.ClientConnectorError:
        up, kind = False, "refused"
    except aiohttp.ClientError:
        up, kind = False, "invalid response"
    else:
        if up and config.keyword is not None:
            up = config.keyword in text
            kind = "keyword found" if up else "keyword missing"
    return Result(up, kind, round((time.monotonic() - began) * 1000))
