"""The look at the keys with which each step of a walk ends, and the encoding of ids."""

import json
from typing import Any

from peekaping_producer.schedule.keys import KEYS
from tests.invariants.ledger import Keys, TaskHash
from tests.kit import asynq_peer

IDS = tuple(f"m{number}" for number in range(6))

_LOOK = """
redis.call('PERSIST', KEYS[3]) -- real time has no part in this
local tasks = {}
for i, key in ipairs(ARGV) do
  local kind = redis.call('TYPE', key).ok
  tasks[i] = kind == 'hash' and redis.call('HMGET', key, 'state', 'pending_since') or {false, false}
  tasks[i][3] = kind == 'hash' and redis.call('HEXISTS', key, 'msg') or 0
  tasks[i][4] = kind == 'none' and 0 or 1
end
return {
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'),
  redis.call('GET', KEYS[3]), redis.call('LRANGE', KEYS[4], 0, -1), redis.call('LRANGE', KEYS[5], 0, -1),
  redis.call('ZRANGE', KEYS[6], 0, -1, 'WITHSCORES'), tasks,
  redis.call('ZRANGE', KEYS[7], 0, -1, 'WITHSCORES'), redis.call('EXISTS', KEYS[8]),
  redis.call('HGETALL', KEYS[9]),
}
"""
_LOOK_AT = (
    *(KEYS.due, KEYS.lease, KEYS.leader),
    *(asynq_peer.PENDING, asynq_peer.ACTIVE, asynq_peer.LEASE),
    *(KEYS.late, KEYS.spread, KEYS.held),
)
LOOK_COMMAND = ("EVAL", _LOOK, len(_LOOK_AT), *_LOOK_AT, *(asynq_peer.task_key(each) for each in IDS))


def keys_of(seen: Any) -> Keys:
    """The reply to LOOK_COMMAND."""
    due, lease, leader, pending, active, asynq_lease, tasks, late, spread, held = seen
    return Keys(
        _scores(due),
        _scores(lease),
        _scores(late),
        leader.decode() if leader else None,
        bool(spread),
        tuple(map(_id, pending)),
        tuple(map(_id, active)),
        _scores(asynq_lease),
        {
            each: TaskHash(state and state.decode(), since and since.decode(), bool(has_message))
            for each, (state, since, has_message, exists) in zip(IDS, tasks, strict=True)
            if exists
        },
        {_id(held[i]): json.loads(held[i + 1])["until_ms"] for i in range(0, len(held), 2)},
    )


def _scores(flat: list[bytes]) -> dict[str, float]:
    return {_id(flat[i]): float(flat[i + 1]) for i in range(0, len(flat), 2)}


def _id(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape").removeprefix("healthcheck:")


def to_bytes(each: Any) -> Any:
    """As the product's client encodes it."""
    return each.encode(errors="surrogateescape") if isinstance(each, str) else each
