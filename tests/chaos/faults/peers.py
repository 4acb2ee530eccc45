"""A Go producer next to replicas of this producer, which writes without a fence."""

import asyncio

from tests.chaos.faults.fault import Fault, MissedError
from tests.chaos.go_producer import GoBeside
from tests.chaos.world import ChaosWorld
from tests.kit.waiting import until

AT_LEAST = 20


async def side_by_side(world: ChaosWorld) -> None:
    """It claims some of the monitors, and is killed while it works."""
    async with GoBeside(world.connect, world.database, world.recorder) as go:
        await asyncio.sleep(world.timing.spell_s)
        go.still_runs()
        await until(lambda: go.handed_off >= AT_LEAST, "it hands off too", within_s=60)
        go.still_runs()
    if go.handed_off < AT_LEAST:
        raise MissedError("the Go producer had nothing to do")


FAULTS = (
    Fault(
        "Go producer next to replicas, then killed",
        "Go and Python producers at the same time",
        side_by_side,
        excuses=("duplicated_by_go", "next_back"),
        short=True,
    ),
)
