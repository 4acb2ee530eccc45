"""Upper bound: the rate of Redis alone, with the smallest set of state changes and no producer."""

import time

from redis import Redis

from bench.harness import now_ms
from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.brokers.asynq_keys import PENDING
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule.keys import KEYS

_PAYLOAD = b"x" * 600
# Variadic commands, in two scripts: due → lease; then the lease check, a task HSET each, LPUSH, ZADD and ZREM.
_CLAIM = """
local ids = redis.call('ZRANGE', KEYS[1], '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1])
if #ids == 0 then return ids end
local leases = {}
for i, id in ipairs(ids) do leases[2 * i - 1] = ARGV[2]; leases[2 * i] = id end
redis.call('ZADD', KEYS[2], unpack(leases))
redis.call('ZREM', KEYS[1], unpack(ids))
return ids
"""
_HAND_OFF = """
local ids, tasks, due, task_keys = {}, {}, {}, {}
for i = 1, #ARGV - 2 do
  ids[i] = ARGV[i + 2]
  tasks[i] = 'healthcheck:' .. ids[i]
  task_keys[i] = 'asynq:{healthcheck}:t:' .. tasks[i]
  due[2 * i - 1] = ARGV[1]
  due[2 * i] = ids[i]
end
redis.call('ZMSCORE', KEYS[2], unpack(ids))
redis.call('EXISTS', unpack(task_keys))
for i = 1, #ids do redis.call('HSET', task_keys[i], 'msg', ARGV[2], 'state', 'pending', 'pending_since', '1') end
redis.call('LPUSH', KEYS[3], unpack(tasks))
redis.call('ZADD', KEYS[4], unpack(due))
redis.call('ZREM', KEYS[2], unpack(ids))
"""


def redis_only_limit(url: str, ids: list[str], batch: int) -> float:
    """Return monitors per second with constant payloads and a blocking client. Leaves the database empty."""
    with Redis.from_url(url) as client:
        client.flushdb()
        due = dict.fromkeys(ids, now_ms())
        for start in range(0, len(ids), 5000):
            client.zadd(KEYS.due, {each: due[each] for each in ids[start : start + 5000]})
        claim, hand_off = client.register_script(_CLAIM), client.register_script(_HAND_OFF)
        message = encode_message(HealthCheckTask(ids[0], 3600, 16, _PAYLOAD))
        names = [KEYS.due, KEYS.lease, PENDING, "bench:next"]
        began_at = time.perf_counter()
        while claimed := claim(names, [batch, 1]):
            hand_off(names, [1, message, *claimed])
        took_s = time.perf_counter() - began_at
        client.flushdb()
        return len(ids) / took_s
