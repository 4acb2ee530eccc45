"""Where the way to a fault is long, a walk begins half-way."""

from collections.abc import Callable

from tests.invariants.replica import Call, Replica
from tests.invariants.world import World

Beginning = Callable[[World], None]
LONG_OVER_S = 65.0
"""asynq's lease, its allowance, and some."""
_CALLS = 2000
_ROWS = ("m0", "m1")


def frozen_before(name: str) -> Beginning:
    """A replica froze before this write, and the rows of two monitors that it is about went."""

    def begin(world: World) -> None:
        def strike(replica: Replica, call: Call) -> bool:
            if call.name != name or callable(call.command) or not {*_ROWS} & set(map(str, call.command)):
                return False
            replica.frozen = True
            for each in _ROWS:
                world.put(each, None)
            return True

        _until(world, strike)

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


def _until(world: World, strike: Callable[[Replica, Call], bool]) -> None:
    """Let the replicas live; before each answer `strike` may do something else to the call, and end it all."""
    for _ in range(_CALLS):
        for replica in world.replicas:
            for call in replica.waiting:
                if strike(replica, call):
                    return
            if replica.waiting:
                world.answer(replica, replica.waiting[0])
        world.wait(0.05)
    raise AssertionError("the walk could not begin: what it begins with did not come")
