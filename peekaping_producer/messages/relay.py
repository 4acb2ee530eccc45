"""Passes messages from sources to a broker: a bounded buffer, and one loop that publishes from it in order.

A source gets a future for each batch, which ends once the broker has confirmed or refused all its messages.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from peekaping_producer.errors import BROKER, BatchTooLargeError, BufferFullError, RelayClosedError
from peekaping_producer.messages.buffer import Admission, Buffer, Refused
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.progress import Progress, RateMeter
from peekaping_producer.messages.publishing import Publishing
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop, LoopDone
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import Publisher, PublishResult

MIB = 1024 * 1024
MAX_BATCH = 500
CHECK_AFTER_S = 5.0
"""An idle relay checks its connection this often, so that probes report a broker that went away."""


class Relay:
    """Publishes what sources add, in that order, at least once.

    After a failure it publishes again from the first message that is not settled, with the same ids.
    """

    def __init__(
        self,
        publisher: Publisher,
        dependencies: Dependencies,
        *,
        max_messages: int = 10_000,
        max_bytes: int = 16 * MIB,
        batch_messages: int = MAX_BATCH,
        batch_bytes: int = MIB,
        linger_s: float = 0.0,
        metrics: RelayMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_messages`, `max_bytes`: of the buffer, including the batch that is being published.

        `linger_s`: how long a batch that is not full waits for more; with 0 a batch is what came while the one before
        it was published.
        """
        self.loop = Loop("relay", dependencies, uses=(BROKER,))
        self._metrics = metrics or RelayMetrics()
        self._publishing = Publishing(
            publisher,
            self.loop,
            self._metrics,
            batch_messages=batch_messages,
            batch_bytes=batch_bytes,
            clock=clock,
        )
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._linger_s = linger_s
        self._clock = clock
        self._buffer = Buffer(max_bytes)
        self._meter = RateMeter(clock)
        self._closed = False
        self._changed = asyncio.Event()
        """Messages were added, or the relay closes."""
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._turn_of_put = asyncio.Lock()

    def offer(self, messages: Sequence[Message]) -> "asyncio.Future[Refused]":
        """Add `messages`; return a future of what can never be published, by index, with the reason.

        The future ends once all are settled. If it is canceled, the messages are published nevertheless. A message with
        an invalid id or a body larger than the buffer is refused at once.

        Raises BufferFullError, BatchTooLargeError or RelayClosedError, and then adds none.
        """
        admission = self._admit(messages)
        if not self._fits(admission):
            raise BufferFullError(
                f"relay: expected room for {len(admission.messages)} messages of {admission.bytes} bytes, "
                f"got {len(self._buffer)} messages of {self._buffer.bytes} bytes in a buffer of {self._bounds}"
            )
        return self._add(admission)

    async def put(self, messages: Sequence[Message]) -> "asyncio.Future[Refused]":
        """Wait for room, then do as `offer`. Calls that wait are served in their order.

        Raises BatchTooLargeError or RelayClosedError.
        """
        admission = self._admit(messages)
        async with self._turn_of_put:
            while not self._fits(admission):
                self._room.clear()
                await self._room.wait()
            return self._add(admission)

    def _admit(self, messages: Sequence[Message]) -> Admission:
        admission = self._buffer.admit(messages)
        if len(admission.messages) > self._max_messages or admission.bytes > self._max_bytes:
            raise BatchTooLargeError(
                f"relay: expected at most {self._bounds}, "
                f"got {len(admission.messages)} messages of {admission.bytes} bytes; send smaller batches"
            )
        return admission

    @property
    def _bounds(self) -> str:
        return f"{self._max_messages} messages and {self._max_bytes} bytes"

    def _fits(self, admission: Admission) -> bool:
        if self._closed:
            raise RelayClosedError("the relay stops and accepts no messages")
        return (
            len(self._buffer) + len(admission.messages) <= self._max_messages
            and self._buffer.bytes + admission.bytes <= self._max_bytes
        )

    def _add(self, admission: Admission) -> "asyncio.Future[Refused]":
        future = self._buffer.add(admission, self._clock())
        self._metrics.refused.inc(len(admission.problems))
        if self._buffer:
            self._empty.clear()
            self._changed.set()
        self._show_buffer()
        return future

    async def run(self) -> None:
        """Publish until canceled, or until `drain` has emptied the buffer; then close the publisher.

        An error that is neither the broker's nor a message's is raised.
        """
        try:
            await self.loop.run(self._take_turn)
        finally:
            await self._publishing.close()

    async def drain(self, within_s: float) -> int:
        """Accept no more messages; wait for `within_s` at most until all are settled; return how many are not.

        Futures that have not ended raise RelayClosedError. Then cancel `run`, which may still wait for the broker.
        """
        self._closed = True
        self._room.set()
        self._changed.set()
        if not await wait_for_event(self._empty, within_s):
            self._buffer.fail(
                RelayClosedError("the relay stopped before the broker confirmed all messages of the batch")
            )
        return len(self._buffer)

    def progress(self) -> Progress:
        """How far the relay has come."""
        return Progress(
            lines=self._meter.total,
            buffered=len(self._buffer),
            rate=self._meter.rate,
            lag_s=self._oldest_age_s,
        )

    @property
    def _oldest_age_s(self) -> float:
        oldest_at = self._buffer.oldest_at
        return 0.0 if oldest_at is None else self._clock() - oldest_at

    async def _take_turn(self) -> float:
        if self._closed and not self._buffer:
            raise LoopDone
        if not self._publishing.is_open:
            await self._publishing.open()
            self.loop.call_succeeded(BROKER)
            if not self._buffer:
                return 0.0  # a success of the loop, without a message
        await self._wait_for_messages()
        if self._buffer:
            self._settle(await self._publishing.publish(self._buffer))
        else:
            self._publishing.is_open = False
        return 0.0

    async def _wait_for_messages(self) -> None:
        """Wait for a message, then for a full batch or the end of the linger. Raises LoopDone when all is drained.

        Returns without a message after CHECK_AFTER_S.
        """
        with self.loop.waiting():
            while not self._buffer:
                if self._closed:
                    raise LoopDone
                self._changed.clear()
                if not await wait_for_event(self._changed, CHECK_AFTER_S):
                    return
            while not self._closed and not self._publishing.has_full_batch(self._buffer):
                left_s = self._linger_s - self._oldest_age_s
                if left_s <= 0:
                    break
                self._changed.clear()
                await wait_for_event(self._changed, left_s)

    def _settle(self, result: PublishResult) -> None:
        self._buffer.settle(result.settled, result.refused)
        self._meter.add(result.settled)
        self._metrics.produced.inc(result.settled - len(result.refused))
        self._metrics.refused.inc(len(result.refused))
        self._show_buffer()
        self._room.set()
        if not self._buffer:
            self._empty.set()

    def _show_buffer(self) -> None:
        self._metrics.buffered_messages.set(len(self._buffer))
        self._metrics.buffered_bytes.set(self._buffer.bytes)
