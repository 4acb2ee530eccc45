"""Poison rows and tasks, foreign entries in the queue and the sets, and values of a wrong clock.

The history does not contain the poison monitors, so the rules expect nothing of them, and the usual of all others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peekaping_producer.schedule.keys import KEYS
from tests.chaos.faults.fault import Fault
from tests.chaos.world import ChaosWorld
from tests.kit.asynq_peer import PENDING
from tests.kit.databases import monitor_row, new_id
from tests.kit.waiting import until

MAX_BYTES = "1mb"
"""The least that Redis takes for the longest value it accepts."""
POISON = (
    "[" * 5_000 + "]" * 5_000,
    '{"a":' * 3_000 + "1" + "}" * 3_000,
    '{"url": "' + "x" * 1_500_000 + '"}',
    '{"url": "' + "\\u00e9" * 600_000 + '"}',
    "9" * 100_000,
)
"""Configs: as deep as Postgres takes them, refused by Redis for their length, and not the expected JSON object."""
HOUR_MS = 3_600_000
FOREIGN = 100


@asynccontextmanager
async def _poison(world: ChaosWorld) -> AsyncIterator[None]:
    database = world.editor.database
    rows = [monitor_row(new_id(), interval=world.timing.intervals[0], config=config) for config in POISON]
    try:
        for each in rows:
            await database.insert("monitors", each)
        yield
    finally:
        listed = ", ".join(f"'{each['id']}'" for each in rows)
        await world.editor.database.execute(f"DELETE FROM monitors WHERE id IN ({listed})")


async def refused(world: ChaosWorld) -> None:
    """Configs of any depth and size, and a Redis that takes none of the longest."""
    async with world.connect() as redis:
        before = (await redis.config_get("proto-max-bulk-len"))["proto-max-bulk-len"]
        await redis.config_set("proto-max-bulk-len", MAX_BYTES)
        try:
            async with _poison(world):
                await asyncio.sleep(world.timing.sync_s * 1.3)
        finally:
            await redis.config_set("proto-max-bulk-len", before)


async def foreign_entries(world: ChaosWorld) -> None:
    """In the pending list and in both sets; some are longer than any id."""
    async with world.connect() as redis:
        now_s, _ = await redis.time()
        await redis.lpush(PENDING, *(f"foreign-{n}" for n in range(FOREIGN)), "", "x" * 300_000)
        await redis.zadd(KEYS.due, {f"{n}-{'x' * n}": 1 for n in range(FOREIGN)})
        await redis.zadd(KEYS.lease, {f"{'y' * n}-{n}": (now_s + n) * 1000 for n in range(FOREIGN)})
        await redis.zadd(KEYS.late, {f"late-{n}": 1 for n in range(FOREIGN)})
    await asyncio.sleep(world.timing.spell_s / 2)


async def far_ahead(world: ChaosWorld) -> None:
    """The leader key names no replica and has no TTL, and some due times lie an hour ahead."""
    async with world.editor.at_rest(), world.connect() as redis:
        some = world.chance.sample(sorted(world.editor.running()), 30)
        now_s, _ = await redis.time()
        await redis.set(KEYS.leader, "no-replica/term")
        await redis.zadd(KEYS.due, dict.fromkeys(some, now_s * 1000 + HOUR_MS), xx=True)
        world.editor.touched(some)

        async def another_leads() -> bool:
            return await redis.get(KEYS.leader) not in (None, b"no-replica/term")

        await until(another_leads, "one of the replicas leads again", within_s=15)


_ROW = "what does not belong there"
FAULTS = (
    Fault("configs of any depth and size, refused by Redis", _ROW, refused, short=True),
    Fault("foreign entries in queue and schedule", _ROW, foreign_entries, short=True),
    Fault("leader key without TTL, due times an hour ahead", _ROW, far_ahead, heals_within_s=45, short=True),
)
