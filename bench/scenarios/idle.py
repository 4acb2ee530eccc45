"""What a replica costs while nothing is due: client commands a second (a script is one) and CPU of one core."""

import asyncio
import time
from contextlib import suppress

from bench.figures import Figure
from bench.ground import DAY_S, Ground, cpu_s
from bench.options import Options

MONITORS = 1000
CONCURRENCIES = (10, 128)
SETTLES_S = 4.0
WATCH_S = 20.0


async def run(ground: Ground, options: Options) -> list[Figure]:
    """For few and for many workers."""
    figures = []
    for workers in CONCURRENCIES:
        rounds = [await _round(ground, options.monitors or MONITORS, workers) for _ in range(options.rounds)]
        commands, cpu = ([each[n] for each in rounds] for n in range(2))
        figures += [
            Figure(f"idle commands, {workers} workers", "1/s", commands, must=12, aim=5),
            Figure(f"idle CPU, {workers} workers", "% of a core", cpu, must=1.0, aim=0.5),
        ]
    return figures


async def _round(ground: Ground, count: int, workers: int) -> tuple[float, float]:
    await ground.schedule_later(await ground.fill(count, interval=DAY_S))
    async with ground.replicas(1, PRODUCER_CONCURRENCY=str(workers)) as (replica,):
        await asyncio.sleep(SETTLES_S)
        cpu_before, began_at = cpu_s(replica), time.monotonic()
        commands = await _count_commands(ground)
        took_s = time.monotonic() - began_at
        return commands / took_s, 100 * (cpu_s(replica) - cpu_before) / took_s


async def _count_commands(ground: Ground) -> int:
    commands = 0
    async with ground.redis.monitor() as monitor:
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_S):
                async for command in monitor.listen():
                    commands += command["client_type"] != "lua"
    return commands
