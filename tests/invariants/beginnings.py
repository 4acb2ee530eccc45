"""Where the way to a fault is long, a walk begins half-way."""

from collections.abc import Callable

from tests.invariants.replica import Call, Replica
from tests.invariants.world import World

Beginning = Callable[[World], None]
LONG_OVER_S = 65.0
"""asynq's lease, its allowance, and some."""
_CALLS = 2000
_ROWS = ("m0", "m1")


def frozen_before(name: str, *, rows_go: bool = True) -> Beginning:
    """A replica froze before this write, and the rows of two monitors that it is about may have gone."""

    def begin(world: World) -> None:
        def strike(replica: Replica, call: Call) -> bool:
            replica.frozen = _writes_rows(call, name)
            return replica.frozen

        _until(world, strike)
        for each in _ROWS if rows_go else ():
            world.put(each, None)

    return begin


def frozen_alone_before(name: str, for_s: float) -> Beginning:
    """The same, `for_s` seconds ago, and the others were killed: nobody has reclaimed what it holds."""

    def begin(world: World) -> None:
        frozen_before(name)(world)
        for each in [replica for replica in world.replicas if not replica.frozen]:
            world.bury(each)
        world.late.clear()
        world.wait(for_s)

    return begin


def unheard(name: str) -> Beginning:
    """The answer to this write was lost, and consumers have finished whatever it enqueued."""

    def begin(world: World) -> None:
        def strike(replica: Replica, call: Call) -> bool:
            if call.name != name:
                return False
            world.lose_answer(replica, call)
            while world.dequeue():
                world.finish(0)
            return True

        _until(world, strike)

    return begin


def abandoned() -> Beginning:
    """A consumer took a task and died, so long ago that its lease is over by far."""

    def begin(world: World) -> None:
        _until(world, lambda _replica, _call: world.dequeue())
        world.in_hand.clear()
        world.wait(LONG_OVER_S)

    return begin


def claimed_by_another() -> Beginning:
    """A follower could not read its claim and froze before it gave back; the rows went and came, and others claimed."""

    def begin(world: World) -> None:
        def fail(replica: Replica, call: Call) -> bool:
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


def _writes_rows(call: Call, name: str) -> bool:
    return call.name == name and not callable(call.command) and bool({*_ROWS} & set(map(str, call.command)))


def _until(world: World, strike: Callable[[Replica, Call], bool]) -> None:
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
