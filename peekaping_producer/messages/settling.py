"""Settles the deliveries of a consumer with its receiver, and repeats what the broker did not accept."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from peekaping_producer.errors import BROKER, BrokerUnavailableError, DependencyError
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import SLOW_AFTER_S, Dependencies
from peekaping_producer.service.isolation import describe
from peekaping_producer.service.loop import Loop, LoopDone
from peekaping_producer.transports.receiver import Delivery, Receiver

log = structlog.stdlib.get_logger()


class Failure(msgspec.Struct, frozen=True, eq=False):
    """A delivery whose attempt failed."""

    delivery: Delivery
    reason: str
    delay_s: float | None
    """Before the next attempt; None: there is none, and it is dead-lettered."""


class Settler:
    """Two loops: one acknowledges and releases, the other retries and dead-letters.

    So what succeeded does not wait for a message that cannot be moved.
    """

    def __init__(
        self,
        receiver: Receiver,
        dependencies: Dependencies,
        on_settled: Callable[[int], None],
        *,
        metrics: ConsumerMetrics,
    ) -> None:
        """`on_settled` is called with the number of deliveries that were settled."""
        self.loops = Loop("settler", dependencies, uses=(BROKER,)), Loop("retries", dependencies, uses=(BROKER,))
        self._receiver = receiver
        self._on_settled = on_settled
        self._metrics = metrics
        self._done: list[Delivery] = []
        self._released: list[Delivery] = []
        self._failures: deque[Failure] = deque()
        self._changed = asyncio.Event(), asyncio.Event()
        """For each loop: there is something to settle, or `finish` was called."""
        self._finishing = False
        self._tasks: list[asyncio.Task[None]] = []

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these: their work is done."""
        self._done += deliveries
        self._changed[0].set()

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Put these back."""
        self._released += deliveries
        self._changed[0].set()

    def fail(self, failure: Failure) -> None:
        """Retry this, or dead-letter it."""
        self._failures.append(failure)
        self._changed[1].set()

    async def run(self) -> None:
        """Settle until `finish`. Raises an error that is neither the broker's nor a message's."""
        turns = self._settle, self._settle_failure
        self._tasks = [asyncio.create_task(loop.run(turn)) for loop, turn in zip(self.loops, turns, strict=True)]
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await cancel_and_wait(*self._tasks)

    async def finish(self, within_s: float) -> None:
        """Wait until all is settled, for `within_s` seconds at most."""
        self._finishing = True
        for changed in self._changed:
            changed.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    async def _settle(self) -> float:
        """Acknowledge, in one call, all that is done since the last turn."""
        with self.loops[0].waiting():
            while not (self._done or self._released):
                await self._wait(self._changed[0])
        for deliveries, settle in (
            (self._done, self._receiver.acknowledge),
            (self._released, self._receiver.release),
        ):
            if settled := list(deliveries):
                await settle(settled)
                del deliveries[: len(settled)]
                self._on_settled(len(settled))
        return 0.0

    async def _settle_failure(self) -> float:
        """Move one message. One that the broker does not accept waits behind the others."""
        with self.loops[1].waiting():
            while not self._failures:
                await self._wait(self._changed[1])
        failure = self._failures.popleft()
        try:
            with self.loops[1].calling(_slow):
                await self._move(failure)
        except (DependencyError, asyncio.CancelledError):
            self._failures.append(failure)
            raise
        except Exception as error:  # one bad message never stops the others
            log.exception(
                "message.unsettled",
                message="A failed message could not be moved; the broker delivers it again later.",
                id=failure.delivery.message.id,
                error=describe(error),
            )
        self._on_settled(1)
        return 0.0

    async def _wait(self, changed: asyncio.Event) -> None:
        if self._finishing:
            raise LoopDone
        changed.clear()
        await changed.wait()

    async def _move(self, failure: Failure) -> None:
        delivery, reason = failure.delivery, failure.reason
        fields = {"id": delivery.message.id, "attempt": delivery.attempt, "reason": reason}
        if failure.delay_s is None:
            await self._receiver.dead_letter(delivery, reason)
            self._metrics.dead_lettered.inc()
            log.warning("message.dead_lettered", message="A message failed and is in the dead letters.", **fields)
        else:
            await self._receiver.retry(delivery, failure.delay_s, reason)
            self._metrics.retried.inc()
            log.info("message.retried", message="A message failed and is retried.", **fields)


def _slow(for_s: float) -> BrokerUnavailableError | None:
    if for_s < SLOW_AFTER_S:
        return None
    return BrokerUnavailableError(f"a retry or a dead letter has not been confirmed for {for_s:.0f} s")
