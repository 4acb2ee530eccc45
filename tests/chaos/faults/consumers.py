"""Consumers that are slow, absent, or die with active tasks."""

import asyncio

from tests.chaos.faults.fault import Fault
from tests.chaos.world import ChaosWorld
from tests.kit.waiting import until

TASKS = 30
SILENCE_S = 60 + 30 + 60
"""I8: an interval (the longest here), a minute, and asynq's allowance."""


async def absent(world: ChaosWorld) -> None:
    world.consumer.at_work.clear()
    await asyncio.sleep(world.timing.spell_s * 2)
    world.consumer.at_work.set()


async def slow(world: ChaosWorld) -> None:
    """It cannot keep up: tasks wait, and are made fresh in their place."""
    world.consumer.delay_s = 0.03
    await asyncio.sleep(world.timing.spell_s)
    world.consumer.delay_s = 0.0


async def dies(world: ChaosWorld) -> None:
    """Tasks stay active, until a recoverer or a producer finds that their leases are over."""
    world.consumer.drops = TASKS
    await until(lambda: world.consumer.drops == 0, "it took them", within_s=60)


async def fails(world: ChaosWorld) -> None:
    """Tasks are out of retries and archived; their ids must be free for the next tick."""
    world.consumer.fails = TASKS
    await until(lambda: world.consumer.fails == 0, "they are archived", within_s=60)


_ROW = "slow or absent consumer"
FAULTS = (
    Fault("no consumer", _ROW, absent),
    Fault("slow consumer", _ROW, slow),
    Fault("consumer dies with active tasks", _ROW, dies, heals_within_s=SILENCE_S),
    Fault("tasks archived", _ROW, fails, heals_within_s=60, short=True),
)
