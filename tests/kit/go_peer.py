"""A Go producer beside ours: upstream's unfenced scripts, and its steps one by one, with a clock that may be wrong."""

from typing import Any

from redis import Redis

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING, task_id, task_key

LEASE_MS = 10_000
BATCH = 3
"""Upstream's is 50."""

CLAIM = """
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZADD', KEYS[2], ARGV[1] + ARGV[2], id)
end
return ids
"""
RESCHEDULE = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
"""
RECLAIM = """
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZADD', KEYS[1], ARGV[1], id)
end
return #ids
"""
ENQUEUE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'msg', ARGV[2], 'state', 'pending', 'pending_since', ARGV[3])
redis.call('LPUSH', KEYS[2], ARGV[1])
return 1
"""


class GoPeer:
    """Claims a batch, then handles one monitor after another; it may be as slow about that as the test likes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.in_hand: list[tuple[str, int]] = []
        """Monitor id and the interval that its row had when it was loaded."""

    def claim(self, now_ms: int, intervals: dict[str, int]) -> None:
        claimed = self._run(CLAIM, now_ms, LEASE_MS, BATCH)
        ids = [each.decode(errors="surrogateescape") for each in claimed]
        self.in_hand += [(each, intervals[each]) for each in ids if intervals.get(each, 0) > 0]

    def handle(self, now_ms: int) -> None:
        """Enqueue, where no task of the same id exists, and reschedule."""
        if self.in_hand:
            monitor_id, interval = self.in_hand.pop(0)
            self._enqueue(monitor_id, interval, now_ms)
            self._run(RESCHEDULE, monitor_id, next_tick(now_ms, interval))

    def enqueue_and_die(self, now_ms: int) -> None:
        """Killed between the two."""
        if self.in_hand:
            self._enqueue(*self.in_hand[0], now_ms)
            self.in_hand.clear()

    def reclaim(self, now_ms: int) -> None:
        self._run(RECLAIM, now_ms)

    def _enqueue(self, monitor_id: str, interval: int, now_ms: int) -> None:
        message = encode_message(HealthCheckTask(monitor_id, interval, 16, b"{}"))
        args = (task_id(monitor_id), message, f"{now_ms}000000")
        self._redis.eval(ENQUEUE, 2, task_key(monitor_id), PENDING, *args)

    def _run(self, script: str, *args: Any) -> Any:
        return self._redis.eval(script, 2, KEYS.due, KEYS.lease, *args)
