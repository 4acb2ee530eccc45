"""Lateness of tasks when 1,000 monitors come due each second, evenly, and nothing else runs.

Due times are spread over a minute that begins with a tick, so that no second tick comes before all first ones.
"""

from bench.figures import Figure, percentile
from bench.harness import BenchHarness, now_ms
from bench.options import Options
from bench.queue_checks import lateness_ms

MONITORS = 60_000
PER_MS = 1
INTERVAL = 60


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure p50, p99 and the maximum."""
    rounds = [await _round(harness, options.monitors or MONITORS) for _ in range(options.rounds)]
    p50, p99, worst = ([percentile(late, percent) for late in rounds] for percent in (50, 99, 100))
    return [
        Figure("lateness p50, 1,000 monitors/s", "ms", p50),
        Figure("lateness p99, 1,000 monitors/s", "ms", p99, required=60, target=15),
        Figure("lateness worst, 1,000 monitors/s", "ms", worst),
    ]


async def _round(harness: BenchHarness, count: int) -> list[float]:
    ids = await harness.fill(count, interval=INTERVAL)
    await harness.lead()
    async with harness.replicas(1) as running:
        await harness.connected(running)
        period_ms = INTERVAL * 1000
        start_ms = (now_ms() // period_ms + 1) * period_ms
        due = {each: float(start_ms + n // PER_MS) for n, each in enumerate(ids)}
        await harness.schedule(due)
        await harness.all_handed_off(count, running)
    return await lateness_ms(harness.redis, due)
