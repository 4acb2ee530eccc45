"""Cost of one monitor among 1,000 to 1,000,000 monitors."""

import asyncio

from bench.figures import Figure
from bench.harness import DAY_S, BenchHarness, memory_mb, now_ms
from bench.metrics_client import MetricsClient
from bench.options import Options
from bench.queue_checks import handed_off_at_ms

SIZES = (1_000, 10_000, 100_000, 1_000_000)
DUE = 10_000
"""The number of monitors, out of all, that are due at once, claimed and handed off."""
_SYNCS = 3


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Three figures for each size up to --monitors."""
    sizes = [size for size in SIZES if size <= (options.monitors or SIZES[-1])]
    return [figure for size in sizes for figure in await _of(harness, size, options.rounds)]


async def _of(harness: BenchHarness, size: int, rounds: int) -> list[Figure]:
    measured = []
    ids = await harness.fill(size, interval=DAY_S)
    for _ in range(rounds):
        await harness.redis.flushdb()
        await harness.schedule_later(ids)
        measured.append(await _round(harness, ids))
    hand_off, sync, memory = ([each[n] for each in measured] for n in range(3))
    return [
        Figure(f"claim and hand-off, of {size:,}", "µs/monitor", hand_off),
        Figure(f"sync, of {size:,}", "µs/monitor", sync),
        Figure(f"peak RSS, of {size:,}", "MB", memory),
    ]


async def _round(harness: BenchHarness, ids: list[str]) -> tuple[float, float, float]:
    """Return µs per monitor of hand-off and of sync, and peak RSS in MB. Hand-off first, while no replica leads."""
    await harness.lead()
    client = MetricsClient()
    async with harness.replicas(1, SYNC_INTERVAL="5", **client.settings) as (replica,):
        await client.up()
        await asyncio.sleep(1)
        due = ids[:DUE]
        await harness.schedule(dict.fromkeys(due, float(now_ms() + 500)))
        await harness.all_handed_off(len(due), [replica])
        at = sorted((await handed_off_at_ms(harness.redis, due)).values())
        later = [each for each in at if each > at[0]]  # the first batch only starts the clock
        hand_off_us = 1000 * (at[-1] - at[0]) / len(later) if later else 0.0
        await harness.resign()
        sync_us = 1e6 * await client.sync_seconds(_SYNCS) / _SYNCS / len(ids)
        return hand_off_us, sync_us, memory_mb(replica, "VmHWM")
