"""Redis restarted, emptied, full, read-only, without its scripts, and with a clock that steps back."""

import asyncio
import time
from functools import partial

from tests.chaos.faults.fault import Fault
from tests.chaos.history import MemoryLost
from tests.chaos.world import ChaosWorld
from tests.kit.processes import HOST, free_port

SCRIPT_FLUSH_EVERY_S = 0.1
CLOCK_STEP_S = 5.0
TOO_LITTLE_MEMORY = "1mb"


async def restarted(world: ChaosWorld, *, brief: bool, keeps: bool) -> None:
    """Killed as a crash does, and back after a while, with what its append-only file holds or with nothing."""
    await world.redis.stop(kill=True)
    if not keeps:
        for file in world.redis.directory.glob("appendonlydir/*"):
            file.unlink()
        memory_lost(world)
    await asyncio.sleep(world.timing.brief_s if brief else world.timing.outage_s)
    await world.redis.start()


def memory_lost(world: ChaosWorld) -> None:
    """A monitor that was handed off in this tick may be handed off once more, since Redis has lost it."""
    world.sampler.forget()
    world.recorder.write(MemoryLost())


async def clock_stepped_back(world: ChaosWorld) -> None:
    """A restart, after which its clock is behind by what a failover to a badly kept machine brings."""
    assert world.clock is not None
    await world.redis.stop(kill=True)
    world.clock.set(-CLOCK_STEP_S)
    await world.redis.start()
    await _set_right(world)


async def _set_right(world: ChaosWorld) -> None:
    """After a while the clock is set right."""
    assert world.clock is not None
    await asyncio.sleep(world.timing.spell_s / 2)
    world.clock.set(0.0)


async def flushed(world: ChaosWorld) -> None:
    async with world.connect() as redis:
        await redis.flushall()
    memory_lost(world)


async def scripts_flushed(world: ChaosWorld) -> None:
    """SCRIPT FLUSH, again and again."""
    until_ = time.monotonic() + world.timing.spell_s / 2
    async with world.connect() as redis:
        while time.monotonic() < until_:
            await redis.script_flush("SYNC")
            await asyncio.sleep(SCRIPT_FLUSH_EVERY_S)


async def full(world: ChaosWorld) -> None:
    """Every command that needs memory is refused."""
    async with world.connect() as redis:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", TOO_LITTLE_MEMORY)
        await asyncio.sleep(world.timing.spell_s / 2)
        await redis.config_set("maxmemory", 0)


async def read_only(world: ChaosWorld) -> None:
    """The master was demoted: it answers, and refuses every write."""
    async with world.connect() as redis:
        await redis.replicaof(HOST, str(free_port()))  # no server is there, so it keeps its data
        await asyncio.sleep(world.timing.spell_s / 2)
        await redis.replicaof("NO", "ONE")


async def failed_over(world: ChaosWorld) -> None:
    """The sentinels are asked to swap master and replica."""
    await _fail_over(world, "asked")


async def master_killed(world: ChaosWorld) -> None:
    """The sentinels notice by themselves; the killed one comes back as a replica."""
    old = world.redis
    await _fail_over(world, "killed")
    await old.start()


async def failed_over_to_a_late_clock(world: ChaosWorld) -> None:
    """The replica's clock is behind by a step when it becomes the master."""
    assert world.watched is not None
    assert world.clock is not None
    if world.redis is not world.watched.servers[0]:  # the other one's clock can be set
        await _fail_over(world, "asked")
    world.clock.set(-CLOCK_STEP_S)
    await _fail_over(world, "asked")
    await _set_right(world)


async def _fail_over(world: ChaosWorld, how: str) -> None:
    """Replication is asynchronous: the new master may miss the last writes of the old one."""
    assert world.watched is not None
    await world.watched.in_step()
    world.redis = await world.watched.fail_over(how)
    memory_lost(world)


_RESTART = "Redis restart, FLUSHALL, SCRIPT FLUSH"
_REFUSES = "Sentinel failover, READONLY, maxmemory"
_CLOCK = "clock of Redis stepping back 5 s"
FAULTS = (
    Fault("Redis killed, back with its AOF (brief)", _RESTART, partial(restarted, brief=True, keeps=True), short=True),
    Fault("Redis killed, back with its AOF (slow)", _RESTART, partial(restarted, brief=False, keeps=True)),
    Fault("Redis killed, back empty (brief)", _RESTART, partial(restarted, brief=True, keeps=False)),
    Fault("Redis killed, back empty (slow)", _RESTART, partial(restarted, brief=False, keeps=False)),
    Fault("FLUSHALL", _RESTART, flushed, short=True),
    Fault("SCRIPT FLUSH every 100 ms", _RESTART, scripts_flushed, short=True),
    Fault("maxmemory reached", _REFUSES, full, heals_within_s=15, short=True),
    Fault("READONLY", _REFUSES, read_only, short=True),
    Fault(
        "clock of Redis back 5 s at a restart", _CLOCK, clock_stepped_back, excuses=("clock_step",), sets_clocks=True
    ),
    Fault(
        "clock of Redis back 5 s at a failover",
        _CLOCK,
        failed_over_to_a_late_clock,
        excuses=("clock_step",),
        sentinels=True,
        sets_clocks=True,
    ),
    Fault("Sentinel failover, requested", _REFUSES, failed_over, heals_within_s=40, sentinels=True),
    Fault("Sentinel failover, master killed", _REFUSES, master_killed, heals_within_s=40, sentinels=True),
)
