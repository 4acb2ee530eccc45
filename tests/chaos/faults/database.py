"""The database down, slow, empty, restarted; poison rows; and very many rows deleted together."""

import asyncio
import time

from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.breakpoints import Breakpoint
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.steps import proxy
from tests.chaos.history import Measured
from tests.chaos.world import ChaosWorld
from tests.kit.databases import new_id
from tests.kit.waiting import until

REPLY_DELAY_S = 0.5
A_DAY_S = 86_400
POISON = (
    {"config": '"no object"'},
    {"config": '{"check_cert_expiry": "yes"}'},
    {"config": None},
    {"proxy_id": new_id()},
    {"timeout": 2_147_483_647},
    {"name": "\U0001f4a3" * 100, "type": "no-such-type"},
    {"interval": 2_147_483_647},
    {"interval": 0},
    {"interval": -5},
)
"""Wrong values of one row; each is a monitor of its own, and the others must run as before."""
MAX_SLOWDOWN = 2.0
NOISE_MS = 150.0
ZOMBIE_S = 60.0
ENOUGH = 500
"""Tasks, for a p99."""


async def away(world: ChaosWorld) -> None:
    """Connections end, and new ones are refused."""
    for member in world.members:
        await member.database.down()
    await asyncio.sleep(world.timing.long_outage_s)
    for member in world.members:
        await member.database.up()


async def hung(world: ChaosWorld) -> None:
    """It accepts queries and never replies."""
    for member in world.members:
        member.database.hold_replies()
    await asyncio.sleep(world.timing.outage_s)
    for member in world.members:
        await member.database.cut()
        member.database.release_replies()


async def slow(world: ChaosWorld) -> None:
    for member in world.members:
        member.database.delay_s = REPLY_DELAY_S
    await asyncio.sleep(world.timing.spell_s)
    for member in world.members:
        member.database.delay_s = 0.0


async def empty(world: ChaosWorld) -> None:
    """It returns no monitor for longer than one sync, as while a backup is restored."""
    async with world.editor.at_rest():
        execute = world.editor.database.execute
        await execute("ALTER TABLE monitors RENAME TO monitors_away")
        await execute("CREATE TABLE monitors (LIKE monitors_away INCLUDING ALL)")
        await asyncio.sleep(world.timing.sync_s * 1.3)
        await execute("DROP TABLE monitors")
        await execute("ALTER TABLE monitors_away RENAME TO monitors")


async def poisoned(world: ChaosWorld) -> None:
    """The lateness of the others, before and with the poison."""
    before = await _lateness_p99_ms(world)
    async with world.editor.at_rest():
        ids = []
        for columns in POISON:
            ids += await world.editor.create(1, **columns)
        await _put_into_an_impossible_window(world, ids[0])
        with_poison = await _lateness_p99_ms(world, but=ids)
        await world.editor.delete(ids)
    limit_ms = max(before * MAX_SLOWDOWN, before + NOISE_MS)
    world.recorder.write(
        Measured(invariant="I7", what="p99 lateness of the others, ms", value=with_poison, limit=limit_ms)
    )


async def _put_into_an_impossible_window(world: ChaosWorld, monitor_id: str) -> None:
    database = world.editor.database
    window = database.window(
        strategy="cron",
        cron="61 25 * * 8",
        duration=10,
        start_date_time="2020-01-01T00:00",
        end_date_time="2100-01-01T00:00",
    )
    await database.insert("maintenances", window)
    await database.insert("monitor_maintenances", database.link({"id": monitor_id}, window))


async def _lateness_p99_ms(world: ChaosWorld, but: list[str] = []) -> float:  # noqa: B006 - never changed
    world.consumer.waited_ms.clear()
    await until(lambda: len(world.consumer.waited_ms) >= ENOUGH, "tasks to measure", within_s=60)
    waited = sorted(ms for monitor_id, ms in world.consumer.waited_ms if monitor_id not in but)
    return waited[int(len(waited) * 0.99)]


async def deleted_in_masses(world: ChaosWorld) -> None:
    """Very many rows go in one statement, just when a sync has begun to page."""
    ids = await world.editor.create(world.timing.rows_deleted, interval=A_DAY_S)
    async with world.connect() as redis:
        seconds, _ = await redis.time()
        tick = next_tick(seconds * 1000, A_DAY_S)
        for start in range(0, len(ids), 5000):
            await redis.zadd(KEYS.due, dict.fromkeys(ids[start : start + 5000], tick))
    point: Breakpoint = proxy(await world.leader()).break_at("compare", "asked")
    await point.hit(world.timing.sync_s + 60)
    async with world.editor.at_rest():
        await world.editor.delete(ids)
    point.release()
    began_at, gone = time.monotonic(), set(ids)
    await until(
        lambda: world.sampler.latest is not None and not gone & world.sampler.latest.members,
        "the deleted have left the schedule",
        within_s=2 * (ZOMBIE_S + world.timing.sync_s),
    )
    took_s = time.monotonic() - began_at
    world.recorder.write(
        Measured(invariant="I4", what="seconds until none was left", value=took_s, limit=ZOMBIE_S + world.timing.sync_s)
    )


_ROW = "database down, slow, empty"
FAULTS = (
    Fault("database down", _ROW, away, short=True),
    Fault("database hangs", _ROW, hung),
    Fault("every reply of the database 500 ms late", _ROW, slow),
    Fault("database returns nothing", _ROW, empty, short=True),
    Fault("poison monitors", "1 poison monitor in 10,000", poisoned),
    Fault("mass delete while sync runs", "100,000 deletes while sync runs", deleted_in_masses, heals_within_s=95),
)
