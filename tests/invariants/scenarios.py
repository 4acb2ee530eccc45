"""Where the way to a fault is long, a walk begins half-way."""

import math
from collections.abc import Callable

from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.schedule import ALL_MONITORS, CLAIM_WITHIN_S, CLOCK_STEP_SLACK_MS
from tests.invariants import strangers
from tests.invariants.look import IDS
from tests.invariants.replica import PendingCall, SteppedReplica
from tests.invariants.world import WalkWorld

WalkStart = Callable[[WalkWorld], None]
LONG_OVER_S = 65.0
"""asynq's lease, its allowance, and some."""
HOUR_MS = 3_600_000
RENEWED_WITHIN_MS = 6_000
"""By then the leader has turned the switch."""
_CALLS = 2000
_ROWS = ("m0", "m1")


def frozen_before(name: str, *, rows_go: bool = True) -> WalkStart:
    """A replica froze before this write, and the rows of two monitors that it is about may have gone."""

    def begin(world: WalkWorld) -> None:
        def strike(replica: SteppedReplica, call: PendingCall) -> bool:
            replica.frozen = _writes_rows(call, name)
            return replica.frozen

        _until(world, strike)
        for each in _ROWS if rows_go else ():
            world.put(each, None)

    return begin


def frozen_alone_before(name: str, for_s: float) -> WalkStart:
    """The same, `for_s` seconds ago, and the others were killed: its claims were not reclaimed."""

    def begin(world: WalkWorld) -> None:
        frozen_before(name)(world)
        for each in [replica for replica in world.replicas if not replica.frozen]:
            world.bury(each)
        world.late.clear()
        world.wait(for_s)

    return begin


def unheard(name: str) -> WalkStart:
    """The answer to this write was lost, and consumers have finished whatever it enqueued."""

    def begin(world: WalkWorld) -> None:
        def strike(replica: SteppedReplica, call: PendingCall) -> bool:
            if call.name != name:
                return False
            world.lose_answer(replica, call)
            while world.dequeue():
                world.finish(0)
            return True

        _until(world, strike)

    return begin


def abandoned() -> WalkStart:
    """A consumer took a task and died, so long ago that its lease is over by far."""

    def begin(world: WalkWorld) -> None:
        _until(world, lambda _replica, _call: world.dequeue())
        world.in_hand.clear()
        world.wait(LONG_OVER_S)

    return begin


def poisoned(how: str) -> WalkStart:
    """There is something wrong with one monitor; see World.poison."""
    return lambda world: world.poison("m0", how)


def usurped() -> WalkStart:
    """The leader key names no running replica, and does not expire."""
    return lambda world: world.usurp("another/term", math.inf)


def far_ahead(where: str) -> WalkStart:
    """A clock an hour ahead has written a due time or a lease; or asynq's lease of a task that was abandoned."""

    def begin(world: WalkWorld) -> None:
        if where == "asynq lease":
            _until(world, lambda _replica, _call: world.dequeue() and _ROWS[0] in world.in_hand)
            world.in_hand.clear()
        else:
            _until(world, lambda _replica, _call: set(_ROWS) <= world.ledger.keys.due.keys())
        for each in _ROWS:
            strangers.write_far_ahead(world, each, where, HOUR_MS)
        if where == "asynq lease":
            world.live(3.0)  # until its monitor is due again

    return begin


def stranger(where: str) -> WalkStart:
    """A member that is longer than any id, and otherwise like one."""
    return lambda world: strangers.put(world, where, strangers.IDS[0])


def given_up() -> WalkStart:
    """A claim has not yet come to Redis, and its sender no longer waits for it."""

    def begin(world: WalkWorld) -> None:
        def freeze(replica: SteppedReplica, call: PendingCall) -> bool:
            placed = set(_ROWS) <= world.ledger.keys.members
            replica.frozen = placed and call.name == "claim" and call.clock_seen_s is not None
            return replica.frozen

        _until(world, freeze)
        for each in [replica for replica in world.replicas if not replica.frozen]:
            world.bury(each)
        world.late.clear()
        world.wait(CLAIM_WITHIN_S + 1)
        world.bury(world.replicas[0])

    return begin


