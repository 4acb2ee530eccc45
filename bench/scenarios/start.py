"""Time from the start of the process to its first hand-off; compiled modules and servers are warm."""

import time

from bench.figures import Figure
from bench.harness import DAY_S, BenchHarness, now_ms
from bench.metrics_client import MetricsClient
from bench.options import Options
from bench.queue_checks import handed_off_at_ms

MONITORS = 100


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure every round but the first, which is a warm-up."""
    took_s = [await _round(harness, options.monitors or MONITORS) for _ in range(options.rounds + 1)]
    return [Figure("start to first hand-off", "s", took_s[1:], required=1.0, target=0.5)]


async def _round(harness: BenchHarness, count: int) -> float:
    ids = await harness.fill(count, interval=DAY_S)
    await harness.lead()
    await harness.schedule(dict.fromkeys(ids, float(now_ms())))
    began_at = time.time()
    async with harness.replicas(1, **MetricsClient().settings) as running:
        await harness.all_handed_off(count, running)
        first_ms = min((await handed_off_at_ms(harness.redis, ids)).values())
    return first_ms / 1000 - began_at
