"""Cost of a replica while nothing is due: client commands per second (a script is one), and CPU of one core."""

import asyncio

from bench.figures import Figure
from bench.harness import DAY_S, BenchHarness
from bench.options import Options

MONITORS = 1000
CONCURRENCIES = (10, 128)
SETTLES_S = 4.0
WATCH_S = 20.0


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure few and many workers."""
    figures = []
    for workers in CONCURRENCIES:
        rounds = [await _round(harness, options.monitors or MONITORS, workers) for _ in range(options.rounds)]
        commands, cpu = ([each[n] for each in rounds] for n in range(2))
        figures += [
            Figure(f"idle commands, {workers} workers", "1/s", commands, required=12, target=5),
            Figure(f"idle CPU, {workers} workers", "% of a core", cpu, required=1.0, target=0.5),
        ]
    return figures


async def _round(harness: BenchHarness, count: int, workers: int) -> tuple[float, float]:
    await harness.schedule_later(await harness.fill(count, interval=DAY_S))
    async with harness.replicas(1, PRODUCER_CONCURRENCY=str(workers)) as (replica,):
        await asyncio.sleep(SETTLES_S)
        return await harness.cost_of(replica, WATCH_S)
