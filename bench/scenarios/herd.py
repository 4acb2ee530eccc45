"""All monitors due at one instant: from that instant to the last hand-off."""

from bench.figures import Figure
from bench.harness import DAY_S, BenchHarness, now_ms
from bench.options import Options
from bench.queue_checks import first_and_last_ms

MONITORS = 100_000
INTERVAL = DAY_S
AHEAD_MS = 3000
"""The instant is this far ahead, so that the schedule is complete before it."""


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure one replica, which is connected and idle before."""
    count = options.monitors or MONITORS
    ids = await harness.fill(count, interval=INTERVAL)
    took_s = [await _round(harness, ids) for _ in range(options.rounds)]
    return [Figure(f"{count:,} due at once, last one handed off", "s", took_s, required=5, target=2)]


async def _round(harness: BenchHarness, ids: list[str]) -> float:
    await harness.redis.flushdb()
    await harness.lead()
    async with harness.replicas(1) as running:
        await harness.connected(running)
        instant_ms = now_ms() + AHEAD_MS
        await harness.schedule(dict.fromkeys(ids, float(instant_ms)))
        await harness.all_handed_off(len(ids), running)
        _, last_ms, _ = await first_and_last_ms(harness.redis, ids, INTERVAL)
        return (last_ms - instant_ms) / 1000
