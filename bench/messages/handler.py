"""The handler of the bench."""

from peekaping_producer.transports.message import Message


async def nothing(_: Message) -> None:
    """Do nothing."""
