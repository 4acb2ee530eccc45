"""A receiver in memory."""

import asyncio
from collections import deque
from collections.abc import Sequence

from peekaping_producer.errors import BrokerError
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery


class MemoryReceiver:
    """A queue. A retried message is at its end at once; `error` is raised by every call while it is set."""

    def __init__(self, *messages: Message) -> None:
        self.queue = deque(Delivery(message) for message in messages)
        self.held: dict[Delivery, None] = {}
        self.acknowledged: list[str] = []
        self.acknowledgements: list[int] = []
        """The number of messages of each call."""
        self.retried: list[tuple[str, float, str]] = []
        self.dead: list[tuple[str, str]] = []
        self.released: list[str] = []
        self.limits: list[int] = []
        self.error: BrokerError | None = None
        self.opened = 0
        self.closed = False
        self._arrived = asyncio.Event()

    def put(self, *messages: Message) -> None:
        self.queue.extend(Delivery(message) for message in messages)
        self._arrived.set()

    def lose(self, *deliveries: Delivery) -> None:
        """These, or all that is held, are delivered again, as after an expired lease or a lost connection."""
        lost = list(deliveries or self.held)
        for delivery in lost:
            del self.held[delivery]
            if delivery.cancel:
                delivery.cancel()
        self.queue.extendleft(Delivery(each.message, each.attempt, each.max_attempts) for each in reversed(lost))
        self._arrived.set()

    async def open(self) -> None:
        self._raise()
        self.opened += 1

    async def receive(self, limit: int) -> list[Delivery]:
        self._raise()
        self.limits.append(limit)
        while not self.queue:
            self._arrived.clear()
            await self._arrived.wait()
            self._raise()
        deliveries = [self.queue.popleft() for _ in range(min(limit, len(self.queue)))]
        self.held.update(dict.fromkeys(deliveries))
        return deliveries

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._raise()
        self.acknowledgements.append(len(deliveries))
        self.acknowledged += [each.message.id for each in deliveries if self._settle(each)]

    async def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        self._raise()
        if self._settle(delivery):
            self.retried.append((delivery.message.id, delay_s, reason))
            self.queue.append(Delivery(delivery.message, delivery.attempt + 1, delivery.max_attempts))
            self._arrived.set()

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        self._raise()
        if self._settle(delivery):
            self.dead.append((delivery.message.id, reason))

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        self._raise()
        released = [each for each in deliveries if self._settle(each)]
        self.released += [each.message.id for each in released]
        self.queue.extendleft(Delivery(each.message, each.attempt, each.max_attempts) for each in reversed(released))
        self._arrived.set()

    async def close(self) -> None:
        self.lose()
        self.closed = True

    def fail(self, error: BrokerError | None) -> None:
        self.error = error
        self._arrived.set()

    def _raise(self) -> None:
        if self.error:
            raise self.error

    def _settle(self, delivery: Delivery) -> bool:
        return self.held.pop(delivery, self) is None
