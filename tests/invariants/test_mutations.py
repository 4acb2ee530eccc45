"""Each invariant's check can fail: with one guard taken out of a script, the walk finds that it is broken.

Which guard protects which invariant is said beside it; one invariant alone is watched, so that none is found by way of
another. A walk that would be long in coming to the fault begins half-way.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from peekaping_producer.brokers import asynq
from peekaping_producer.producer.loops import hints, sync, worker
from tests.invariants import strangers
from tests.invariants.ledger import LEASE_TTL_MS
from tests.invariants.scenarios import (
    WalkStart,
    abandoned,
    claimed_by_another,
    edited,
    far_ahead,
    frozen_alone_before,
    frozen_before,
    frozen_twice,
    given_up,
    held_all,
    poisoned,
    spread,
    stranger,
    turned,
    turned_late,
    unheard,
    usurped,
)
from tests.invariants.walk import ActingWalk, Walk
from tests.invariants.world import WalkWorld
from tests.kit.invariants import InvariantError, Mutation

EITHER_GRID = "score % period == 0 or (score - phase) % period == 0"
OVER_S = LEASE_TTL_MS / 1000 + 1


@dataclass(frozen=True)
class Mutant:
    """What is taken out, and the invariant that breaks."""

    invariant: str
    mutation: Mutation | None
    """None: isolation itself is switched off."""
    begin: WalkStart
    settles: bool = False
    """Whether the walk is to be settled, since only then it shows."""
    walk: type[Walk] = Walk

    def __str__(self) -> str:
        name = self.mutation.script if self.mutation else "isolation"
        return f"{self.invariant}, {name}: {self.mutation.guard[:40] if self.mutation else 'switched off'}"


MUTANTS = (
    # A monitor that a claim holds is not due as well.
    Mutant("I1", Mutation("place", "if lease then return LEASED end", ""), frozen_before("hand_off", rows_go=False)),
    # A hand-off whose answer was lost is repeated: the lease is gone then, though the token has not run out.
    Mutant(
        "I2",
        Mutation("hand_off", "scores[i] and tonumber(scores[i]) == token", "tonumber(scores[i] or token) == token"),
        unheard("hand_off"),
    ),
    # What was loaded before a delete may be handed off until the claim runs out, reclaimed or not.
    Mutant(
        "I3",
        Mutation("hand_off", "token > now and scores[i]", "scores[i]"),
        frozen_alone_before("hand_off", for_s=OVER_S),
    ),
    # A leader that wakes after its term has read its page in another time.
    Mutant("I4", Mutation("place", "redis.call('GET', leader) == term", "true"), frozen_before("place")),
    # An asynq lease that is not renewed does not stop a monitor's checks.
    Mutant(
        "I8",
        Mutation(
            "hand_off", "left and left > -ASYNQ_LEASE_ALLOWANCE_S and left <= MAX_ASYNQ_LEASE_S", "state == 'active'"
        ),
        abandoned(),
        settles=True,
    ),
    # One that a clock far ahead has written does not either.
    Mutant("I8", Mutation("hand_off", " and left <= MAX_ASYNQ_LEASE_S", ""), far_ahead("asynq lease"), settles=True),
    # Nor does a due time, or a lease.
    Mutant(
        "I8",
        Mutation("place", "return score > now + slack and (", "return false and ("),
        far_ahead("due"),
        settles=True,
    ),
    Mutant("I8", Mutation("reclaim", "if #found < 2 * limit then", "if false then"), far_ahead("lease"), settles=True),
    # A task that Redis refuses, and a row that cannot be read, affect only their own monitor.
    *(Mutant("I7", None, poisoned(how), settles=True) for how in ("refused", "raising")),
    # A leader key that no running replica has written does not count.
    Mutant("leads", Mutation("campaign", " or left < 0 or left > longest_ttl", ""), usurped(), settles=True),
    # A member that is no id leaves the schedule, whatever it looks like.
    Mutant("I4", Mutation("expel", "#id > longest", "false"), stranger("due"), settles=True),
    # How long a monitor has waited for is known however often its claims run out.
    Mutant(
        "lateness",
        Mutation("reclaim", "redis.call('ZADD', LATE, 'LT', unpack(late))", "redis.call('ZADD', LATE, unpack(late))"),
        frozen_twice("hand_off"),
    ),
    # Of those that a peer handed off nothing is kept.
    Mutant(
        "lateness",
        Mutation("reclaim", "if #first == 0 then return end", "do return end"),
        lambda world: strangers.put(world, "late", "no-id"),
        settles=True,
    ),
    # What a person holds is not claimed, and due at its first tick after the hold; holds that have ended are removed.
    Mutant("hold", Mutation("claim", "if held_until then return", "if false then return"), held_all(), walk=ActingWalk),
    Mutant("next due", Mutation("hold", "tick_after(ends - 1,", "tick_after(now - 1,"), held_all(), walk=ActingWalk),
    Mutant("hold", Mutation("stats", "redis.pcall('HDEL', HELD, id)", ""), held_all(), settles=True, walk=ActingWalk),
    # What a person runs now is not claimed already.
    Mutant(
        "I1",
        Mutation("run_now", "if lease[i] then return 'leased' end", "due[i] = due[i] or now + 1"),
        held_all(),
        walk=ActingWalk,
    ),
    # A claim that arrives after its deadline gets nothing.
    Mutant("late claim", Mutation("claim", "deadline > 0 and now", "false and now"), given_up()),
    # A reclaimed monitor is due from the time of its claim, not from before.
    Mutant(
        "next due",
        Mutation("reclaim", "math.floor(tonumber(expired[i + 1])) - ttl", "now - 3 * ttl"),
        frozen_before("hand_off"),
    ),
    # What another has claimed since is not given back at the due time of long ago.
    Mutant(
        "next due",
        Mutation("give_back", "scores[i] and tonumber(scores[i]) == token", "scores[i]"),
        claimed_by_another(),
        settles=True,
    ),
    # While ticks are spread, the next tick has the phase of the monitor.
    Mutant("next due", Mutation("hand_off", "* period + phase", "* period"), spread()),
    Mutant("next due", Mutation("hand_off", "width == 4 and arguments(9, width) or {}", "{}"), spread()),
    Mutant("next due", Mutation("move", "spread and phases[i] or 0", "0"), edited(spread_ticks=True)),
    Mutant("next due", Mutation("move", "spread and phases[i] or 0", "phases[i]"), edited(spread_ticks=False)),
    # Turning the switch moves no due time.
    Mutant(
        "next due", Mutation("prelude", EITHER_GRID, "(score - phase) % period == 0"), turned(on=True), settles=True
    ),
    Mutant("next due", Mutation("prelude", EITHER_GRID, "score % period == 0"), turned(on=False)),
    # The leader turns the switch within its term, too.
    Mutant(
        "switch",
        Mutation("campaign", "holder, ttl, spread(spreads, holder)}", "holder, ttl, -1}"),
        turned_late(),
        settles=True,
    ),
)


async def _all_or_nothing(
    items: list[Any], attempt: Callable[[list[Any]], Awaitable[object]], *_: Any, **__: Any
) -> None:
    """In the place of isolate."""
    if items:
        await attempt(items)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_walk_finds_a_removed_guard(blocking_redis: Redis, mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (worker, sync, hints, asynq) if mutant.mutation is None else ():
        monkeypatch.setattr(module, "isolate", _all_or_nothing)
    walked: list[int] = []
    with pytest.raises(InvariantError) as found:
        run_state_machine_as_test(
            lambda: mutant.walk(
                lambda: WalkWorld(blocking_redis, mutation=mutant.mutation, watch=[mutant.invariant]),
                walked.append,
                settles=mutant.settles,
                begin=mutant.begin,
            ),
            settings=settings(
                max_examples=300,
                stateful_step_count=80,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"{found.value}: found in walk {len(walked)}")
    assert found.value.invariant == mutant.invariant
