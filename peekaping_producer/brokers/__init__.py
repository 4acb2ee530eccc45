"""Where tasks go: one protocol, one module per broker."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from peekaping_producer.schedule import Claim, Outcome
from peekaping_producer.task import HealthCheckTask


class HandOff(msgspec.Struct, frozen=True):
    """What became of the tasks of one hand-off."""

    now_ms: int
    """Redis TIME of the hand-off."""
    exceptions: Mapping[str, Outcome]
    """By monitor id; whatever is not named here was enqueued."""


class Broker(Protocol):
    """A queue that workers take tasks from.

    - `hand_off` enqueues each task and reschedules its monitor for the next tick, and does neither for a monitor
      that the claim no longer holds.
    - Repeating a hand-off is safe. A broker repeats by itself while the claim lasts and the connection fails.
    """

    async def hand_off(self, claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        """Hand `tasks` (monitors of `claim`, at most 1,000) to the workers.

        Raises redis.exceptions.RedisError when it could not be done while the claim lasted.
        """
        ...
