"""Receives messages, has them worked on, and settles each: done, tried again, dead-lettered or released.

It holds at most as many deliveries as its work has places for, so that other consumers get the rest.
"""

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec
import structlog

from peekaping_producer.errors import BROKER, CommandKilledWorkersError, DependencyError, RejectedMessageError
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.service.text import one_line
from peekaping_producer.transports.receiver import Delivery, Receiver

log = structlog.stdlib.get_logger()

_NEVER_SUCCEEDS = (RejectedMessageError, CommandKilledWorkersError)
_MAX_BACKOFF_S = 5.0


class Work(Protocol):
    """What a consumer does with messages."""

    batch_size: int
    """Deliveries of one call, at most."""
    concurrency: int
    """Calls at the same time, at most."""

    async def open(self) -> None:
        """Prepare. Raises ProducerError, which ends the consumer."""
        ...

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """Work on these, in this order.

        Raises DependencyError if that is not possible now: the consumer keeps the deliveries, and calls again.
        RetryLaterError and RejectedMessageError decide what follows. After any other error the messages are retried.
        """
        ...

    async def close(self) -> None:
        """End; never raises."""
        ...


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and when, a message is tried again after a failure. A message's own limits come first."""

    max_attempts: int = 5
    first_delay_s: float = 1.0
    """Doubled after each attempt; a random factor of 0.5 to 1 is applied."""
    max_delay_s: float = 600.0
    timeout_s: float | None = None
    """For one attempt."""

    def delay_s(self, attempt: int) -> float:
        """The delay after this attempt failed."""
        delay_s = min(self.first_delay_s * float(2 ** min(attempt - 1, 30)), self.max_delay_s)
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


class RetryLaterError(Exception):
    """A handler raises this to be called again with this message after `delay_s`, as the next attempt."""

    def __init__(self, delay_s: float, reason: str = "") -> None:
        self.delay_s = max(delay_s, 0.0)
        super().__init__(reason or f"again in {delay_s:g} s")


class _Settlement(msgspec.Struct, frozen=True):
    delivery: Delivery
    action: str
    reason: str = ""
    delay_s: float = 0.0