def spread() -> WalkStart:
    """The ticks of all monitors are spread."""
    return lambda world: _turn(world, on=True)


def _turn(world: WalkWorld, *, on: bool) -> None:
    for replica in world.replicas:
        replica.spread_ticks = on
    _until(world, lambda _replica, _call: world.ledger.keys.spread is on)


def turned(*, on: bool) -> WalkStart:
    """The switch was just turned; a monitor is due by the other grid, not too soon, and an event about it comes."""

    def begin(world: WalkWorld) -> None:
        _turn(world, on=not on)
        slow = IDS[-1]  # every 20 s
        phase = 0 if on else phase_s(slow, 20)

        def is_far(_replica: SteppedReplica, _call: PendingCall) -> bool:
            due_ms = world.ledger.keys.due.get(slow, 0.0)
            left_ms = due_ms - world.now_ms
            return due_ms % 20_000 == phase * 1000 and left_ms > RENEWED_WITHIN_MS + CLOCK_STEP_SLACK_MS

        _until(world, is_far)
        _turn(world, on=on)
        world.put(slow, 20)
        while world.events:
            world.publish(world.events.pop(0))

    return begin


def edited(*, spread_ticks: bool) -> WalkStart:
    """A monitor that was due once a day is to run every 20 s, and an event about it comes."""

    def begin(world: WalkWorld) -> None:
        _turn(world, on=spread_ticks)
        slow = IDS[-1]
        world.put(slow, 86_400)
        _until(world, lambda _replica, _call: world.ledger.keys.due.get(slow, 0.0) > world.now_ms + 60_000)
        world.put(slow, 20)
        while world.events:
            world.publish(world.events.pop(0))

    return begin


def turned_late() -> WalkStart:
    """The switch is as it was when the term began, and the leader's setting is not."""

    def begin(world: WalkWorld) -> None:
        _until(world, lambda _replica, _call: bool(world.ledger.keys.leader))
        for replica in world.replicas:
            replica.spread_ticks = True

    return begin


def held_all() -> WalkStart:
    """All monitors are held, and some of them are due."""

    def begin(world: WalkWorld) -> None:
        world.live(1.0)
        world.act("hold", ALL_MONITORS, 20)
        world.live(2.0)

    return begin


def frozen_twice(name: str) -> WalkStart:
    """A replica froze before this write, another claimed what was taken back, and froze there too."""

    def begin(world: WalkWorld) -> None:
        for _ in range(2):
            frozen_before(name, rows_go=False)(world)
        world.start_replica()

    return begin


def claimed_by_another() -> WalkStart:
    """A follower could not read its claim and froze before it gave back; the rows went and came, and others claimed."""

    def begin(world: WalkWorld) -> None:
        def fail(replica: SteppedReplica, call: PendingCall) -> bool:
            leads = bool(replica.gate.ears)
            if call.name == "store.load" and not leads and any(each.gate.ears for each in world.replicas):
                world.refuse(replica, call)
            replica.frozen = _writes_rows(call, "give_back")
            return replica.frozen

        _until(world, fail)
        for interval in (None, 2):
            for each in _ROWS:
                world.put(each, interval)
            while world.events:
                world.publish(world.events.pop(0))
            world.live(0.5, step_s=0.25)
        _until(world, lambda _replica, call: _writes_rows(call, "hand_off"))

    return begin


def _writes_rows(call: PendingCall, name: str) -> bool:
    return call.name == name and not callable(call.command) and bool({*_ROWS} & set(map(str, call.command)))


def _until(world: WalkWorld, strike: Callable[[SteppedReplica, PendingCall], bool]) -> None:
    """Let the replicas live; before each answer `strike` may do something else to the call, and end it all."""
    for _ in range(_CALLS):
        for replica in world.replicas:
            for call in () if replica.frozen else replica.waiting:
                if strike(replica, call):
                    return
            if replica.waiting and not replica.frozen:
                world.answer(replica, replica.waiting[0])
        world.wait(0.05)
    raise AssertionError("the walk could not begin: what it begins with did not come")
