"""Monitors handed off per second, relative to Redis alone and to the Go producer in the same round.

All are due at one instant; real processes hand them off; measured from the first to the last task in the
queue, by Redis TIME.
"""

from pathlib import Path
from urllib.parse import quote

import msgspec

from bench.costs import costs
from bench.figures import Figure
from bench.harness import DAY_S, BenchHarness, Process, now_ms
from bench.options import Options
from bench.queue_checks import first_and_last_ms
from bench.redis_only import redis_only_limit
from tests.kit.replicas import ReplicaProcess, environment

MONITORS = 100_000
INTERVAL = DAY_S
OF_GO = 30_000
"""The most monitors for the Go producer, which needs a minute for them."""
GO_CONCURRENCY = 10
"""Its best value: twice as fast as 128."""
_SPENDERS = ("the producer", "Redis in scripts", "the database")


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure three rates per round, and their ratios; Redis alone before and after, since machines drift."""
    count = options.monitors or MONITORS
    ids = await harness.fill(count, interval=INTERVAL)
    limits, rates, of_go = [], [], []
    spent: list[tuple[float, float, float]] = []
    for _ in range(options.rounds):
        before = redis_only_limit(harness.redis_url, ids, options.batch)
        rates.append(await rate(harness, ids, options, options.replicas, spent))
        limits.append((before + redis_only_limit(harness.redis_url, ids, options.batch)) / 2)
        if options.go_producer:
            of_go.append(await _go_rate(harness, ids[:OF_GO], options.go_producer))
    shares = [100 * each / limit for each, limit in zip(rates, limits, strict=True)]
    return [
        Figure("Redis alone", "monitors/s", limits, better="higher"),
        Figure("throughput", "monitors/s", rates, better="higher", note=_note(options)),
        Figure("share of Redis alone", "%", shares, better="higher", required=40, target=70),
        _against_go(rates, of_go),
        *(
            Figure(f"spent by {spender}", "µs/monitor", [each[n] for each in spent])
            for n, spender in enumerate(_SPENDERS)
        ),
    ]


async def rate(
    harness: BenchHarness,
    ids: list[str],
    options: Options,
    replicas: int,
    spent: list[tuple[float, float, float]] | None = None,
) -> float:
    """Return monitors per second of `replicas` replicas; append the costs per monitor to `spent`."""
    settings = {"PRODUCER_CONCURRENCY": str(options.concurrency), "CLAIM_BATCH": str(options.batch)}
    await harness.redis.flushdb()
    await harness.lead()
    async with harness.replicas(replicas, **settings) as running:
        await harness.connected(running)
        before = await costs(harness, running)
        found = await _rate(harness, ids, running)
        if spent is not None:
            spent.append((await costs(harness, running)).per_monitor_us(before, len(ids)))
        return found


async def _go_rate(harness: BenchHarness, ids: list[str], binary: Path) -> float:
    await harness.redis.flushdb()
    await harness.lead()
    go = ReplicaProcess(binary.parent, _go_environment(harness), argv=[binary], logs=False)
    try:
        await harness.connected([go.process])
        return await _rate(harness, ids, [go.process])
    finally:
        go.kill()


def _go_environment(harness: BenchHarness) -> dict[str, str]:
    """The settings of both servers. The Go producer escapes nothing in its database URL, so the password is escaped."""
    redis = harness.redis.connection_pool.connection_kwargs
    database = harness.database
    if database.dialect == "postgres" and database.password:
        database = msgspec.structs.replace(database, password=quote(database.password, safe=""))
    return environment(
        redis["port"],
        database,
        REDIS_HOST=redis["host"],
        REDIS_DB=str(redis.get("db") or 0),
        REDIS_PASSWORD=redis.get("password") or "",
        PRODUCER_CONCURRENCY=str(GO_CONCURRENCY),
    )


async def _rate(harness: BenchHarness, ids: list[str], running: list[Process]) -> float:
    """Return monitors per second, without the first batch, which only starts the measurement."""
    await harness.schedule(dict.fromkeys(ids, float(now_ms())))
    await harness.all_handed_off(len(ids), running)
    first, last, in_first = await first_and_last_ms(harness.redis, ids, INTERVAL)
    return 1000 * (len(ids) - in_first) / (last - first)


def _against_go(rates: list[float], of_go: list[float]) -> Figure:
    name = "throughput against the Go producer"
    if not of_go:
        return Figure(name, "x", [], better="higher", required=20, target=35, note="needs --go-producer PATH")
    ratios = [ours / theirs for ours, theirs in zip(rates, of_go, strict=True)]
    seen = ", ".join(f"{each:,.0f}" for each in of_go)
    return Figure(name, "x", ratios, better="higher", required=20, target=35, note=f"Go: {seen} monitors/s")


def _note(options: Options) -> str:
    replicas = f"{options.replicas} replica{'s' * (options.replicas != 1)}"
    return f"batch {options.batch}, {options.concurrency} workers, {replicas}"
