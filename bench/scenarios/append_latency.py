"""Time from the append of a line to a quiet file until RabbitMQ has confirmed it; CPU of a relay with nothing to do."""

import asyncio
import time

from bench.figures import Figure, percentile
from bench.harness import BenchHarness, cpu_s
from bench.messages.commands import rabbitmq_environment, relay
from bench.messages.rabbitmq import BenchBroker, broker
from bench.options import Options

APPENDS = 200
EVERY_S = 0.05
SETTLES_S = 3.0
WATCH_S = 20.0


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure both with one relay in each round."""
    async with broker() as rabbitmq:
        rounds = [await _round(rabbitmq) for _ in range(options.rounds)]
    medians, worst, idle = ([each[n] for each in rounds] for n in range(3))
    return [
        Figure("append to confirmed, p50", "ms", medians),
        Figure("append to confirmed, p99", "ms", worst, required=100, target=20),
        Figure("idle CPU of the relay", "% of a core", idle, required=1.0, target=0.3),
    ]


async def _round(rabbitmq: BenchBroker) -> tuple[float, float, float]:
    await rabbitmq.empty()
    async with relay(rabbitmq_environment(rabbitmq.target), timed=True) as running:
        await asyncio.sleep(SETTLES_S)
        cpu_before, began_at = cpu_s(running.process), time.monotonic()
        await asyncio.sleep(WATCH_S)
        idle = 100 * (cpu_s(running.process) - cpu_before) / (time.monotonic() - began_at)
        appended = []
        for _ in range(APPENDS):
            appended.append(time.monotonic())
            running.file.append(1)
            await asyncio.sleep(EVERY_S)
        await running.confirmed()
        await rabbitmq.holds(running.file)
        late = latencies_ms(appended, running.times()[1:])
        return percentile(late, 50), percentile(late, 99), idle


def latencies_ms(appended: list[float], confirmed: list[float]) -> list[float]:
    """From each append to its confirmation. AssertionError unless each has one, and after it."""
    assert len(appended) == len(confirmed), f"{len(confirmed)} of {len(appended)} lines were confirmed"
    late = [1000 * (after - before) for before, after in zip(appended, confirmed, strict=True)]
    assert min(late) > 0, f"a line was confirmed {-min(late):.1f} ms before it was appended"
    return late
