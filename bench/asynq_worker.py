"""The asynq receiver against Go's worker: tasks a second with a handler that does nothing, at the same concurrency.

    python -m bench.asynq_worker [--rounds N] [--tasks N] [--concurrency N ...]

Starts a Redis-compatible server. In each round Go and Python process the same number of tasks, one right after the
other, so compare only inside a line. Exit code 1 if a required ratio is missed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure
from bench.table import table
from peekaping_producer.demo import embedded
from peekaping_producer.metrics import Metrics
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.publisher import AsynqPublisher
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from peekaping_producer.transports.message import Message
from tests.kit import go
from tests.kit.asynq_tool import Tool

QUEUE = "bench"
BOUNDS = {10: (1.2, 1.5), 100: (2.0, 3.0), 1000: (2.5, 3.5)}
"""By concurrency, the ratio to Go's rate: required and target."""
_BODY = b"x" * 100

Side = Callable[[int, int], Awaitable[tuple[float, float]]]
"""Processes a number of tasks with a concurrency."""


class Measured(NamedTuple):
    """One run."""

    per_s: float
    cpu_us: float
    redis_us: float


async def main() -> int:
    """Measure, and print a table."""
    args = _arguments()
    measured: dict[tuple[str, int], list[Measured]] = {}
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "tool"
        go.compile_to(binary, "./tool")
        async with embedded.redis_server() as server:
            target, tool = RedisTarget(host=embedded.HOST, port=server.port), Tool(binary, server.port)
            sides: dict[str, Side] = {"Go": partial(_go, tool), "Python": partial(_python, target)}
            for _ in range(args.rounds):
                for concurrency in args.concurrency:
                    for name, side in sides.items():
                        await _fill(target, args.tasks)
                        result = await _measure(target, side, concurrency, args.tasks)
                        measured.setdefault((name, concurrency), []).append(result)
    figures = _figures(measured, args.concurrency)
    print(table(figures))
    return int(any(figure.reaches(figure.required) is False for figure in figures))


async def _fill(target: RedisTarget, tasks: int) -> None:
    publisher = AsynqPublisher(target, queue=QUEUE, task_type="bench")
    messages = [Message(f"7a9c1f0e-0000-4000-8000-{n:012d}", _BODY) for n in range(tasks)]
    assert (await publisher.publish(messages)).settled == tasks
    assert publisher.duplicates == 0, "the last run left tasks"
    await publisher.close()


async def _measure(target: RedisTarget, side: Side, concurrency: int, tasks: int) -> Measured:
    async with redis_for(target, connections=1) as redis:
        before = await redis.info("cpu")
        per_s, cpu_us = await side(concurrency, tasks)
        after = await redis.info("cpu")
        redis_s = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
        return Measured(per_s, cpu_us, redis_s / tasks * 1e6)


async def _go(tool: Tool, concurrency: int, tasks: int) -> tuple[float, float]:
    """Return tasks a second, and µs of the worker's CPU for each."""
    result = json.loads(await tool.run("measure", QUEUE, concurrency, tasks))
    return result["per_s"], result["cpu_us"]


async def _python(target: RedisTarget, concurrency: int, tasks: int) -> tuple[float, float]:
    receiver = AsynqReceiver(target, {QUEUE: 1}, dependencies=Dependencies(Metrics()))
    cpu_before, began_at = time.process_time(), time.perf_counter()
    await receiver.open()
    done = 0
    while done < tasks:
        deliveries = await receiver.receive(concurrency)
        await receiver.acknowledge(deliveries)
        done += len(deliveries)
    took_s, cpu_s = time.perf_counter() - began_at, time.process_time() - cpu_before
    await receiver.close()
    return tasks / took_s, cpu_s / tasks * 1e6


def _figures(measured: dict[tuple[str, int], list[Measured]], concurrencies: list[int]) -> list[Figure]:
    figures = []
    for number in concurrencies:
        for name in ("Go", "Python"):
            rounds = measured[name, number]
            what = f"{name}, concurrency {number}"
            figures.append(Figure(f"{what}: tasks", "1/s", [each.per_s for each in rounds], "higher"))
            figures.append(Figure(f"{what}: CPU per task", "µs", [each.cpu_us for each in rounds]))
            figures.append(Figure(f"{what}: CPU of Redis per task", "µs", [each.redis_us for each in rounds]))
        required, goal = BOUNDS.get(number, (None, None))
        pairs = zip(measured["Python", number], measured["Go", number], strict=True)
        ratios = [ours.per_s / theirs.per_s for ours, theirs in pairs]
        figures.append(Figure(f"Python / Go, concurrency {number}", "", ratios, "higher", required, goal))
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=30_000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=list(BOUNDS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
