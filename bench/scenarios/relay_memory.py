"""Growth of a relay's memory while RabbitMQ is away and the file grows by 1 GB."""

import asyncio
import time

from bench.figures import Figure
from bench.harness import BenchHarness, memory_mb
from bench.messages.commands import LINE_BYTES, RelayProcess, rabbitmq_environment, relay
from bench.messages.rabbitmq import BenchBroker, broker
from bench.options import Options

BYTES = 1_000_000_000
_CHUNK = 100_000
BEFORE = 10_000
"""Lines before, so that what a relay always needs is allocated."""
WATCH_S = 10.0
AFTERWARDS = 20_000
"""Lines that must be confirmed once RabbitMQ is back."""


async def run(_harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure one outage in each round."""
    count = options.messages or BYTES // (LINE_BYTES + 1)
    async with broker() as rabbitmq:
        rounds = [await _round(rabbitmq, count) for _ in range(options.rounds)]
    growth, before = ([each[n] for each in rounds] for n in range(2))
    return [
        Figure("memory of the relay before", "MB", before),
        Figure("growth while RabbitMQ is away", "MB", growth, required=30, target=10),
    ]


async def _round(rabbitmq: BenchBroker, count: int) -> tuple[float, float]:
    """The growth at its peak, and what was used before."""
    await rabbitmq.empty()
    async with relay(rabbitmq_environment(rabbitmq.target)) as running:
        running.file.append(BEFORE)
        await running.confirmed()
        before_mb = memory_mb(running.process)
        await rabbitmq.node.flush()
        pid = rabbitmq.node.pid
        rabbitmq.node.kill()
        peak_mb = await _peak_while_growing(running, count)
        confirmed = await running.checkpoint()
        assert confirmed < running.file.lines, "the relay confirmed lines while RabbitMQ was away"
        await rabbitmq.restarted()
        assert rabbitmq.node.pid != pid
        await running.confirmed(min(confirmed + AFTERWARDS, running.file.lines))
        return peak_mb - before_mb, before_mb


async def _peak_while_growing(running: RelayProcess, count: int) -> float:
    peak_mb = 0.0
    for start in range(0, count, _CHUNK):
        running.file.append(min(_CHUNK, count - start))
        peak_mb = max(peak_mb, memory_mb(running.process))
        await asyncio.sleep(0)
    ends_at = time.monotonic() + WATCH_S
    while time.monotonic() < ends_at:
        peak_mb = max(peak_mb, memory_mb(running.process))
        await asyncio.sleep(0.1)
    return peak_mb
