"""What does not belong there: rows and tasks that are poison, strangers in the queue, values of a clock gone wrong.

The history is told nothing of poison monitors, so nothing is asked of them; of all others as much as ever.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peekaping_producer.schedule.keys import KEYS
from tests.chaos.faults.fault import Fault
from tests.chaos.world import World
from tests.kit.asynq_peer import PENDING
from tests.kit.databases import new_id
from tests.kit.replicas import row
from tests.kit.waiting import until

MOST_BYTES = "1mb"
"""The least that Redis takes for the longest value it accepts."""
POISON = (
    "[" * 5_000 + "]" * 5_000,
    '{"a":' * 3_000 + "1" + "}" * 3_000,
    '{"url": "' + "x" * 1_500_000 + '"}',
    '{"url": "' + "\\u00e9" * 600_000 + '"}',
    "9" * 100_000,
)
"""Configs: as deep as Postgres takes them, refused by Redis for their length, and of no form that anybody expects."""
HOUR_MS = 3_600_000
STRANGERS = 100


@asynccontextmanager
async def _poison(world: World) -> AsyncIterator[None]:
    database = world.editor.database
    rows = [row(new_id(), interval=world.timing.intervals[0], config=config) for config in POISON]
    try:
        for each in rows:
            await database.insert("monitors", each)
        yield
    finally:
        listed = ", ".join(f"'{each['id']}'" for each in rows)
        await world.editor.database.execute(f"DELETE FROM monitors WHERE id IN ({listed})")


async def refused(world: World) -> None:
    """Configs of any depth and size, and a Redis that takes none of the longest."""
    async with world.connect() as redis:
        before = (await redis.config_get("proto-max-bulk-len"))["proto-max-bulk-len"]
        await redis.config_set("proto-max-bulk-len", MOST_BYTES)
        try:
            async with _poison(world):
                await asyncio.sleep(world.timing.sync_s * 1.3)
        finally:
            await redis.config_set("proto-max-bulk-len", before)


async def strangers(world: World) -> None:
    """In the pending list and in both sets; some are longer than any id."""
    async with world.connect() as redis:
        now_s, _ = await redis.time()
        await redis.lpush(PENDING, *(f"stranger-{n}" for n in range(STRANGERS)), "", "x" * 300_000)
        await redis.zadd(KEYS.due, {f"{n}-{'x' * n}": 1 for n in range(STRANGERS)})
        await redis.zadd(KEYS.lease, {f"{'y' * n}-{n}": (now_s + n) * 1000 for n in range(STRANGERS)})
        await redis.zadd(KEYS.late, {f"late-{n}": 1 for n in range(STRANGERS)})
    await asyncio.sleep(world.timing.spell_s / 2)


async def far_ahead(world: World) -> None:
    """The leader's key names nobody and never ends, and some due times lie an hour ahead."""
    async with world.editor.at_rest(), world.connect() as redis:
        some = world.chance.sample(sorted(world.editor.running()), 30)
        now_s, _ = await redis.time()
        await redis.set(KEYS.leader, "nobody/at-all")
        await redis.zadd(KEYS.due, dict.fromkeys(some, now_s * 1000 + HOUR_MS), xx=True)
        world.editor.touched(some)

        async def somebody_leads() -> bool:
            return await redis.get(KEYS.leader) not in (None, b"nobody/at-all")

        await until(somebody_leads, "one of the replicas leads again", within_s=15)


_ROW = "what does not belong there"
FAULTS = (
    Fault("configs of any depth and size, refused by Redis", _ROW, refused, short=True),
    Fault("strangers in queue and schedule", _ROW, strangers, short=True),
    Fault("leader's key without end, due times an hour ahead", _ROW, far_ahead, heals_within_s=45, short=True),
)
