"""What must have become true once the faults are over: the bounded forms of I1, I4 and I8.

- I1: within 35 s each active monitor with an interval above 0 is in exactly one of due and lease.
- I4: within 60 s each member of due or lease has a row that runs (where any row does: a database that answers wholly
  empty is ignored).
- I8: within one interval and 60 s each active monitor is checked again: a consumer has taken a task of it.
- I7: the same while rows and tasks are poison, for all others; and for the poison monitors once they are mended.
- Holds have ended, and Redis contains none of them.
- A replica leads within 15 s, ticks are spread if it says so, and no id is late that is not in the schedule.

To each, one sync's own duration is added.
"""

from collections.abc import Set

from peekaping_producer.schedule import MAX_DELAY_S
from tests.invariants.replica import STEADY
from tests.invariants.world import WalkWorld

SYNC_TAKES_S = 1.0
LEADS_WITHIN_S = 15.0
MAX_SHORT_INTERVAL_S = 20


def settle(world: WalkWorld) -> None:
    """End the faults, let time pass, and check. Raises InvariantError."""
    _mend(world)
    healed_at = STEADY.now_s
    within_s = LEADS_WITHIN_S + world.leader_key_delay_s
    world.live(within_s)
    leading = [each for each in world.replicas if each.term and each.term == world.ledger.keys.leader]
    if not leading:
        world.ledger.fail("leads", "-", f"after {within_s:g} s no replica leads")
    elif leading[0].spread_ticks != world.ledger.keys.spread:
        world.ledger.fail("switch", "-", f"after {within_s:g} s it is not as SPREAD_TICKS of the leader")
    world.live(35 + SYNC_TAKES_S - LEADS_WITHIN_S)
    runs = {each: row for each, row in world.rows.items() if row.runs}
    keys = world.ledger.keys
    for each in runs:
        if (each in keys.due) == (each in keys.lease):
            world.ledger.fail("I1", each, "after 35 s its row runs, and it is in neither or both of due and lease")
    world.live(24, step_s=2.0)
    zombies = world.ledger.keys.members - runs.keys()
    if runs and zombies:
        world.ledger.fail("I4", min(zombies), "after 60 s it is in the schedule, and no row of it runs")
    world.live(MAX_SHORT_INTERVAL_S, step_s=2.0)
    _all_were_checked(world, runs.keys() - world.poisoned, healed_at, "I7" if world.poisoned else "I8")
    if world.poisoned:
        mended_at = STEADY.now_s
        world.mend()
        world.live(MAX_DELAY_S + MAX_SHORT_INTERVAL_S + 2, step_s=2.0)
        _all_were_checked(world, runs.keys(), mended_at, "I7")
    if gone := world.ledger.keys.late.keys() - world.ledger.keys.members:
        world.ledger.fail("lateness", min(gone), "it counts as late, and is in neither due nor lease")
    if held := world.ledger.keys.held:
        world.ledger.fail("hold", min(held), "its hold has ended, and is still in Redis")
    pending = world.ledger.keys.pending
    for each in pending:
        if pending.count(each) > 1:
            world.ledger.fail("I2", each, "its task still stands in the queue twice")


def _all_were_checked(world: WalkWorld, ids: Set[str], since_s: float, invariant: str) -> None:
    for each in sorted(ids):
        if world.rows[each].interval <= MAX_SHORT_INTERVAL_S and world.consumed.get(each, 0.0) < since_s:
            world.ledger.fail(invariant, each, "it was not checked within one interval and 60 s")


def _mend(world: WalkWorld) -> None:
    """But for poison nothing fails any more; consumers that died stay dead; what was sent late has been carried out."""
    world.database.shows_nothing = world.database.away = world.full = False
    world.go.in_hand.clear()
    world.in_hand.clear()
    for replica in list(world.replicas):
        world.thaw(replica)
    for call in world.late:
        world.carry_out(call)
    world.late.clear()
    if sum(not replica.stopping for replica in world.replicas) < 2:
        world.start_replica()
