"""From starting the process to its first hand-off; the compiled modules and the servers are warm."""

import time

from bench.figures import Figure
from bench.ground import DAY_S, Ground, now_ms
from bench.handed import handed_off_at_ms
from bench.options import Options
from bench.scraped import Scraper

MONITORS = 100


async def run(ground: Ground, options: Options) -> list[Figure]:
    """The first round, which warms up, does not count."""
    took_s = [await _round(ground, options.monitors or MONITORS) for _ in range(options.rounds + 1)]
    return [Figure("start to first hand-off", "s", took_s[1:], must=1.0, aim=0.5)]


async def _round(ground: Ground, count: int) -> float:
    ids = await ground.fill(count, interval=DAY_S)
    await ground.lead()
    await ground.schedule(dict.fromkeys(ids, float(now_ms())))
    began_at = time.time()
    async with ground.replicas(1, **Scraper().settings) as running:
        await ground.all_handed_off(count, running)
        first_ms = min((await handed_off_at_ms(ground.redis, ids)).values())
    return first_ms / 1000 - began_at
