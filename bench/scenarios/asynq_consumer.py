"""Tasks per second with a handler that does nothing, relative to Go's worker with the same number of handlers.

Ours is `consume --handler`; a bare receiver, which only receives and acknowledges, is what it could reach at most.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.figures import Figure
from bench.harness import WITHOUT_DOTENV, BenchHarness, cpu_s, reaches
from bench.messages.commands import ASYNQ_QUEUE, LINE_BYTES, asynq_environment, command
from bench.options import Options
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.keys import SERVERS, QueueKeys
from peekaping_producer.transports.asynq.publisher import AsynqPublisher
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from peekaping_producer.transports.message import Message
from tests.kit import go
from tests.kit.asynq_tool import Tool

TASKS = 30_000
_HANDLER = "bench.messages.handler:nothing"
BOUNDS = {10: (1.2, 1.5), 100: (2.0, 3.0), 1000: (2.5, 3.5)}
"""By number of handlers, the ratio to Go's rate: required and target."""
Measure = Callable[[RedisTarget, int, int], Awaitable[tuple[float, float]]]


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure all three, one right after the other, in each round."""
    count = options.messages or TASKS
    port = int(harness.redis.connection_pool.connection_kwargs["port"])
    target = RedisTarget(host="127.0.0.1", port=port)
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "tool"
        await asyncio.to_thread(go.compile_to, binary, "./tool")
        measures: dict[str, Measure] = {
            "Go": _go(Tool(binary, port)),
            "Consumer": _consumer(harness),
            "bare receiver": _bare,
        }
        for handlers in BOUNDS:
            rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in measures}
            for _ in range(options.rounds):
                for name, measure in measures.items():
                    await harness.redis.flushdb()
                    await _fill(target, count)
                    rounds[name].append(await measure(target, handlers, count))
                    await _require_done(harness, count)
            figures += _figures(handlers, rounds)
    await harness.redis.flushdb()
    return figures


def _figures(handlers: int, rounds: dict[str, list[tuple[float, float]]]) -> list[Figure]:
    required, target = BOUNDS[handlers]
    rates = {name: [rate for rate, _ in measured] for name, measured in rounds.items()}
    figures = []
    for name, bounds in (("Consumer", (required, target)), ("bare receiver", (None, None))):
        ratios = [ours / theirs for ours, theirs in zip(rates[name], rates["Go"], strict=True)]
        figures.append(Figure(f"{name} / Go, {handlers} handlers", "x", ratios, "higher", *bounds))
    for name, measured in rounds.items():
        figures.append(Figure(f"{name}, {handlers} handlers", "tasks/s", rates[name], "higher"))
        figures.append(Figure(f"CPU of {name}, {handlers} handlers", "µs/task", [spent for _, spent in measured]))
    return figures


async def _fill(target: RedisTarget, count: int) -> None:
    publisher = AsynqPublisher(target, queue=ASYNQ_QUEUE, task_type="bench")
    body = b"x" * LINE_BYTES
    messages = [Message(f"7a9c1f0e-0000-4000-8000-{n:012d}", body) for n in range(count)]
    assert (await publisher.publish(messages)).settled == count
    assert publisher.duplicates == 0, "the last run left tasks"
    await publisher.close()


async def _require_done(harness: BenchHarness, count: int) -> None:
    """AssertionError unless asynq counts each task as processed, and none is left."""
    keys = QueueKeys(ASYNQ_QUEUE)
    processed = int(await harness.redis.get(f"{keys.prefix}processed") or 0)
    assert processed == count, f"{processed:,} of {count:,} tasks are processed"
    left = [await harness.redis.llen(keys.pending), await harness.redis.llen(keys.active)]
    assert left == [0, 0], f"{left[0]:,} tasks are pending, {left[1]:,} active"


def _go(tool: Tool) -> Measure:
    async def measure(_: RedisTarget, handlers: int, count: int) -> tuple[float, float]:
        result = json.loads(await tool.run("measure", ASYNQ_QUEUE, handlers, count))
        return result["per_s"], result["cpu_us"]

    return measure


def _consumer(harness: BenchHarness) -> Measure:
    async def measure(_: RedisTarget, handlers: int, count: int) -> tuple[float, float]:
        """From the first tasks that are processed to the last: the process starts on a paused queue."""
        environment = asynq_environment(harness.redis_url) | {"CONSUME_CONCURRENCY": str(handlers)}
        keys = QueueKeys(ASYNQ_QUEUE)

        async def processed() -> int:
            return int(await harness.redis.get(f"{keys.prefix}processed") or 0)

        await harness.redis.set(keys.paused, "1")
        with command(WITHOUT_DOTENV, environment, "peekaping_producer", "consume", "--handler", _HANDLER) as process:
            await reaches(1, lambda: _servers(harness), "servers", [process])
            await harness.redis.delete(keys.paused)
            await reaches(1, processed, "tasks processed", [process], every_s=0.005)
            first, cpu_before, began_at = await processed(), cpu_s(process), time.perf_counter()
            await reaches(count, processed, "tasks processed", [process], every_s=0.005)
            took_s, spent_s = time.perf_counter() - began_at, cpu_s(process) - cpu_before
        return (count - first) / took_s, spent_s / (count - first) * 1e6

    return measure


async def _servers(harness: BenchHarness) -> int:
    return int(await harness.redis.zcard(SERVERS))


async def _bare(target: RedisTarget, handlers: int, count: int) -> tuple[float, float]:
    receiver = AsynqReceiver(target, {ASYNQ_QUEUE: 1}, dependencies=Dependencies(Metrics()))
    cpu_before, began_at = time.process_time(), time.perf_counter()
    await receiver.open()
    done = 0
    while done < count:
        deliveries = await receiver.receive(handlers)
        await receiver.acknowledge(deliveries)
        done += len(deliveries)
    took_s, cpu_s = time.perf_counter() - began_at, time.process_time() - cpu_before
    await receiver.close()
    return count / took_s, cpu_s / count * 1e6
