"""The handler of the messages: `consume --handler peekaping_producer.demo.messages.handler:record`."""

from pathlib import Path

from peekaping_producer.transports.message import Message

HANDLED = Path("handled.txt")
"""In the working directory of the consumer."""


def record(message: Message) -> None:
    """Append the id of the message to a file."""
    with HANDLED.open("ab", buffering=0) as file:
        file.write(message.id.encode() + b"\n")
