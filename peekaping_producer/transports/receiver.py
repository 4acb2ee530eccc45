"""The receiving end of a transport."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from peekaping_producer.transports.message import Message


class Delivery(msgspec.Struct, eq=False):
    """A message that this process holds until it is settled by one method of its Receiver.

    A transport adds fields of its own in a subclass.
    """

    message: Message
    attempt: int = 1
    """1 for the first."""
    max_attempts: int | None = None
    """If the message limits them itself."""
    timeout_s: float | None = None
    """If the message limits the time of one attempt itself."""
    keeps_result: bool = False
    """Whether the broker stores the result when the delivery is acknowledged."""
    result: bytes | None = None
    """What the handler returned, for a broker that keeps it."""
    cancel: Callable[[], object] | None = None
    """The consumer sets it while it works. The transport calls it once the delivery is no longer held."""


class Receiver(Protocol):
    """Receives messages, each at least once. All methods raise BrokerError.

    A delivery that is no longer held (lost connection, expired lease) is delivered again, perhaps elsewhere: to settle
    it has no effect.
    """

    async def open(self) -> None:
        """Connect where there is no connection, and find out whether it works. What is held stays held if it lasts."""
        ...

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages; return 1 to `limit`, in the order of the queue. Connects where there is no connection."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """The work is done: remove them from the queue."""
        ...

    async def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        """Deliver it again after about `delay_s`, as the next attempt."""
        ...

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Move it to the dead letters."""
        ...

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Put them back at the front of the queue, as the same attempt: this consumer stops."""
        ...

    async def close(self) -> None:
        """Close the connection; never raises. What is still held is delivered again."""
        ...
