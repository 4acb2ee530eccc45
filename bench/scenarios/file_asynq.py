"""Lines per second from a file through `relay` to an asynq queue, relative to Redis alone in the same round.

Redis alone: a blocking client that calls the same script with the same tasks, encoded before.
"""

import hashlib
import time

from redis import Redis

from bench.figures import Figure
from bench.harness import BenchHarness, cpu_s
from bench.messages.commands import ASYNQ_QUEUE, LINE_BYTES, BenchFile, asynq_environment, lines, relay
from bench.options import Options
from peekaping_producer.redis_client.script import CLOCK, lua
from peekaping_producer.transports import asynq
from peekaping_producer.transports.asynq.keys import QUEUES, QueueKeys
from peekaping_producer.transports.asynq.scripts import PRELUDE
from peekaping_producer.transports.asynq.task_message import DEFAULT_TIMEOUT_S, TaskMessage, encode
from tests.kit.asynq_peer import decode

LINES = 100_000
_BATCH = 500
"""Tasks in a call, as the relay's."""
_KEYS = QueueKeys(ASYNQ_QUEUE)
_CHUNK = 1000


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure Redis alone before and after, since machines drift."""
    count = options.messages or LINES
    limits, rates, cpu = [], [], []
    for _ in range(options.rounds):
        before = _redis_alone(harness.redis_url, count)
        rate, spent_us = await _relay_rate(harness, count)
        limits.append((before + _redis_alone(harness.redis_url, count)) / 2)
        rates.append(rate)
        cpu.append(spent_us)
    shares = [ours / limit for ours, limit in zip(rates, limits, strict=True)]
    return [
        Figure("Redis alone", "lines/s", limits, better="higher"),
        Figure("file to asynq", "lines/s", rates, better="higher"),
        Figure("file to asynq / Redis alone", "x", shares, better="higher", required=0.4, target=0.6),
        Figure("CPU of the relay", "µs/line", cpu),
    ]


async def _relay_rate(harness: BenchHarness, count: int) -> tuple[float, float]:
    """Lines per second, and µs of CPU for each."""
    await harness.redis.flushdb()
    async with relay(asynq_environment(harness.redis_url)) as running:
        cpu_before, began_at = cpu_s(running.process), time.perf_counter()
        running.file.append(count)
        await running.confirmed()
        took_s, spent_s = time.perf_counter() - began_at, cpu_s(running.process) - cpu_before
        await _holds(harness, running.file)
        await harness.redis.flushdb()
        return count / took_s, spent_s / count * 1e6


async def _holds(harness: BenchHarness, file: BenchFile) -> None:
    """AssertionError unless the queue contains the lines of the file, in order, each once."""
    ids = (await harness.redis.lrange(_KEYS.pending, 0, -1))[::-1]
    assert len(ids) == file.lines, f"{len(ids):,} of {file.lines:,} tasks are pending"
    sha256 = hashlib.sha256()
    for start in range(0, len(ids), _CHUNK):
        async with harness.redis.pipeline(transaction=False) as pipe:
            for task_id in ids[start : start + _CHUNK]:
                pipe.hget(f"{_KEYS.prefix}t:{task_id.decode()}", "msg")
            for message in await pipe.execute():
                sha256.update(decode(message).payload + b"\n")
    assert sha256.hexdigest() == file.sha256, "the tasks are not the lines of the file in their order"


def _redis_alone(url: str, count: int) -> float:
    calls = _calls(count)
    with Redis.from_url(url) as client:
        client.flushdb()
        enqueue = client.register_script(CLOCK + PRELUDE + lua(asynq.__name__, "enqueue"))
        began_at = time.perf_counter()
        for arguments in calls:
            enqueue([QUEUES, _KEYS.pending], arguments)
        took_s = time.perf_counter() - began_at
        assert client.llen(_KEYS.pending) == count
        client.flushdb()
        return count / took_s


def _calls(count: int) -> list[list[str | bytes]]:
    """The arguments of all calls."""
    calls: list[list[str | bytes]] = []
    for start in range(0, count, _BATCH):
        call: list[str | bytes] = [_KEYS.queue, _KEYS.prefix]
        for number, line in enumerate(lines(start, min(start + _BATCH, count)).splitlines(), start):
            task_id = f"9f2c1e7a5b3d4c6e8f0a1b2c3d4e5f60:{number * (LINE_BYTES + 1)}"
            task = TaskMessage(
                type="message", payload=line, id=task_id, queue=ASYNQ_QUEUE, retry=25, timeout=DEFAULT_TIMEOUT_S
            )
            call += (task_id, encode(task))
        calls.append(call)
    return calls
