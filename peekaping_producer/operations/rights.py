"""The commands that the Redis user must be permitted to run, as docs/operations.md lists them."""

from collections.abc import Sequence

from peekaping_producer.brokers.asynq_keys import PENDING, TASK_KEY_PREFIX
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.transports.asynq.keys import QUEUES

_TASK = TASK_KEY_PREFIX + "x"
USES: Sequence[str] = (
    "EVAL return(0) 0",
    "EVALSHA 0000000000000000000000000000000000000000 0",
    "TIME",
    *(f"ZADD {key} 1 x" for key in (KEYS.due, KEYS.lease, KEYS.late)),
    *(f"{name} {KEYS.due} x" for name in ("ZREM", "ZMSCORE", "ZSCORE")),
    *(f"{name} {KEYS.due} 0 0" for name in ("ZRANGE", "ZCOUNT")),
    f"ZCARD {KEYS.due}",
    f"ZSCAN {KEYS.due} 0",
    *(f"SET {key} x" for key in (KEYS.leader, KEYS.probe)),
    *(f"{name} {KEYS.leader}" for name in ("GET", "DEL", "PTTL")),
    f"PEXPIRE {KEYS.leader} 1",
    f"SADD {QUEUES} x",
    f"EXISTS {_TASK}",
    f"HSET {_TASK} a b",
    f"HINCRBY {_TASK} a 1",
    f"HSET {KEYS.replicas} a b",
    f"HGETALL {KEYS.replicas}",
    *(f"{name} {_TASK} a" for name in ("HGET", "HMGET", "HDEL")),
    *(f"{name} {PENDING} x" for name in ("LPUSH", "LPOS")),
    f"LREM {PENDING} 1 x",
    f"LLEN {PENDING}",
    f"LRANGE {PENDING} 0 0",
    "PING",
)
"""One call of each command that scripts and client use, with keys of each kind."""
OPTIONAL_USES: Sequence[str] = (
    f"XADD {KEYS.events} * event x",
    f"XRANGE {KEYS.events} - +",
    f"XREVRANGE {KEYS.events} + -",
    "INFO memory",
    "CLIENT SETNAME x",
)
"""Of commands without which the producer works."""
