"""The reclaimer, beyond what one call takes back."""

from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule import CALL_LIMIT
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import Clock
from tests.loops.conftest import Harness


async def test_everything_that_ran_out_is_due_after_one_turn(harness: Harness, clock: Clock) -> None:
    count = 2 * CALL_LIMIT + 1
    await harness.redis.zadd(KEYS.lease, {f"m{n}": clock.now_ms - 1 for n in range(count)})
    assert await harness.reclaimer.run_once() == TIMING.reclaim_every_s
    assert len(await harness.due()) == count
    assert not await harness.leased()
    assert harness.count("leases_reclaimed_total") == count
