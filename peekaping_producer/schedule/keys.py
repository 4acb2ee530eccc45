"""The schedule's keys in Redis; they are upstream's, so that Go producers can share them."""

DUE = "peekaping:sched:due"
"""ZSET: monitor id, next due time in ms."""
LEASE = "peekaping:sched:lease"
"""ZSET: monitor id, lease end in ms plus nonce/1024, which is the claim's token."""
LEADER = "peekaping:producer:leader"
"""String with a TTL: the term of the replica that leads."""
