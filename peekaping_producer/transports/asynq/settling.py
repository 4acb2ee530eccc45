"""Writes how runs end. Only the holder of a lease writes, and only until the lease ends."""

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

import msgspec

from peekaping_producer.errors import BrokerError, BrokerUnavailableError, DependencyError
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.isolation import isolate
from peekaping_producer.transports.asynq.calls import MAX_PER_CALL, calls_of
from peekaping_producer.transports.asynq.delivery import AsynqDelivery, Held
from peekaping_producer.transports.asynq.keys import QueueKeys
from peekaping_producer.transports.asynq.scripts import Scripts
from peekaping_producer.transports.asynq.task_message import TaskMessage, encode

MAX_ARCHIVED = 10_000
_CALLS_AT_ONCE = 6
"""`receive` and the background parts need the other connections."""
_MAX_REASON = 4096
"""Characters of a reason that are stored."""

Write = Callable[[QueueKeys, list[AsynqDelivery]], Awaitable[object]]


async def write_failure(
    scripts: Scripts,
    keys: QueueKeys,
    task: TaskMessage,
    token: float,
    *,
    reason: str,
    now_s: int,
    delay_s: float | None = None,
) -> bool:
    """Move a task to the retry set for `delay_s`, or for None to the archive.

    Returns whether the token, or the recoverer's (0), allowed it.
    """
    failed = msgspec.structs.replace(
        task,
        retried=task.retried + (delay_s is not None),
        error_msg=reason.encode(errors="replace").decode()[:_MAX_REASON],
        last_failed_at=now_s,
    )
    args = (keys.prefix, task.id, token, encode(failed))
    if delay_s is None:
        return bool(await scripts.run("archive", (keys.active, keys.lease, keys.archived), (*args, MAX_ARCHIVED), int))
    return bool(await scripts.run("retry", (keys.active, keys.lease, keys.retry), (*args, math.ceil(delay_s)), int))


def retry_delay_s(task: TaskMessage) -> float | None:
    """asynq's delay after a failure: 15 s and more at first, 4.6 days after 25; None if it was the last attempt."""
    jitter_s = random.randrange(30) * (task.retried + 1)  # noqa: S311
    return float(task.retried**4 + 15 + jitter_s) if task.can_be_retried else None


class Settler:
    """Ends runs. A call that fails is repeated until the lease of the task ends; then the last error is raised."""

    def __init__(self, scripts: Scripts, queues: Iterable[QueueKeys], held: Held) -> None:
        self._scripts = scripts
        self._keys = {keys.queue: keys for keys in queues}
        self._held = held
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def finish(self, deliveries: Sequence[AsynqDelivery]) -> None:
        """They succeeded: remove them; keep those with a retention, with their results."""
        done = [delivery for delivery in deliveries if delivery.task.retention <= 0]
        kept = [delivery for delivery in deliveries if delivery.task.retention > 0]
        await _all(self._settle(part, write) for part, write in ((done, self._finish), (kept, self._complete)) if part)

    async def requeue(self, deliveries: Sequence[AsynqDelivery]) -> None:
        """Put them back at the front of their queues, in this order."""
        await self._settle(deliveries, self._requeue)

    async def fail(self, delivery: AsynqDelivery, reason: str, delay_s: float | None) -> None:
        """The attempt failed: another one after `delay_s`; for None archive it."""

        async def write(keys: QueueKeys, _: list[AsynqDelivery]) -> None:
            now_s = delivery.now_s(self._held.monotonic())
            run = delivery.task, delivery.token
            await write_failure(self._scripts, keys, *run, reason=reason, now_s=now_s, delay_s=delay_s)

        await self._settle([delivery], write)

    async def _settle(self, deliveries: Sequence[AsynqDelivery], write: Write) -> None:
        by_queue = defaultdict(list)
        for delivery in deliveries:
            delivery.is_settling = True
            by_queue[delivery.queue].append(delivery)
        parts = ((queue, part) for queue, of_queue in by_queue.items() for part in chunks(of_queue, MAX_PER_CALL))
        await _all(self._until_lease_ends(self._keys[queue], part, write) for queue, part in parts)

    async def _until_lease_ends(self, keys: QueueKeys, deliveries: list[AsynqDelivery], write: Write) -> None:
        backoff = Backoff(0.05, 1.0)
        try:
            left, error = deliveries, None
            while left := [delivery for delivery in left if self._held.is_valid(delivery)]:
                left, error = await self._attempt(keys, left, write)
                if not left:
                    return
                await backoff.wait()
        finally:
            for delivery in deliveries:
                self._held.remove(delivery)
        if error:
            raise error if isinstance(error, BrokerError) else BrokerUnavailableError(str(error)) from error

    async def _attempt(
        self, keys: QueueKeys, deliveries: list[AsynqDelivery], write: Write
    ) -> tuple[list[AsynqDelivery], Exception | None]:
        """Write once; returns the deliveries for which that failed, and the last error."""
        failed: list[AsynqDelivery] = []
        error: Exception | None = None

        async def attempt(part: list[AsynqDelivery]) -> None:
            async with self._calls:
                await write(keys, part)

        def set_aside(delivery: AsynqDelivery, why: Exception) -> None:
            nonlocal error
            error = why
            failed.append(delivery)

        try:
            await isolate(deliveries, attempt, set_aside, is_of_dependency=_concerns_all)
        except DependencyError as why:
            return deliveries, why
        return failed, error

    async def _finish(self, keys: QueueKeys, deliveries: list[AsynqDelivery]) -> None:
        args: list[str | float] = [keys.prefix]
        for delivery in deliveries:
            args += (delivery.message.id, delivery.token, delivery.task.unique_key)
        await self._scripts.run("finish", (keys.active, keys.lease), args, int)

    async def _complete(self, keys: QueueKeys, deliveries: list[AsynqDelivery]) -> None:
        names = keys.active, keys.lease, keys.completed
        now = self._held.monotonic()
        done = (
            (
                delivery,
                encode(msgspec.structs.replace(delivery.task, completed_at=delivery.now_s(now))),
                delivery.result or b"",
            )
            for delivery in deliveries
        )
        for call in calls_of(done, lambda entry: len(entry[1]) + len(entry[2])):
            args: list[str | bytes | float] = [keys.prefix]
            for delivery, message, result in call:
                task = delivery.task
                args += (task.id, delivery.token, message, task.retention, task.unique_key, result)
            await self._scripts.run("complete", names, args, int)

    async def _requeue(self, keys: QueueKeys, deliveries: list[AsynqDelivery]) -> None:
        args: list[str | float] = [keys.prefix]
        for delivery in deliveries:
            args += (delivery.message.id, delivery.token)
        await self._scripts.run("requeue", (keys.active, keys.lease, keys.pending), args, int)


def _concerns_all(error: BaseException) -> bool:
    return isinstance(error, BrokerUnavailableError)


async def _all(calls: Iterable[Coroutine[None, None, None]]) -> None:
    """Await all, also if one fails; then raise the first error."""
    pending = list(calls)
    if len(pending) == 1:
        await pending[0]
        return
    for result in await asyncio.gather(*pending, return_exceptions=True):
        if result is not None:
            raise result
