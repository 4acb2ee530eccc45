"""Cost of open pages: commands, CPU and memory of a replica, time of Redis, and lateness beside 1,000 connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from bench.figures import Figure, percentile
from bench.harness import DAY_S, BenchHarness, Process, memory_mb, now_ms
from bench.options import Options
from bench.queue_checks import lateness_ms
from peekaping_producer.demo.embedded import HOST, free_port
from peekaping_producer.operations.heartbeat import SLOTS
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule, Slots
from peekaping_producer.targets import RedisTarget
from peekaping_producer.ui.frame import MAX_EVENTS

IDLE_MONITORS = 1000
LOOK_MONITORS = 1_000_000
LATE_MONITORS = 20_000
INTERVAL = 60
PAGES = (0, 1, 50)
CONNECTIONS = 1000
LOOKS = 200
SETTLES_S = 6.0
WATCH_S = 20.0
_REQUEST = b"GET /api/frames HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure pages beside an idle replica, a look at many monitors, and lateness."""
    idle = [await _idle_round(harness) for _ in range(options.rounds)]
    looks = await _looks(harness, options.monitors or LOOK_MONITORS, options.rounds)
    late = [await _late_round(harness, options.monitors or LATE_MONITORS) for _ in range(options.rounds)]
    looked_at = options.monitors or LOOK_MONITORS
    figures = [
        Figure("page: commands, 1 page", "1/s more", [each[1][0] - each[0][0] for each in idle], required=2.2),
        Figure("page: commands, 50 pages", "1/s more", [each[50][0] - each[0][0] for each in idle], required=2.2),
        Figure("page: CPU, 1 page", "% of a core more", [each[1][1] - each[0][1] for each in idle]),
        Figure("page: CPU, 50 pages", "% of a core more", [each[50][1] - each[0][1] for each in idle]),
        Figure("page: RSS, 50 pages", "MB more", [each[50][2] - each[0][2] for each in idle], required=3.0),
        Figure(f"page: a look with counts at {looked_at:,} monitors", "ms", looks, required=0.5),
    ]
    return figures + [
        Figure(f"page: lateness p99, {name}", "ms", [each[number] for each in late])
        for number, name in enumerate(("no page", f"{CONNECTIONS:,} connections, 100 pages"))
    ]


async def _idle_round(harness: BenchHarness) -> dict[int, tuple[float, float, float]]:
    """By number of pages: commands a second, % of a core, MB."""
    await harness.schedule_later(await harness.fill(IDLE_MONITORS, interval=DAY_S))
    port, found = free_port(), {}
    async with harness.replicas(1, UI_ADDR=f"{HOST}:{port}") as (replica,):
        await harness.connected([replica])
        for pages in PAGES:
            async with _connections(port, pages):
                await asyncio.sleep(SETTLES_S)
                found[pages] = (*await harness.cost_of(replica, WATCH_S), memory_mb(replica))
    return found


async def _looks(harness: BenchHarness, count: int, rounds: int) -> list[float]:
    """The mean time in Redis of the longest kind of look, in ms."""
    await harness.redis.flushdb()
    start_ms = now_ms()
    await harness.schedule({f"{n:036d}": start_ms + n * INTERVAL * 1000 / count for n in range(count)})
    means = []
    async with redis_for(RedisTarget(**_address(harness)), connections=1) as redis:
        schedule = Schedule(redis)
        for _ in range(rounds):
            await harness.redis.config_resetstat()
            for _ in range(LOOKS):
                slots = Slots(now_ms() // 1000 * 1000, 1000, SLOTS + 4)
                await schedule.look(members=10, slots=slots, events=MAX_EVENTS, watch=True)
            spent = (await harness.redis.info("commandstats"))["cmdstat_evalsha"]
            means.append(spent["usec"] / spent["calls"] / 1000)
    return means


def _address(harness: BenchHarness) -> dict[str, str | int]:
    known = harness.redis.connection_pool.connection_kwargs
    return {"host": known["host"], "port": known["port"], "db": known["db"]}


async def _late_round(harness: BenchHarness, count: int) -> tuple[float, float]:
    """The p99 of lateness in ms without pages, and beside many connections."""
    found = []
    for connections in (0, CONNECTIONS):
        ids, port = await harness.fill(count, interval=INTERVAL), free_port()
        await harness.lead()
        async with harness.replicas(1, UI_ADDR=f"{HOST}:{port}") as running:
            await harness.connected(running)
            async with _connections(port, connections):
                due = await _make_due(harness, ids, running)
        found.append(percentile(await lateness_ms(harness.redis, due), 99))
    return found[0], found[1]


async def _make_due(harness: BenchHarness, ids: list[str], running: list[Process]) -> dict[str, float]:
    """Let the monitors come due within a minute that begins with a tick, and wait for all."""
    period_ms = INTERVAL * 1000
    start_ms = (now_ms() // period_ms + 1) * period_ms
    due = {each: float(start_ms + n * 0.9 * period_ms / len(ids)) for n, each in enumerate(ids)}
    await harness.schedule(due)
    await harness.all_handed_off(len(ids), running)
    return due


@asynccontextmanager
async def _connections(port: int, count: int) -> AsyncIterator[None]:
    """Open so many pages; of more than 100, the others send nothing."""
    async with AsyncExitStack() as stack:
        for number in range(count):
            for _ in range(100):
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection(HOST, port)
                    break
                await asyncio.sleep(0.1)
            stack.callback(writer.close)
            if number < 100:
                writer.write(_REQUEST)
                stack.callback(asyncio.create_task(_read(reader)).cancel)
        yield


async def _read(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(65536):
            pass
