"""What the parts of the schedule share: the client, the names of the keys, and how a script is made."""

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.script import CLOCK, Script, lua
from peekaping_producer.schedule.keys import KEYS, Keys

PRELUDE = lua(__package__, "prelude")
"""Follows the clock in every script of the schedule and of brokers."""


class SchedulePart:
    """A part of the schedule in one Redis database.

    Every method raises RedisError if Redis does not answer or refuses the call.
    """

    def __init__(self, redis: Client, *, keys: Keys = KEYS, lease_ttl_s: float = 10.0, clock: str = CLOCK) -> None:
        """`clock`: the beginning of every script; tests replace it with a clock that they control."""
        self.redis = redis
        self.keys = keys
        self.lease_ttl_s = lease_ttl_s
        self._lease_ttl_ms = int(lease_ttl_s * 1000)
        self._clock = clock

    def _script(self, name: str) -> Script:
        return Script(__package__, name, prelude=self._clock + PRELUDE)


def with_phase(plan: Plan) -> tuple[str, int, int]:
    """The id, the interval and the phase in ms, as the scripts expect them."""
    interval = max(plan.interval, 0)
    return plan.id, interval * 1000, phase_s(plan.id, interval) * 1000 if interval else 0
