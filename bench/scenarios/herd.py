"""Everybody due at one instant: from that instant until the last one is handed off."""

from bench.figures import Figure
from bench.ground import DAY_S, Ground, now_ms
from bench.handed import first_and_last_ms
from bench.options import Options

MONITORS = 100_000
INTERVAL = DAY_S
AHEAD_MS = 3000
"""The instant lies so far ahead that the schedule is whole before it."""


async def run(ground: Ground, options: Options) -> list[Figure]:
    """By one replica, which has been waiting."""
    count = options.monitors or MONITORS
    ids = await ground.fill(count, interval=INTERVAL)
    took_s = [await _round(ground, ids) for _ in range(options.rounds)]
    return [Figure(f"{count:,} due at once, last one handed off", "s", took_s, must=5, aim=2)]


async def _round(ground: Ground, ids: list[str]) -> float:
    await ground.redis.flushdb()
    await ground.lead()
    async with ground.replicas(1) as running:
        await ground.connected(running)
        instant_ms = now_ms() + AHEAD_MS
        await ground.schedule(dict.fromkeys(ids, float(instant_ms)))
        await ground.all_handed_off(len(ids), running)
        _, last_ms, _ = await first_and_last_ms(ground.redis, ids, INTERVAL)
        return (last_ms - instant_ms) / 1000
