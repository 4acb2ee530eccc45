"""The sending end of a transport."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from peekaping_producer.transports.message import Message


class PublishResult(msgspec.Struct, frozen=True):
    """What became of the messages of one call."""

    settled: int
    """The first so many are confirmed or refused. The others must be published again, with the same ids."""
    refused: Mapping[int, str] = {}
    """By index, why the broker will never accept this message. All of them are settled."""


class Publisher(Protocol):
    """Publishes messages, with confirmation."""

    async def open(self) -> None:
        """Connect where there is no connection, and find out whether it works. Raises BrokerError."""
        ...

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        """Publish in this order, and wait for the confirmations. Connects where there is no connection.

        Raises BrokerError if none is settled: then it is unknown whether the broker has some of them. An error in the
        middle is not raised: the result ends before the message that failed.
        """
        ...

    async def close(self) -> None:
        """Close the connection; never raises."""
        ...


@runtime_checkable
class Blockable(Protocol):
    """A publisher whose broker reports that it accepts nothing now."""

    @property
    def blocked(self) -> str:
        """Why, for an operator; empty if it accepts messages."""
