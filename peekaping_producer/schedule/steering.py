"""What people ask of the schedule: check monitors now, hold them for a time, release them. One method per Lua script.

Each script also writes its events into the stream of fleet events, if Redis permits that.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK, Script
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.schedule.limits import MAX_HOLDS
from peekaping_producer.schedule.model import ActReply
from peekaping_producer.schedule.part import PRELUDE, with_phase
from peekaping_producer.schedule.replies import decode_text

_NO_EVENTS: Mapping[str, bytes] = {}


class Steering:
    """Acts on the schedule in one Redis database; any process may, whether or not it leads.

    `events` are JSON objects by monitor id, without `at_ms`, which the script adds.
    Every method raises RedisError if Redis does not answer or refuses the call.
    """

    def __init__(self, redis: Client, *, keys: Keys = KEYS, clock: str = CLOCK) -> None:
        self._redis = redis
        self._keys = keys
        self._run_now = Script(__package__, "run_now", prelude=clock + PRELUDE)
        self._hold = Script(__package__, "hold", prelude=clock + PRELUDE)
        self._release = Script(__package__, "release", prelude=clock + PRELUDE)

    async def run_now(self, ids: Iterable[str], events: Mapping[str, bytes] = _NO_EVENTS) -> ActReply:
        """Make up to 1,000 monitors due now; their next ticks stay where they are."""
        ids = list(ids)
        keys = (self._keys.due, self._keys.lease, self._keys.held, self._keys.events)
        args = [part for monitor_id in ids for part in (monitor_id, events.get(monitor_id, b""))]
        reply = await self._run_now.run(self._redis, keys, args)
        with decoding():
            now_ms, outcomes, ends, refusal = reply
            return _reply(now_ms, ids, outcomes, dict(zip(ids, ends, strict=True)), refusal)

    async def hold(
        self, plans: Iterable[Plan], for_s: float, hold: bytes, events: Mapping[str, bytes] = _NO_EVENTS
    ) -> ActReply:
        """Hold up to 1,000 monitors with an interval, or with ALL_MONITORS in place of an id, all; replaces holds.

        `for_s` is at most MAX_HOLD_S, or MAX_HOLD_ALL_S for all. `hold` is a JSON object without `until_ms`.
        """
        plans = list(plans)
        ids = [plan.id for plan in plans]
        own = self._keys
        args: list[Any] = [int(for_s * 1000), hold, MAX_HOLDS]
        for plan in plans:
            args += (*with_phase(plan), events.get(plan.id, b""))
        keys = (own.due, own.lease, own.late, own.held, own.events, own.spread)
        reply = await self._hold.run(self._redis, keys, args)
        with decoding():
            now_ms, ends, outcomes, refusal = reply
            held = {monitor_id: int(ends) for monitor_id, each in zip(ids, outcomes, strict=True) if each == b"held"}
            return _reply(now_ms, ids, outcomes, held, refusal)

    async def release(self, plans: Iterable[Plan], events: Mapping[str, bytes] = _NO_EVENTS) -> ActReply:
        """End the holds on up to 1,000 monitors, or on ALL_MONITORS: they are due at their next ticks.

        One whose plan has no interval, because it is not known, is due now.
        """
        plans = list(plans)
        ids = [plan.id for plan in plans]
        args: list[Any] = []
        for plan in plans:
            args += (*with_phase(plan), events.get(plan.id, b""))
        keys = (self._keys.due, self._keys.held, self._keys.events, self._keys.spread)
        reply = await self._release.run(self._redis, keys, args)
        with decoding():
            now_ms, outcomes, refusal = reply
            return _reply(now_ms, ids, outcomes, {}, refusal)

    async def holds(self) -> dict[str, bytes]:
        """Return all holds as they are stored, also those that have ended, by monitor id or ALL_MONITORS."""
        stored: Mapping[Any, Any] = await self._redis.hgetall(self._keys.held)
        return {decode_text(monitor_id): value for monitor_id, value in stored.items()}


def _reply(now_ms: int, ids: list[str], outcomes: list[bytes], ends: Mapping[str, int], refusal: bytes) -> ActReply:
    names = {monitor_id: outcome.decode() for monitor_id, outcome in zip(ids, outcomes, strict=True)}
    return ActReply(now_ms, names, {key: end for key, end in ends.items() if end}, decode_text(refusal) or None)
