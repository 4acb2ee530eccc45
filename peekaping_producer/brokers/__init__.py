"""Where tasks go: one protocol, one module per broker."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import Claim, Outcome


class Queue(msgspec.Struct, frozen=True):
    """The queue at one instant."""

    depths: Mapping[str, int]
    """Tasks by state, "pending" among them."""
    oldest_pending_s: float | None
    """How long the task waits that the workers are to take next; None where none waits."""
    paused: bool
    servers: int
    """Worker processes that the queue's own records call alive; 0 may also mean that they keep no record."""
    problems: tuple[str, ...] = ()
    """Keys that cannot be read, each with the reason."""


class HandOff(msgspec.Struct, frozen=True):
    """What became of the tasks of one hand-off."""

    now_ms: int
    """Redis TIME of the hand-off."""
    not_enqueued: Mapping[str, Outcome]
    """By monitor id; what is named neither here nor in `refused` was enqueued."""
    refused: Mapping[str, str] = {}
    """By monitor id, why its task alone could not be handed off: the claim still holds it."""
    running: Mapping[str, int] = {}
    """By monitor id, how many ticks its task has run for, where that is remarkable."""
    wrong_type: tuple[str, ...] = ()
    """Monitors whose task's place held something that is no task: it gave way."""


class Broker(Protocol):
    """A queue that workers take tasks from.

    - `hand_off` enqueues each task and reschedules its monitor for the next tick, and does neither for a monitor
      that the claim no longer holds.
    - Repeating a hand-off is safe. A broker repeats by itself while the claim lasts and the connection fails.
    """

    async def hand_off(self, claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        """Hand `tasks` (monitors of `claim`, at most 1,000) to the workers.

        One task that is refused stops no other: it is named in the answer. Raises redis.exceptions.RedisError when the
        rest could not be done while the claim lasted.
        """
        ...

    async def inspect(self) -> Queue:
        """Look at the queue. Raises redis.exceptions.RedisError."""
        ...
