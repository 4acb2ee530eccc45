"""What every broker does, and the values that it returns."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import Claim
from peekaping_producer.transports.asynq.server_info import ServerInfo


class Outcome(StrEnum):
    """How the hand-off of one monitor ended."""

    ENQUEUED = "enqueued"
    REPLACED = "replaced"
    """Its earlier task was stuck; the new one replaced it."""
    OVERLAP = "overlap"
    """Its earlier task is still pending (now with the new payload) or running: there is no second one."""
    LOST = "lost"
    """The claim no longer held it: the lease ended, or the monitor was removed. Nothing was written."""
    UNCONFIRMED = "unconfirmed"
    """The reply to the hand-off was lost, and the retry returned `lost`: the first attempt probably succeeded."""


class Queue(msgspec.Struct, frozen=True):
    """The queue at one instant."""

    depths: Mapping[str, int]
    """Tasks by state, "pending" among them."""
    oldest_pending_s: float | None
    """Age of the pending task that workers dequeue next; None if none is pending, or its age is unknown."""
    paused: bool
    servers: int
    """Worker processes registered as alive; 0 may also mean that they do not register."""
    problems: tuple[str, ...] = ()
    """Keys that cannot be read, each with the reason."""
    next_task: str | None = None
    """The pending task that workers dequeue next."""
    uncompleted: int = 0
    """Monitors whose task workers took and have not completed for over a minute and five ticks; of many an estimate."""
    uncompleted_s: float = 0.0
    """For how long, at most."""
    now_ms: int = 0
    """Redis TIME of the inspection."""
    workers: tuple[ServerInfo, ...] = ()
    """Worker processes that are alive, of all queues; at most 50."""
    processed: int | None = None
    """Tasks that workers have finished, also those that failed, since the queue exists; None if it is unknown."""
    results_pending: int = 0
    """Results of checks that wait to be stored, in the queue `ingester`."""
    paused_since_ms: int | None = None
    """When the queue was paused, by the clock of who paused it; None if that is unknown, or it is not paused."""
    results_oldest_s: float | None = None
    """Age of the result that is stored next."""


class HandOff(msgspec.Struct, frozen=True):
    """The results of one hand-off, by monitor id."""

    now_ms: int
    """Redis TIME of the hand-off."""
    not_enqueued: Mapping[str, Outcome]
    """A monitor that is neither here nor in `refused` was enqueued."""
    refused: Mapping[str, str] = {}
    """Why the broker refused this task alone; the claim still holds the monitor."""
    overlaps: Mapping[str, int] = {}
    """Number of ticks for which workers have not completed the task that they took, where these are many."""
    wrong_type: tuple[str, ...] = ()
    """Monitors whose task's key had a value of another type, which was replaced."""

    def is_written(self, monitor_id: str) -> bool:
        """Whether this hand-off enqueued the monitor's task, or found an earlier one, and rescheduled the monitor."""
        lost = (Outcome.LOST, Outcome.UNCONFIRMED)
        return monitor_id not in self.refused and self.not_enqueued.get(monitor_id) not in lost


class SweepResult(NamedTuple):
    """Stray entries that a sweep removed from the queue."""

    orphans: int
    """Entries without a task."""
    duplicates: int
    """Second entries of one task."""


class Broker(Protocol):
    """A queue that workers take tasks from."""

    dependency: str
    """The name of what must work for a hand-off, besides the schedule's Redis."""

    async def open(self) -> None:
        """Find out whether the broker can be used. Raises BrokerError."""
        ...

    async def close(self) -> None:
        """Close what the broker has opened; never raises."""
        ...

    async def hand_off(self, claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        """Enqueue `tasks` (of monitors in `claim`, at most 1,000) and reschedule their monitors for the next tick.

        Does neither for a monitor that the claim no longer holds. Repeating a hand-off is safe; a broker repeats by
        itself while the claim lasts and the connection fails. A task that is refused stops no other: see `refused`.
        Raises DependencyError if the others could not be enqueued while the claim lasted.
        """
        ...

    async def inspect(self) -> Queue | None:
        """Read the queue's depths and state; None if it cannot be read. Raises DependencyError."""
        ...

    async def sweep(self) -> SweepResult:
        """Remove stray entries from the queue. Raises RedisError."""
        ...
