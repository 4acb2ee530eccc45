"""Dequeues tasks: never more than were asked for, and the same ones again if a reply is lost."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex

import structlog

from peekaping_producer.errors import BrokerError
from peekaping_producer.transports.asynq.calls import MAX_PER_CALL
from peekaping_producer.transports.asynq.delivery import AsynqDelivery, Held, delivery_of, new_token
from peekaping_producer.transports.asynq.keys import QueueKeys
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.scripts import Scripts, tasks_of
from peekaping_producer.transports.asynq.settling import Settler, retry_delay_s, write_failure
from peekaping_producer.transports.asynq.task_message import TaskMessage, decode_task

DEADLINE_EXCEEDED = "context deadline exceeded"
"""Go's words, which asynq's tools show."""

log = structlog.stdlib.get_logger()


class Dequeuer:
    """Dequeues in batches. What no caller has received yet is put back when the process stops."""

    def __init__(
        self, scripts: Scripts, queues: Mapping[str, QueueKeys], priorities: Priorities, *, held: Held, settler: Settler
    ) -> None:
        self._scripts = scripts
        self._queues = queues
        self._priorities = priorities
        self._held = held
        self._settler = settler
        self._ready: list[AsynqDelivery] = []
        self._unanswered: dict[str, tuple[float, str]] = {}
        """By queue, the token and id of a call whose reply was not received: Redis may hold leases with them."""
        self._lock = asyncio.Lock()

    async def dequeue(self, limit: int) -> list[AsynqDelivery]:
        """Ask each queue once, until there are `limit` deliveries; returns an empty list if all are empty or paused.

        An error is raised only if no queue returned a delivery before it: BrokerError.
        """
        limit = min(limit, MAX_PER_CALL)
        async with self._lock:
            if not self._ready:
                await self._ask(limit)
            # If the process was frozen meanwhile, others may have them.
            self._ready = [delivery for delivery in self._ready if self._held.is_valid(delivery)]
            taken = self._ready[:limit]
            del self._ready[:limit]
            return taken

    async def put_back(self) -> None:
        """Release all that was dequeued and not returned. Raises BrokerError."""
        async with self._lock:
            for queue in list(self._unanswered):
                with suppress(BrokerError):  # its leases end
                    await self._call(self._queues[queue], 0)
            ready, self._ready = self._ready, []
            if ready:
                await self._settler.requeue(ready)

    async def _ask(self, limit: int) -> None:
        empty: set[str] = set()
        for queue, share in self._priorities.requests(limit):
            missing = limit - len(self._ready)
            if missing <= 0:
                return
            if queue in empty:
                continue
            asked = min(share, missing)
            try:
                answered = await self._call(self._queues[queue], asked)
            except BrokerError:
                if not self._ready:
                    raise
                return
            if answered < asked:
                empty.add(queue)

    async def _call(self, keys: QueueKeys, limit: int) -> int:
        """Run the script for one queue, and add to `_ready`; returns the number of tasks that it returned.

        After a lost reply, the next call has the same token and id, and returns the tasks that Redis has leased to it.
        """
        repeated = keys.queue in self._unanswered
        token, call_id = self._unanswered.setdefault(keys.queue, (new_token(), token_hex(8)))
        started = self._held.monotonic()
        names = (keys.pending, keys.active, keys.lease, keys.paused)
        now, found, dropped = await self._scripts.run(
            "dequeue", names, (keys.prefix, limit, token, call_id, int(repeated)), tasks_of
        )
        del self._unanswered[keys.queue]
        if dropped:
            log.warning(
                "task.dropped",
                message="Removed ids from the queue that had no task, or whose task was running.",
                queue=keys.queue,
                ids=dropped,
            )
        bad: list[tuple[TaskMessage, str]] = []
        for task_id, data in found:
            task, problem = decode_task(data, task_id, keys.queue)
            if problem:
                bad.append((task, problem))
                continue
            delivery = delivery_of(task_id, task, keys.queue, token=token, started_at=now, started=started)
            self._held.add(delivery)
            self._ready.append(delivery)
        if bad:
            await self._archive(keys, bad, token, int(now))
        await self._end_late_ones()
        return len(found)

    async def _end_late_ones(self) -> None:
        """Deadlines that are over: as asynq does it, such an attempt fails before it begins."""
        late = [delivery for delivery in self._ready if (delivery.timeout_s or 0) <= 0]
        for delivery in late:
            self._ready.remove(delivery)
            with suppress(BrokerError):  # a recoverer ends it
                await self._settler.fail(delivery, DEADLINE_EXCEEDED, retry_delay_s(delivery.task))

    async def _archive(self, keys: QueueKeys, bad: list[tuple[TaskMessage, str]], token: float, now_s: int) -> None:
        log.warning(
            "task.undecodable",
            message="Archived tasks that cannot be decoded.",
            queue=keys.queue,
            tasks=len(bad),
            task_id=bad[0][0].id,
            error=bad[0][1],
        )
        with suppress(BrokerError):  # a recoverer archives the others
            for task, reason in bad:
                await write_failure(self._scripts, keys, task, token, reason=reason, now_s=now_s)
