"""The walk, over the real scripts on a real server.

In CI it is the same walk each time. INVARIANTS_EXAMPLES=2000 pytest tests/invariants/test_walk.py walks that many
others at random (--hypothesis-seed=N repeats one such run); what it finds is shrunk and printed as a program.
INVARIANTS_SHRINK=0 leaves out the shrinking, which takes minutes.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from tests.invariants.walk import ActingWalk
from tests.invariants.world import WalkWorld

LONG = "INVARIANTS_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("INVARIANTS_EXAMPLES", "40"))
SHRINKS = LONG and os.environ.get("INVARIANTS_SHRINK") != "0"
MIN_CALLS = 10_000


@pytest.mark.timeout(0 if LONG else 400)
def test_the_invariants_hold_whatever_happens(blocking_redis: Redis) -> None:
    """I1, I2, I3, I4, I8 and that due times never move back: after each call (ledger.py) and settled (settled.py)."""
    calls: list[int] = []
    run_state_machine_as_test(
        lambda: ActingWalk(lambda: WalkWorld(blocking_redis), calls.append),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=80,
            deadline=None,
            derandomize=not LONG,
            database=None,
            phases=[Phase.generate, Phase.shrink] if SHRINKS else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert LONG or sum(calls) >= MIN_CALLS, f"only {sum(calls)} script calls"
    print(f"{sum(calls)} script calls in {len(calls)} walks")
