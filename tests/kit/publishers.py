"""Publishers in memory."""

import asyncio
import random
from collections.abc import Mapping, Sequence

from peekaping_producer.errors import BrokerUnavailableError
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult


class MemoryPublisher:
    """Keeps what is published. `error` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.batches: list[int] = []
        self.refused: Mapping[str, str] = {}
        """By id, why a message is refused."""
        self.error: Exception | None = None
        self.opened = 0
        self.closed = 0

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    async def open(self) -> None:
        if self.error:
            raise self.error
        self.opened += 1

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        if self.error:
            raise self.error
        self.batches.append(len(messages))
        refused = {i: self.refused[message.id] for i, message in enumerate(messages) if message.id in self.refused}
        self.messages += [message for i, message in enumerate(messages) if i not in refused]
        return PublishResult(len(messages), refused)

    async def close(self) -> None:
        self.closed += 1


class HeldPublisher(MemoryPublisher):
    """Confirms nothing until `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        await self.released.wait()
        return await super().publish(messages)


class UnreliablePublisher(MemoryPublisher):
    """Fails at random, before or after messages have arrived, and settles parts of batches."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.repeated = 0
        """Messages that arrived although the call then failed, or did not settle them."""

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        arrived = self.random.choice([0, len(messages), len(messages), self.random.randint(0, len(messages))])
        settled = self.random.randint(0, arrived)
        await super().publish(messages[:arrived])
        if settled == 0:
            self.repeated += arrived
            raise BrokerUnavailableError("connection lost")
        self.repeated += arrived - settled
        return PublishResult(settled)
