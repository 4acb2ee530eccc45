"""Extends the leases of running tasks; cancels the handlers of those that are no longer held."""

from collections import defaultdict
from collections.abc import Iterable

import structlog

from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.asynq.calls import MAX_PER_CALL
from peekaping_producer.transports.asynq.delivery import LEASE_S, AsynqDelivery, Held
from peekaping_producer.transports.asynq.keys import QueueKeys
from peekaping_producer.transports.asynq.periodic import Periodic
from peekaping_producer.transports.asynq.scripts import Scripts

log = structlog.stdlib.get_logger()


class LeaseExtender(Periodic):
    """Extends only leases that have not ended: a recoverer may be about to end the run of the others."""

    name = "asynq.leases"
    every_s = 5.0
    longest_backoff_s = 1.0

    def __init__(
        self, scripts: Scripts, queues: Iterable[QueueKeys], dependencies: Dependencies, *, held: Held
    ) -> None:
        super().__init__(scripts, queues, dependencies)
        self._held = held

    async def run_once(self) -> None:
        """Extend all leases; a lease that has ended is not extended, also if Redis does not answer."""
        self._lose([delivery for delivery in self._held if not self._held.is_valid(delivery)])
        by_queue = defaultdict(list)
        for delivery in self._held:
            if not delivery.is_settling:
                by_queue[delivery.queue].append(delivery)
        for keys in self._queues:
            for deliveries in chunks(by_queue[keys.queue], MAX_PER_CALL):
                await self._extend(keys, deliveries)
                self.loop.progressed()

    async def _extend(self, keys: QueueKeys, deliveries: list[AsynqDelivery]) -> None:
        began_at = self._held.monotonic()
        args: list[str | float] = []
        for delivery in deliveries:
            args += (delivery.message.id, delivery.token)
        lost = await self._scripts.run("extend", (keys.lease,), args, set)
        self._lose([delivery for n, delivery in enumerate(deliveries, 1) if n in lost and not delivery.is_settling])
        for n, delivery in enumerate(deliveries, 1):
            if n not in lost:
                delivery.leased_until = began_at + LEASE_S

    def _lose(self, deliveries: list[AsynqDelivery]) -> None:
        for delivery in deliveries:
            self._held.lose(delivery)
        if running := [delivery for delivery in deliveries if not delivery.is_settling]:
            log.warning(
                "task.lease_lost",
                message="The leases of running tasks expired: the handlers are canceled, and the tasks run again.",
                tasks=len(running),
                task_id=running[0].message.id,
            )
