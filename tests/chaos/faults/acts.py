"""People act on the schedule: they run monitors now, hold some, hold all, and release them. Nothing fails meanwhile.

The acts pass a proxy of their own, which records what each script did.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import ALL_MONITORS, ActReply, Steering
from tests.chaos.faults.fault import Fault, MissedError
from tests.chaos.history import Acted
from tests.chaos.steps import Step, line_of
from tests.chaos.wire import step_proxy
from tests.chaos.world import ChaosWorld
from tests.kit.redis import target_of

WHO = "anna"
HOLD = msgspec.json.encode({"who": WHO, "why": "chaos"})
ALL = [Plan(ALL_MONITORS, 1)]
GROUP = 25
"""Monitors of one act."""
AROUND_TICK_S = 0.8
"""All monitors are held from so long before a tick until so long after it."""
RELEASED_AFTER_S = 0.4
"""The second hold on all, which begins while replicas hand off what they have claimed."""
UNTIL_RELEASE_S = 60.0


async def acts(world: ChaosWorld) -> None:
    """A hold on all ends by itself, a second one is released; so are the holds on three groups of monitors, of which
    one is released without its intervals.
    """
    shortest_s = world.timing.intervals[0]
    clock = asyncio.get_running_loop().time
    async with _person(world) as person:
        async with world.editor.at_rest():  # so that the rows, and with them the intervals, are as the history has them
            chosen = world.chance.sample(sorted(world.editor.running()), 5 * GROUP)
            first, held, released, due, again = (chosen[n::5] for n in range(5))
            _expect("due_now", await person.run_now(first))
            holds_end = clock() + shortest_s
            _expect("held", await person.hold(world.editor.plans(held), shortest_s, HOLD))
            plans = world.editor.plans(released)
            for group in (plans, world.editor.plans(due)):
                _expect("held", await person.hold(group, UNTIL_RELEASE_S, HOLD))
        await asyncio.sleep(await _until_tick_s(world, shortest_s))
        _expect("held", await person.hold(ALL, 2 * AROUND_TICK_S, HOLD))
        _expect("held_all", await person.run_now(again))
        await asyncio.sleep(2 * AROUND_TICK_S + 0.05)
        _expect("held", await person.hold(ALL, UNTIL_RELEASE_S, HOLD))
        await asyncio.sleep(RELEASED_AFTER_S)
        _expect("released", await person.release(ALL))
        _expect("released", await person.release(plans))
        _expect("released_now", await person.release([Plan(monitor, 0) for monitor in due]))
        _expect("due_now", await person.run_now(again))
        await asyncio.sleep(holds_end - clock())


@asynccontextmanager
async def _person(world: ChaosWorld) -> AsyncIterator[Steering]:
    """Past the checks of the commands: the entries of an earlier fault may look like those of a Go producer."""

    def seen(step: Step) -> None:
        if line := line_of(step, WHO):
            world.recorder.write(msgspec.convert(line, Acted))

    async with step_proxy(world.redis.port) as proxy:
        proxy.seen = seen
        target = msgspec.structs.replace(target_of(world.redis), port=proxy.port)
        async with redis_for(target, connections=1) as redis:
            yield Steering(redis)


async def _until_tick_s(world: ChaosWorld, interval: int) -> float:
    """How long it takes until all are to be held, before the next tick by Redis' clock."""
    async with world.connect() as redis:
        seconds, micros = await redis.time()
    return (-(seconds + micros / 1e6) - AROUND_TICK_S) % interval


def _expect(outcome: str, reply: ActReply) -> None:
    """Raise MissedError unless one monitor has this outcome: others may be leased or due at this moment."""
    if outcome not in reply.outcomes.values():
        others = ", ".join(sorted(set(reply.outcomes.values())))
        raise MissedError(f"expected {outcome} for a monitor, got {others}")


FAULTS = (Fault("monitors run now, held and released", "people act on the schedule", acts, short=True),)
