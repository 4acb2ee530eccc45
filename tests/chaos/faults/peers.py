"""A Go producer beside ours, which writes without a fence."""

import asyncio

from tests.chaos.faults.fault import Fault, MissedError
from tests.chaos.go_producer import GoBeside
from tests.chaos.world import World
from tests.kit.waiting import until

AT_LEAST = 20


async def side_by_side(world: World) -> None:
    """It takes its share of the monitors, and goes away in the middle of its work, as one that is killed."""
    async with GoBeside(world.connect, world.database, world.recorder) as go:
        await asyncio.sleep(world.timing.spell_s)
        go.still_runs()
        await until(lambda: go.handed_off >= AT_LEAST, "it hands off too", within_s=60)
        go.still_runs()
    if go.handed_off < AT_LEAST:
        raise MissedError("the Go producer had nothing to do")


FAULTS = (
    Fault(
        "Go producer beside ours, then killed",
        "Go and Python producers side by side",
        side_by_side,
        excuses=("doubled_by_go", "next_back"),
        short=True,
    ),
)
