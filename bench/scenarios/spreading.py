"""Lateness of 100,000 monitors of 60 s whose ticks are spread, and of the same monitors all due at one instant.

Due times lie in the minute that begins with a tick, so that no second tick comes before all first ones.
"""

from bench.figures import Figure, percentile
from bench.harness import BenchHarness, cpu_s, now_ms
from bench.options import Options
from bench.queue_checks import lateness_ms
from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.schedule.keys import KEYS

MONITORS = 100_000
INTERVAL = 60
AHEAD_MS = 3000
"""The first tick is this far ahead at least, so that the schedule is complete before it."""


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure both in turn: p50, p99, the maximum, and the CPU time of the replica."""
    count = options.monitors or MONITORS
    ids = await harness.fill(count, interval=INTERVAL)
    figures: list[Figure] = []
    rounds: dict[bool, list[tuple[list[float], float]]] = {True: [], False: []}
    for _ in range(options.rounds):
        for spread, measured in rounds.items():
            measured.append(await _round(harness, ids, spread=spread))
    for spread, name in ((True, "spread"), (False, "at one instant")):
        late = [of_round for of_round, _ in rounds[spread]]
        figures += (
            Figure(f"{name}, lateness p50", "ms", [percentile(each, 50) for each in late]),
            Figure(
                f"{name}, lateness p99",
                "ms",
                [percentile(each, 99) for each in late],
                required=500 if spread else None,
                target=250 if spread else None,
            ),
            Figure(f"{name}, lateness worst", "ms", [max(each) for each in late]),
            Figure(f"{name}, CPU of the producer", "s", [spent for _, spent in rounds[spread]]),
        )
    return figures


async def _round(harness: BenchHarness, ids: list[str], *, spread: bool) -> tuple[list[float], float]:
    """Return the lateness of each in ms, and the CPU seconds of the replica."""
    await harness.redis.flushdb()
    await harness.lead()
    if spread:
        await harness.redis.set(KEYS.spread, "1 bench/1")
    async with harness.replicas(1) as running:
        await harness.connected(running)
        period_ms = INTERVAL * 1000
        tick_ms = ((now_ms() + AHEAD_MS) // period_ms + 1) * period_ms
        due = {each: float(tick_ms + 1000 * phase_s(each, INTERVAL) * spread) for each in ids}
        await harness.schedule(due)
        before_s = cpu_s(running[0])
        await harness.all_handed_off(len(ids), running)
        spent_s = cpu_s(running[0]) - before_s
        scores = dict(await harness.redis.zrange(KEYS.due, 0, -1, withscores=True))
        phases = {each: 1000 * phase_s(each, INTERVAL) * spread for each in ids}
        misaligned = sum((scores[each.encode()] - phases[each]) % period_ms != 0 for each in ids)
        assert not misaligned, f"{misaligned} of {len(ids)} due times are no ticks"
    return await lateness_ms(harness.redis, due), spent_s
