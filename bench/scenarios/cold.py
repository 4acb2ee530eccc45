"""Cold start: from the start of one replica on an empty Redis to the last hand-off."""

import time

from bench.figures import Figure
from bench.harness import DAY_S, BenchHarness
from bench.options import Options
from bench.queue_checks import first_and_last_ms

MONITORS = 100_000
INTERVAL = DAY_S


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure one replica, which must become the leader, sync, and hand off all."""
    count = options.monitors or MONITORS
    ids = await harness.fill(count, interval=INTERVAL)
    took_s = [await _round(harness, ids) for _ in range(options.rounds)]
    return [Figure(f"cold start, {count:,} monitors, last one handed off", "s", took_s, required=8, target=3)]


async def _round(harness: BenchHarness, ids: list[str]) -> float:
    await harness.redis.flushdb()
    began_at = time.time()
    async with harness.replicas(1) as running:
        await harness.all_handed_off(len(ids), running)
        _, last_ms, _ = await first_and_last_ms(harness.redis, ids, INTERVAL)
        return last_ms / 1000 - began_at
