"""Processes killed, frozen and cut off at each step of a claim: claim, load, hand-off sent, reply lost."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from peekaping_producer.service.aio import cancel_and_wait
from tests.chaos.breakpoints import At, Breakpoint
from tests.chaos.faults.fault import Fault, MissedError
from tests.chaos.fleet import Member
from tests.chaos.steps import Step
from tests.chaos.wire import StepProxy
from tests.chaos.world import ChaosWorld
from tests.kit.waiting import until

HIT_WITHIN_S = 30.0

Strike = Callable[[ChaosWorld, Member, Callable[[], None]], Awaitable[None]]
"""What happens to a replica that is held at a step; the callable lets the step go on."""


async def killed(world: ChaosWorld, member: Member, let_go: Callable[[], None]) -> None:
    """SIGKILL; the step that it had sent goes on without it. Then it is started anew."""
    member.kill()
    let_go()
    await member.start()


async def frozen(world: ChaosWorld, member: Member, let_go: Callable[[], None]) -> None:
    """SIGSTOP for longer than a lease; the step goes on, late, before the replica wakes."""
    member.freeze()
    await asyncio.sleep(world.timing.frozen_s)
    let_go()
    member.thaw()


async def at_script(world: ChaosWorld, strike: Strike, script: str, at: At) -> None:
    """Strike a replica while this script of its own is held."""
    member, point = await held(world, script, at)
    await strike(world, member, point.release)


async def while_loading(world: ChaosWorld, strike: Strike) -> None:
    """Strike a replica that has claimed monitors, while its query to the database is held."""
    member, point = await held(world, "claim", "answered")
    member.database.hold_requests()
    point.release()
    await until(lambda: member.database.requests > 0, "it asks the database", within_s=HIT_WITHIN_S)
    await strike(world, member, member.database.release_requests)


async def unheard(world: ChaosWorld, script: str) -> None:
    """As many replies to this script get lost as there are replicas; the server has run it each time."""
    times = len(world.members)
    whose = [await world.leader()] if script == "campaign" else world.members
    losses = [proxy(member).lose_replies_of(script, times=times) for member in whose]
    await until(lambda: sum(each.lost for each in losses) >= times, f"the replies to {script} are lost", within_s=60)
    for each in losses:
        each.stop()


async def held(world: ChaosWorld, script: str, at: At) -> tuple[Member, Breakpoint]:
    """The first replica that comes to this step, and the breakpoint that holds it; an answered claim must have brought
    monitors. The other replicas pass it meanwhile.
    """
    caught: asyncio.Future[tuple[Member, Breakpoint]] = asyncio.get_running_loop().create_future()

    async def lie_in_wait(member: Member) -> None:
        while not caught.done():
            point = proxy(member).break_at(script, at)
            try:
                step = await point.hit(HIT_WITHIN_S)
            except (TimeoutError, asyncio.CancelledError):
                if not point.disarm() and point.was_hit:
                    point.release()
                return
            if caught.done() or (script == "claim" and at == "answered" and not brought_some(step)):
                point.release()
            else:
                caught.set_result((member, point))

    waiting = [asyncio.create_task(lie_in_wait(member)) for member in world.members]
    try:
        async with asyncio.timeout(HIT_WITHIN_S):
            return await caught
    except TimeoutError:
        raise MissedError(f"no {script} was {at} within {HIT_WITHIN_S:g} s") from None
    finally:
        await cancel_and_wait(*waiting)


def brought_some(claim: Step) -> bool:
    return bool(claim.reply[3])


def proxy(member: Member) -> StepProxy:
    """Its proxy before Redis; faults on the wire are for fleets that have one."""
    assert member.redis is not None
    return member.redis


def struck(way: "Way", strike: Strike) -> Callable[[ChaosWorld], Awaitable[None]]:
    """A fault: that strike, at that step."""

    async def inflict(world: ChaosWorld) -> None:
        await way(world, strike)

    return inflict


Way = Callable[[ChaosWorld, Strike], Awaitable[None]]
_SHORT = ("as it loads", "hand-off sent")
_ROW = "SIGKILL and SIGSTOP at each step"
_STEPS: tuple[tuple[str, Way], ...] = (
    ("as it claims", partial(at_script, script="claim", at="asked")),
    ("claimed, reply lost", partial(at_script, script="claim", at="answered")),
    ("as it loads", while_loading),
    ("hand-off sent", partial(at_script, script="hand_off", at="asked")),
    ("handed off, reply lost", partial(at_script, script="hand_off", at="answered")),
)
FAULTS = (
    *(Fault(f"SIGKILL {step}", _ROW, struck(way, killed), short=True) for step, way in _STEPS),
    *(Fault(f"SIGSTOP {step}", _ROW, struck(way, frozen), short=step in _SHORT) for step, way in _STEPS),
    *(
        Fault(f"reply lost: {name}", "reply lost", partial(unheard, script=script), short=True)
        for name, script in (("claim", "claim"), ("hand-off", "hand_off"), ("renew", "campaign"))
    ),
)
