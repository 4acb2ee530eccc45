"""A sync that finds no change: its time, the replica's peak memory, and the lateness of tasks meanwhile.

Meanwhile 300 monitors a second become due. The bench makes each due one second ahead: sync would move a due time
further ahead that fits no tick.
"""

import asyncio

from bench.figures import Figure, percentile
from bench.harness import DAY_S, BenchHarness, memory_mb, now_ms
from bench.metrics_client import MetricsClient
from bench.options import Options
from bench.queue_checks import lateness_ms

MONITORS = 1_000_000
PER_SECOND = 300
_STEP_S = 0.5


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure one sync per round, all by one replica."""
    count = options.monitors or MONITORS
    ids = await harness.fill(count, interval=DAY_S)
    await harness.schedule_later(ids)
    client = MetricsClient()
    due: dict[str, float] = {}
    took_s: list[float] = []
    async with harness.replicas(1, SYNC_INTERVAL="5", **client.settings) as (replica,):
        await client.up()
        feeder = asyncio.create_task(_feed(harness, ids, due))
        for number in range(1, options.rounds + 1):
            took_s.append(await client.sync_seconds(number) - sum(took_s))
        feeder.cancel()
        await asyncio.wait({feeder})
        peak_mb = memory_mb(replica, "VmHWM")
        await harness.all_handed_off(len(due), [replica])
    late = percentile(await lateness_ms(harness.redis, due), 99)
    note = f"{len(due):,} tasks"
    return [
        Figure(f"sync of {count:,}, nothing changed", "s", took_s, required=30, target=12),
        Figure(f"peak RSS in a sync of {count:,}", "MB", [peak_mb], required=400, target=200),
        Figure(f"lateness p99 in a sync of {count:,}", "ms", [late], required=150, target=50, note=note),
    ]


async def _feed(harness: BenchHarness, ids: list[str], due: dict[str, float]) -> None:
    step = int(PER_SECOND * _STEP_S)
    for start in range(0, len(ids) - step, step):
        at_ms = now_ms() + 1000
        some = {each: at_ms + n * 1000.0 // PER_SECOND for n, each in enumerate(ids[start : start + step])}
        await harness.schedule(some)
        due.update(some)
        await asyncio.sleep(_STEP_S)