class Consumer:
    """Works on the messages of one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        work: Work,
        dependencies: Dependencies,
        *,
        uses: Collection[str] = (BROKER,),
        retries: Retries = Retries(),  # noqa: B008 - frozen
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        """`uses`: the dependencies that work if messages are received."""
        self.loop = Loop("consumer", dependencies, uses=uses)
        self._settling = Loop("settler", dependencies, uses=uses)
        self._receiver = receiver
        self._work = work
        self._dependencies = dependencies
        self._retries = retries
        self._metrics = metrics or ConsumerMetrics()
        self._places = work.batch_size * work.concurrency
        self.held = 0
        """Deliveries that are worked on, or not yet settled."""
        self._calls: set[asyncio.Task[None]] = set()
        self._settlements: list[_Settlement] = []
        self._ended = asyncio.Event()
        """There is something to settle."""
        self._freed = asyncio.Event()
        self._open = False
        self._stopping = False
        self._drained = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Consume until `drain` is called, or canceled. What is then still worked on is released.

        Raises what `Work.open` does, and errors that are neither the broker's nor a message's.
        """
        await self._work.open()
        self._receiving = asyncio.create_task(self.loop.run(self._receive), name="consumer")
        settling = asyncio.create_task(self._settling.run(self._settle), name="settler")
        drained = asyncio.create_task(self._drained.wait())
        try:
            await asyncio.wait({self._receiving, settling, drained}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping:
                await asyncio.wait({settling, drained}, return_when=asyncio.FIRST_COMPLETED)
            for task in (self._receiving, settling):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            self._stopping = True
            drained.cancel()
            await cancel_and_wait(self._receiving, *self._calls)
            await self._settle_rest()
            await cancel_and_wait(settling)
            await self._work.close()
            await self._receiver.close()

    async def drain(self, within_s: float) -> int:
        """Receive no more; wait for `within_s` at most until all is settled, and stop; returns how many were not."""
        if self._receiving is None:
            return 0
        self._stopping = True
        self._receiving.cancel()
        deadline = time.monotonic() + within_s
        while self.held and (left_s := deadline - time.monotonic()) > 0:
            self._freed.clear()
            await wait_for_event(self._freed, left_s)
        unfinished = self.held
        self._drained.set()
        return unfinished

    async def _receive(self) -> float:
        """Receive what there are places for, and begin to work on it."""
        if not self._open:
            await self._receiver.open()
            self._open = True
            self.loop.turn_succeeded()
        with self.loop.waiting():
            while (free := self._places - self.held) <= 0 or self._stopping:
                self._freed.clear()
                await self._freed.wait()
            try:
                deliveries = await self._receiver.receive(free)
            except DependencyError:
                self._open = False
                raise
        self._count_held(len(deliveries))
        size = self._work.batch_size
        for start in range(0, len(deliveries), size):
            batch = deliveries[start : start + size]
            task = asyncio.create_task(self._call(batch))
            self._calls.add(task)
            for delivery in batch:
                delivery.cancel = task.cancel
            task.add_done_callback(self._calls.discard)
        return 0.0

    def _count_held(self, change: int) -> None:
        self.held += change
        self._metrics.in_progress.set(self.held)
        if change < 0:
            self._freed.set()

    async def _call(self, deliveries: Sequence[Delivery]) -> None:
        """Work on a batch; its end is one settlement for each delivery, or none for deliveries that are not held."""
        began_at = time.monotonic()
        try:
            await self._run_work(deliveries)
            settlements = [_Settlement(delivery, "acknowledge") for delivery in deliveries]
            self._metrics.consumed.inc(len(deliveries))
        except asyncio.CancelledError as error:
            if not _is_canceled():  # the handler itself raised it
                settlements = self._failures(deliveries, error)
            elif self._stopping:
                settlements = [_Settlement(delivery, "release") for delivery in deliveries]
            else:
                settlements = []
                self._count_held(-len(deliveries))
        except BaseException as error:  # one bad message never stops the others, whatever its handler raises
            settlements = self._failures(deliveries, error)
        self._metrics.duration.observe(time.monotonic() - began_at)
        self._settlements += settlements
        self._ended.set()

    async def _run_work(self, deliveries: Sequence[Delivery]) -> None:
        """Call the work, again after each DependencyError."""
        limits_s = [s for s in (self._retries.timeout_s, *(each.timeout_s for each in deliveries)) if s is not None]
        backoff = Backoff(0.1, _MAX_BACKOFF_S)
        failing = ""
        while True:
            try:
                async with asyncio.timeout(min(limits_s, default=None)):
                    await self._work.run(deliveries)
            except DependencyError as error:
                failing = error.dependency
                self._dependencies.failed(error, "work")
                await backoff.wait()
            else:
                if failing:
                    self._dependencies.succeeded(failing, "work")
                return

    def _failures(self, deliveries: Sequence[Delivery], error: BaseException) -> list[_Settlement]:
        """What follows for the messages of a failed call."""
        reason = one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        self._metrics.errors.inc(len(deliveries))
        settlements = []
        for delivery in deliveries:
            limit = delivery.max_attempts or self._retries.max_attempts
            if isinstance(error, _NEVER_SUCCEEDS) or delivery.attempt >= limit:
                settlements.append(_Settlement(delivery, "dead_letter", reason))
            elif isinstance(error, RetryLaterError):
                settlements.append(_Settlement(delivery, "retry", reason, error.delay_s))
            else:
                settlements.append(_Settlement(delivery, "retry", reason, self._retries.delay_s(delivery.attempt)))
        return settlements

    async def _settle(self) -> float:
        """Settle what has ended since the last turn."""
        with self._settling.waiting():
            while not self._settlements:
                self._ended.clear()
                await self._ended.wait()
        await self._settle_all()
        return 0.0

    async def _settle_all(self) -> None:
        """Settle all; what the broker did not take stays. All that is done takes one call."""
        for action, settle in (("acknowledge", self._receiver.acknowledge), ("release", self._receiver.release)):
            settlements = [each for each in self._settlements if each.action == action]
            if settlements:
                await settle([each.delivery for each in settlements])
                self._remove(settlements)
        for settlement in list(self._settlements):
            delivery, reason = settlement.delivery, settlement.reason
            if settlement.action == "retry":
                await self._receiver.retry(delivery, settlement.delay_s, reason)
                self._metrics.retried.inc()
                event, message = "message.retried", "A message failed, and is tried again."
            elif settlement.action == "dead_letter":
                await self._receiver.dead_letter(delivery, reason)
                self._metrics.dead_lettered.inc()
                event, message = "message.dead_lettered", "A message failed for good."
            else:
                continue
            self._remove([settlement])
            log.warning(event, message=message, id=delivery.message.id, attempt=delivery.attempt, reason=reason)

    def _remove(self, settlements: Sequence[_Settlement]) -> None:
        gone = set(map(id, settlements))
        self._settlements = [each for each in self._settlements if id(each) not in gone]
        self._count_held(-len(gone))

    async def _settle_rest(self) -> None:
        """Settle what is left at the end, in one attempt: what fails is delivered again."""
        try:
            await self._settle_all()
        except DependencyError as error:
            message = "What this consumer held is delivered again."
            log.warning("consumer.release_failed", message=message, count=self.held, error=one_line(str(error)))


def _is_canceled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
