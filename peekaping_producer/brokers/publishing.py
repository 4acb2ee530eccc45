"""Any broker that can publish: a task is published, and then its monitor is rescheduled.

These are two steps in two systems, so a task is delivered at least once. If the replica fails in between, the monitor
is claimed again with the same intended due time, and so the same message id is published again: consumers ignore what
they have seen. The claims must come from a Schedule with `keeps_due_times`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from peekaping_producer.brokers.protocol import HandOff, Outcome, Queue, SweepResult
from peekaping_producer.errors import BROKER, BrokerUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import Claim, Schedule
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import Publisher

SETTLE_RESERVE_S = 1.0
"""Publishing ends so long before the claim does, at least: to reschedule what is published."""


class PublishingBroker:
    """Publishes to RabbitMQ, or over HTTP, and settles the claims in the schedule."""

    dependency = BROKER

    def __init__(
        self, publisher: Publisher, schedule: Schedule, inspect: Callable[[], Awaitable[Queue]] | None = None
    ) -> None:
        """`inspect` reads the queue, if the broker has one that can be read."""
        self._publisher = publisher
        self._schedule = schedule
        self._inspect = inspect
        self._publishing = asyncio.Lock()

    async def open(self) -> None:
        """See Broker."""
        await self._publisher.open()

    async def close(self) -> None:
        """See Broker."""
        await self._publisher.close()

    async def hand_off(self, claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        """See Broker. What is published and no longer held is `unconfirmed`: another replica publishes it, too.

        A claim older than half its TTL publishes nothing: its monitors are `lost`, and due again when it ends. Raises
        BrokerError if the broker confirmed no further task; those confirmed before are rescheduled.
        """
        not_enqueued: dict[str, Outcome] = {}
        refused: dict[str, str] = {}
        now_ms, rest = claim.now_ms, tasks
        async with self._publishing:
            if time.monotonic() > claim.ends_at - self._schedule.lease_ttl_s / 2:
                return HandOff(now_ms, dict.fromkeys((task.monitor_id for task in tasks), Outcome.LOST))
            while rest:
                settled, reasons = await self._publish(claim, rest)
                published = [task for n, task in enumerate(rest[:settled]) if n not in reasons]
                refused |= {rest[n].monitor_id: reason for n, reason in reasons.items()}
                done = await self._schedule.reschedule(
                    claim, [Plan(task.monitor_id, task.interval) for task in published]
                )
                now_ms = done.now_ms
                not_enqueued |= dict.fromkeys(done.lost, Outcome.UNCONFIRMED)
                rest = rest[settled:]
        return HandOff(now_ms, not_enqueued, refused)

    async def _publish(self, claim: Claim, tasks: Sequence[HealthCheckTask]) -> tuple[int, Mapping[int, str]]:
        """Publish; return how many of the first are settled, at least one, and the reasons of those refused."""
        messages = [
            Message(f"{task.monitor_id}:{int(claim.due[task.monitor_id])}", task.payload, "application/json")
            for task in tasks
        ]
        try:
            async with asyncio.timeout(claim.ends_at - SETTLE_RESERVE_S - time.monotonic()):
                result = await self._publisher.publish(messages)
        except TimeoutError:
            raise BrokerUnavailableError("the broker confirmed no task before the claim ended") from None
        if not result.settled:
            raise BrokerUnavailableError("the broker confirmed no task")
        return result.settled, result.refused

    async def inspect(self) -> Queue | None:
        """See Broker."""
        return await self._inspect() if self._inspect else None

    async def sweep(self) -> SweepResult:
        """See Broker. Only asynq's queues need it."""
        return SweepResult(0, 0)
