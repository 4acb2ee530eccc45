"""A cold start: Redis is empty, and one replica starts; from there until the last monitor is handed off."""

import time

from bench.figures import Figure
from bench.ground import DAY_S, Ground
from bench.handed import first_and_last_ms
from bench.options import Options

MONITORS = 100_000
INTERVAL = DAY_S


async def run(ground: Ground, options: Options) -> list[Figure]:
    """It must become the leader, sync, and hand off all."""
    count = options.monitors or MONITORS
    ids = await ground.fill(count, interval=INTERVAL)
    took_s = [await _round(ground, ids) for _ in range(options.rounds)]
    return [Figure(f"cold start, {count:,} monitors, last one handed off", "s", took_s, must=8, aim=3)]


async def _round(ground: Ground, ids: list[str]) -> float:
    await ground.redis.flushdb()
    began_at = time.time()
    async with ground.replicas(1) as running:
        await ground.all_handed_off(len(ids), running)
        _, last_ms, _ = await first_and_last_ms(ground.redis, ids, INTERVAL)
        return last_ms / 1000 - began_at
