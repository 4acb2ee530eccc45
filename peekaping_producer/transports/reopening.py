"""Opens a publisher on first use, and again after an error."""

from collections.abc import Sequence

from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import Publisher, PublishResult


class ReopeningPublisher:
    """A Publisher whose connection is replaced after any error: what it still confirms belongs to no call."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._is_open = False

    async def open(self) -> None:
        """See Publisher."""
        if not self._is_open:
            await self._publisher.open()
            self._is_open = True

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        """See Publisher. Opens first where necessary."""
        await self.open()
        try:
            return await self._publisher.publish(messages)
        except BaseException:  # also a cancellation
            await self.close()
            raise

    async def close(self) -> None:
        """See Publisher."""
        self._is_open = False
        await self._publisher.close()
