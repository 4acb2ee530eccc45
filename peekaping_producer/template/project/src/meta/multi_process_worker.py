"""The base class of Server and Worker."""

from typing import Any

from peekaping_producer import processes

from .message_command import MessageCommand
from .message_worker import MessageWorker


class MultiProcessWorker(MessageWorker, processes.MultiProcessWorker):
    """The fields that Server and Worker have in common: add yours in the constructor."""

    message_type = MessageCommand

    def __init__(self, connection: Any, queue: Any) -> None:
        """`connection` leads to the other process, `queue` receives log records."""
        super().__init__(connection, queue)
