"""Receives messages, has them worked on, and settles each: done, tried again, dead-lettered or released.

It holds at most as many deliveries as its work has places for, so that other consumers get the rest.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from peekaping_producer.errors import (
    BROKER,
    CommandKilledWorkersError,
    DependencyError,
    OutputClosedError,
    RejectedMessageError,
)
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.messages.progress import RateMeter
from peekaping_producer.messages.retries import Retries, RetryLaterError
from peekaping_producer.messages.settling import Failure, Settler
from peekaping_producer.messages.work import Call, Caller, Work, reason_of, traceback_of
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.transports.receiver import Delivery, Receiver

log = structlog.stdlib.get_logger()

_NEVER_SUCCEEDS = (RejectedMessageError, CommandKilledWorkersError)
_CANCEL_WITHIN_S = 1.0
"""How long handlers may take to end at the end."""
_DELIBERATE = (*_NEVER_SUCCEEDS, RetryLaterError, TimeoutError)
"""Their tracebacks are of no use."""
_SETTLE_WITHIN_S = 5.0
"""At the end."""


class Consumer:
    """Works on the messages of one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        work: Work,
        dependencies: Dependencies,
        *,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        self.loop = Loop("consumer", dependencies, uses=(BROKER,))
        self._receiver = receiver
        self._work = work
        self._retries = retries
        self._metrics = metrics or ConsumerMetrics()
        self._caller = Caller(work, dependencies, self._metrics)
        self._settler = Settler(receiver, dependencies, self._settled, metrics=self._metrics)
        self._meter = RateMeter()
        """Of messages worked on with success."""
        self.held = 0
        """Deliveries that are worked on, or not yet settled."""
        self._calls: set[Call] = set()
        self._freed = asyncio.Event()
        """A call ended, or deliveries were settled."""
        self._open = False
        self._stopping = False
        self._ended = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return "consumer"

    def progress(self) -> str:
        """How far it has come, in a line."""
        return f"{self._meter.total:,} messages   {self._meter.rate:,.0f}/s   {self.held:,} in progress"

    @property
    def loops(self) -> tuple[Loop, ...]:
        """For health."""
        return (self.loop, *self._settler.loops)

    @property
    def stopping(self) -> bool:
        """Whether it receives no more."""
        return self._stopping

    async def run(self) -> None:
        """Consume until `drain` is called, or canceled. What is then still worked on is released.

        Raises what `Work.open` does, and errors that are neither the broker's nor a message's.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._receiver.close)
            await self._work.open()
            stack.push_async_callback(self._work.close)
            self._receiving = asyncio.create_task(self.loop.run(self._receive), name="consumer")
            settling = asyncio.create_task(self._settler.run(), name="settler")
            ended = asyncio.create_task(self._ended.wait(), name="end")
            try:
                await self._run_until_end(self._receiving, settling, ended)
            finally:
                await self._stop(settling, ended)

    async def _run_until_end(self, receiving: asyncio.Task[None], *others: asyncio.Task[Any]) -> None:
        await asyncio.wait({receiving, *others}, return_when=asyncio.FIRST_COMPLETED)
        if self._stopping:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        for task in (receiving, *others):
            if task.done() and not task.cancelled():
                task.result()

    async def _stop(self, settling: asyncio.Task[None], ended: asyncio.Task[Any]) -> None:
        """Release what is worked on, and settle the rest."""
        assert self._receiving is not None
        self._stopping = True
        try:
            await cancel_and_wait(self._receiving, ended)  # the call that receives may yet return
            await self._cancel_calls()
            await self._settler.finish(_SETTLE_WITHIN_S)
        finally:
            await cancel_and_wait(settling)
            self._caller.close()
            if self.held:
                message = "Stopped before the broker had settled all messages; it delivers the others again."
                log.warning("consumer.unsettled", message=message, count=self.held)

    async def _cancel_calls(self) -> None:
        """Cancel what is worked on. A handler that ignores that keeps neither its message nor the process."""
        for call in self._calls:
            call.cancel()
        await asyncio.sleep(0)  # those that had not begun end
        if not self._calls:
            return
        await asyncio.wait([call.task for call in self._calls], timeout=_CANCEL_WITHIN_S)
        if abandoned := [delivery for call in self._calls for delivery in call.held]:
            message = "Handlers did not end when they were canceled; their messages are released nevertheless."
            log.warning("handlers.abandoned", message=message, count=len(abandoned), id=abandoned[0].message.id)
            self._calls.clear()
            self._settler.release(abandoned)

    async def drain(self, within_s: float) -> int:
        """Receive no more; wait for `within_s` at most until all is settled, and stop; returns how many were not."""
        self._stopping = True
        if self._receiving:
            self._receiving.cancel()
        deadline = time.monotonic() + within_s
        while self.held and (left_s := deadline - time.monotonic()) > 0:
            self._freed.clear()
            await wait_for_event(self._freed, left_s)
        unfinished = self.held
        self._ended.set()
        return unfinished

    @property
    def _free(self) -> int:
        """How many deliveries can be worked on at once."""
        size, calls = self._work.batch_size, self._work.concurrency
        return 0 if self._stopping else min(size * calls - self.held, size * (calls - len(self._calls)))

    async def _receive(self) -> float:
        """Receive what there are places for, and begin to work on it."""
        if not self._open:
            await self._receiver.open()
            self._open = True
            self.loop.turn_succeeded()
        with self.loop.waiting():
            while (free := self._free) <= 0:
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
            self._begin(deliveries[start : start + size])
        return 0.0

    def _begin(self, deliveries: Sequence[Delivery]) -> None:
        call = Call(deliveries)
        longest_s = self._retries.timeout_s
        for delivery in deliveries:
            delivery.cancel = partial(call.lose, delivery)
            if longest_s is not None and (delivery.timeout_s is None or delivery.timeout_s > longest_s):
                delivery.timeout_s = longest_s
        self._calls.add(call)
        call.task = asyncio.create_task(self._run(call))

    def _count_held(self, change: int) -> None:
        if change:
            self.held += change
            self._metrics.in_progress.set(self.held)

    def _settled(self, count: int) -> None:
        self._count_held(-count)
        self._freed.set()

    async def _run(self, call: Call) -> None:
        """Run a call; pass its deliveries to the settler, and forget those that are no longer held."""
        is_canceled, error = False, None
        try:
            error = await self._caller.run(call)
        except asyncio.CancelledError:
            is_canceled = True
        if call not in self._calls:
            return  # it was abandoned, and its deliveries are released
        self._calls.remove(call)
        self._end_canceled(call.held) if is_canceled else self._end(call.held, error)
        self._settled(len(call.lost))

    def _end_canceled(self, deliveries: Sequence[Delivery]) -> None:
        if self._stopping:
            self._settler.release(deliveries)
        elif deliveries:
            self._begin(deliveries)  # others of the batch were lost

    def _end(self, deliveries: Sequence[Delivery], error: BaseException | None) -> None:
        if error is None:
            self._metrics.consumed.inc(len(deliveries))
            self._meter.add(len(deliveries))
            self._settler.acknowledge(deliveries)
        elif isinstance(error, OutputClosedError):
            self._settler.release(deliveries)
            log.info("output.closed", message="The reader of the output is gone; the consumer ends.")
            self._stopping = True
            self._ended.set()
        else:
            self._fail(deliveries, error)

    def _fail(self, deliveries: Sequence[Delivery], error: BaseException) -> None:
        """Decide what follows for the messages of a failed call."""
        self._metrics.errors.inc(len(deliveries))
        reason = reason_of(error)
        if not isinstance(error, _DELIBERATE):
            ids = [delivery.message.id for delivery in deliveries]
            log.debug("handler.failed", message="The handler raised an error.", ids=ids, exception=traceback_of(error))
        for delivery in deliveries:
            delay_s: float | None
            if isinstance(error, _NEVER_SUCCEEDS) or delivery.attempt >= (
                delivery.max_attempts or self._retries.max_attempts
            ):
                delay_s = None
            elif isinstance(error, RetryLaterError):
                delay_s = error.delay_s
            else:
                delay_s = self._retries.delay_s(delivery.attempt)
            self._settler.fail(Failure(delivery, reason, delay_s))
