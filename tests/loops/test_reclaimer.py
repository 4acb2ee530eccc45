"""The reclaimer, beyond what one call takes back."""

from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule import CALL_LIMIT
from peekaping_producer.schedule.keys import KEYS
from tests.clock import Clock
from tests.loops.conftest import Harness


async def test_everything_that_ran_out_is_due_after_one_turn(parts: Harness, clock: Clock) -> None:
    count = 2 * CALL_LIMIT + 1
    await parts.redis.zadd(KEYS.lease, {f"m{n}": clock.now_ms - 1 for n in range(count)})
    assert await parts.reclaimer.run_once() == TIMING.reclaim_every_s
    assert len(await parts.due()) == count
    assert not await parts.leased()
    assert parts.count("leases_reclaimed_total") == count
