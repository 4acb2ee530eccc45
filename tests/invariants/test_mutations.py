"""Each invariant's check can fail: with one guard taken out of a script, the walk finds that it is broken.

Which guard protects which invariant is said beside it; one invariant alone is watched, so that none is found by way of
another.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from tests.invariants.beginnings import abandoned, frozen_before, unheard
from tests.invariants.ledger import Broken
from tests.invariants.replica import Mutation
from tests.invariants.walk import Walk
from tests.invariants.world import World

MUTATIONS = {
    # A monitor that a claim holds is not due as well.
    "I1": Mutation("place", "elseif lease[i] then", "elseif false then"),
    # A hand-off whose answer was lost is repeated: the lease is gone then, though the token has not run out.
    "I2": Mutation("hand_off", "token > now and leases[i] and tonumber(leases[i]) == token", "token > now"),
    # What was loaded before a delete may be handed off until the claim runs out, reclaimed or not.
    "I3": Mutation("hand_off", "token > now and leases[i]", "leases[i]"),
    # A leader that wakes after its term has read its page in another time.
    "I4": Mutation("place", "redis.call('GET', KEYS[3]) ~= ARGV[1]", "false"),
    # Whoever is reclaimed is due again from its claim on, not from before.
    "next due": Mutation("reclaim", "math.floor(tonumber(expired[i + 1])) - ttl", "now - 3 * ttl"),
    # An asynq lease that nobody prolongs does not silence a monitor.
    "I8": Mutation(
        "hand_off", "asynq_lease and tonumber(asynq_lease) + ASYNQ_LEASE_ALLOWANCE_S > now / 1000", "state == 'active'"
    ),
}


BEGINNINGS = {
    "I2": unheard("hand_off"),
    "I3": frozen_before("hand_off"),
    "I4": frozen_before("place"),
    "I8": abandoned(),
    "next due": frozen_before("hand_off"),
}
"""Of walks that would be long in coming to the fault."""


@pytest.mark.parametrize("invariant", MUTATIONS)
def test_the_walk_finds_a_guard_that_is_gone(server: Redis, invariant: str) -> None:
    walked: list[int] = []
    with pytest.raises(Broken) as found:
        run_state_machine_as_test(
            lambda: Walk(
                lambda: World(server, mutation=MUTATIONS[invariant], watch=[invariant]),
                walked.append,
                settles=invariant == "I8",
                begin=BEGINNINGS.get(invariant),
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
    assert found.value.invariant == invariant
