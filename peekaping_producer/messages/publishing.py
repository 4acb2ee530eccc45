"""Publishes the first messages of a buffer, and finds the one that makes publishing fail."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from peekaping_producer.errors import PRODUCER, BatchError, BrokerUnavailableError
from peekaping_producer.messages.buffer import Buffer
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.service.dependencies import SLOW_AFTER_S
from peekaping_producer.service.isolation import MAX_CONSECUTIVE_FAILURES, describe, is_of_dependency
from peekaping_producer.service.loop import Loop
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import Blockable, Publisher, PublishResult

log = structlog.stdlib.get_logger()


@contextmanager
def _os_errors_as_broker_errors() -> Iterator[None]:
    """An OSError, TimeoutError included, is no message's: it must not end the relay, nor refuse a message."""
    try:
        yield
    except OSError as error:
        raise BrokerUnavailableError(f"{type(error).__name__}: {error}") from error


class Publishing:
    """Publishes batches from the front of a buffer, so that the order is kept."""

    def __init__(
        self,
        publisher: Publisher,
        loop: Loop,
        metrics: RelayMetrics,
        *,
        batch_messages: int,
        batch_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loop`: that of the relay, which counts as waiting while the broker is called."""
        self.is_open = False
        """Whether the publisher works, as far as is known."""
        self._publisher = publisher
        self._loop = loop
        self._metrics = metrics
        self._batch_messages = batch_messages
        self._batch_bytes = batch_bytes
        self._clock = clock
        self._limit = batch_messages
        """Of the next batch: smaller while a message that fails alone is looked for."""
        self._consecutive_failures = 0

    def has_full_batch(self, buffer: Buffer) -> bool:
        """Whether a batch need not wait for more messages."""
        return len(buffer) >= self._batch_messages or buffer.bytes >= self._batch_bytes

    async def open(self) -> None:
        """Connect where there is no connection, and find out whether it works. Raises BrokerError."""
        self.is_open = False
        with _os_errors_as_broker_errors():
            await self._publisher.open()
        self.is_open = True

    async def close(self) -> None:
        """Close the publisher; never raises."""
        await self._publisher.close()

    async def publish(self, buffer: Buffer) -> PublishResult:
        """Publish the first messages of the buffer, which keeps them; return how many are settled, perhaps none.

        Raises DependencyError; then it is unknown whether the broker has some of them.
        """
        messages = buffer.head(self._limit, self._batch_bytes)
        began_at = self._clock()
        try:
            with _os_errors_as_broker_errors(), self._loop.calling(self._unconfirmed):
                result = await self._publisher.publish(messages)
        except Exception as error:  # one bad message never stops the others
            self.is_open = False  # the error may have left the connection in any state
            if is_of_dependency(error):
                raise
            return self._isolate(messages, error)
        finally:
            self._metrics.publish_duration.observe(self._clock() - began_at)
        if result.settled <= 0:
            self.is_open = False
            raise BrokerUnavailableError("the publisher settled no message")
        self._limit = self._batch_messages
        self._consecutive_failures = 0
        return result

    def _unconfirmed(self, for_s: float) -> BrokerUnavailableError | None:
        """Why the call is a failure although it has not ended: at once if the broker reports that it is blocked."""
        why = self._publisher.blocked if isinstance(self._publisher, Blockable) else ""
        if not why and for_s < SLOW_AFTER_S:
            return None
        return BrokerUnavailableError(f"no confirmation for {for_s:.0f} s" + (f": {why}" if why else ""))

    def _isolate(self, messages: Sequence[Message], error: Exception) -> PublishResult:
        """Halve the next batch after an error that a single message may have caused; refuse one that fails alone."""
        if len(messages) > 1:
            self._limit = len(messages) // 2
            return PublishResult(0)
        self._consecutive_failures += 1
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            raise BatchError(f"every message fails: {describe(error)}", PRODUCER) from error
        log.warning(
            "message.refused",
            message="A message cannot be published and is refused; the others are published.",
            id=messages[0].id,
            error=describe(error),
        )
        return PublishResult(1, {0: f"cannot be published: {describe(error)}"})
