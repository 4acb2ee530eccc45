"""Lateness of 10,000 monitors, due evenly in a minute, with and without one poison monitor of each kind.

Each round runs once without and once with the poison monitors, on the same servers. The replica leads and syncs first;
then each monitor is due once. Redis accepts at most 1 MiB in one argument, so that it refuses some tasks.
"""

import asyncio
from collections.abc import Mapping

from bench.figures import Figure, percentile
from bench.harness import DAY_S, WITHOUT_DOTENV, BenchHarness, now_ms
from bench.metrics_client import MetricsClient
from bench.options import Options
from bench.queue_checks import lateness_ms
from peekaping_producer.brokers.asynq_keys import PENDING, TASK_ID_PREFIX
from tests.kit import databases
from tests.kit.commands import status
from tests.kit.poison import Poison, bulks_limited, insert_poisons

MONITORS = 10_000
SPREAD_MS = 60_000
MAX_RATIO = 1.5
MAX_DIFFERENCE_MS = 20.0
"""A smaller difference counts as none, whatever the ratio."""
_REPORTED_WITHIN_S = 15.0


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure p99 of both, their ratio, and the excess over the allowed ratio."""
    count = options.monitors or MONITORS
    clean, poisoned = [], []
    async with bulks_limited(harness.redis):
        for _ in range(options.rounds):
            clean.append(percentile(await _round(harness, count, poisoned=False), 99))
            poisoned.append(percentile(await _round(harness, count, poisoned=True), 99))
    pairs = list(zip(clean, poisoned, strict=True))
    ratios = [with_poison / without for without, with_poison in pairs]
    return [
        Figure("lateness p99, no poison", "ms", clean),
        Figure("lateness p99, one poison monitor of each kind", "ms", poisoned),
        Figure("their ratio", "x", ratios),
        Figure(
            f"their difference, where the ratio is above {MAX_RATIO:g}",
            "ms",
            [max(0.0, b - a) if b > MAX_RATIO * a else 0.0 for a, b in pairs],
            required=MAX_DIFFERENCE_MS,
        ),
    ]


async def _round(harness: BenchHarness, count: int, *, poisoned: bool) -> list[float]:
    ids = await harness.fill(count, interval=DAY_S)
    await harness.schedule_later(ids)
    poisons: Mapping[str, Poison] = {}
    if poisoned:
        async with databases.connected(harness.database) as database:
            poisons = await insert_poisons(database, harness.redis, interval=DAY_S)
    members = [each.id for each in poisons.values() if each.in_schedule]
    await harness.schedule_later(members)
    client = MetricsClient()
    async with harness.replicas(1, SYNC_INTERVAL="3600", **client.settings):
        await client.up()
        await client.sync_seconds(1)
        start_ms = now_ms() + 2000
        due = {each: start_ms + n * SPREAD_MS / count for n, each in enumerate(ids)}
        of_poisons = {each: start_ms + (n + 1) * SPREAD_MS / 10 for n, each in enumerate(members)}
        await harness.schedule(due | of_poisons)
        await asyncio.sleep((start_ms + SPREAD_MS - now_ms()) / 1000 + 1)
        await _require_right(harness, ids, poisons)
    return await lateness_ms(harness.redis, due)


async def _require_right(harness: BenchHarness, ids: list[str], poisons: Mapping[str, Poison]) -> None:
    """Check that exactly the expected tasks exist, and that `status` reports every anomaly."""
    pending = {each.decode().removeprefix(TASK_ID_PREFIX) for each in await harness.redis.lrange(PENDING, 0, -1)}
    runs = {each.id for each in poisons.values() if each.runs}
    assert pending == {*ids, *runs}, f"{len(pending ^ {*ids, *runs})} tasks are missing, or of other monitors"
    expected = {(each.named or each.id, each.anomaly) for each in poisons.values() if each.anomaly}
    missing = expected
    async with asyncio.timeout(_REPORTED_WITHIN_S):
        while missing := expected - await _anomalies(harness):
            await asyncio.sleep(1)
    assert not missing, f"status does not report {missing}"


async def _anomalies(harness: BenchHarness) -> set[tuple[str, str]]:
    document = await status(WITHOUT_DOTENV, harness.environment_of_commands())
    return {(each["monitor_id"], each["kind"]) for each in document["anomalies"]}
