"""What `status` makes of the schedule; a server in memory is enough for that."""

import time

import fakeredis
import pytest

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.schedule import Schedule, keys
from peekaping_producer.status import Status


@pytest.mark.parametrize(("waits_s", "late"), [(None, False), (30, False), (90, True)])
async def test_it_is_late_when_the_longest_overdue_monitor_waits_for_longer(waits_s: float | None, late: bool) -> None:
    redis = fakeredis.FakeAsyncRedis()
    if waits_s is not None:
        await redis.zadd(keys.DUE, {"m1": (time.time() - waits_s) * 1000, "m2": (time.time() + 3600) * 1000})
        await redis.set(keys.LEADER, "node/term", px=10_000)
    status = Status(await Schedule(redis).stats(), await AsynqBroker(redis).depths())
    assert status.is_late(60.0) is late
    text = "\n".join(status.lines())
    assert ("node/term (for another" in text) is (waits_s is not None)
    assert ("nothing is overdue" in text) is (waits_s is None)
    await redis.aclose()
