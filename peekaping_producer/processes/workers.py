"""Base classes of servers and workers, which exchange commands through a connection."""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from logging import Logger
from typing import Any, ClassVar, Protocol, TypeVar

from peekaping_producer.processes.commands import MessageCommand

C = TypeVar("C", bound=MessageCommand)


class TextConnection(Protocol):
    """What a worker uses of a multiprocessing.connection.Connection."""

    def recv(self) -> Any:
        """Wait for the next object. Raises EOFError at the end."""
        ...

    def send(self, obj: Any, /) -> None:
        """Send an object."""
        ...


class MessageWorker(ABC):
    """Interface of what exchanges messages. It has no constructor: subclasses need not call `super().__init__`."""

    @abstractmethod
    def receive_message(self) -> Any:
        """Wait for the next message and process it."""

    @abstractmethod
    def send_message(self, message: Any) -> None:
        """Send a message, usually a MessageCommand, to the other process."""


class MultiProcessWorker(MessageWorker):
    """Fields of servers and workers. Decorate subclasses with `logger_setup` for `self._logger`.

    For fields of your own, put a subclass before Worker and Server: `class Mine(MyMultiProcessWorker, Worker)`.
    """

    message_type: ClassVar[type[MessageCommand]] = MessageCommand
    """The type of the commands that a worker receives."""
    _logger: Logger

    def __init__(self, connection: Any, queue: Any) -> None:
        """`connection` leads to the other process, `queue` receives log records."""
        self._connection = connection
        self._queue = queue


class Worker(MultiProcessWorker):
    """The business logic, in a worker process: override `handle`."""

    _connection: TextConnection

    def receive_message(self) -> None:
        """Wait for a command, handle it, and send the reply. Raises EOFError at the end, MessageCommandError."""
        reply = self.handle(self.message_type.from_json(self._connection.recv()))
        if reply is not None:
            self.send_message(reply)

    def send_message(self, message: MessageCommand) -> None:
        """Send a command as JSON."""
        self._connection.send(message.to_json())

    @abstractmethod
    def handle(self, command: Any) -> MessageCommand | None:
        """Execute a command of `message_type`; return the reply. What it raises is raised where it was sent."""


class Submits(Protocol):
    """What a server uses of a ThreadedPool."""

    def submit(self, argument: Any, /) -> "Future[Any]":
        """Send an object to a worker process, and return its reply as a future."""
        ...


class Server(MultiProcessWorker):
    """The web logic: override `url_rules`. Threads may send at the same time; each receives its own replies."""

    _connection: Submits

    def __init__(self, connection: Submits, queue: Any) -> None:
        """`connection` is an open ThreadedPool of worker processes."""
        super().__init__(connection, queue)
        self._sent = threading.local()

    @property
    def url_rules(self) -> Sequence[Any]:
        """The rules of the web framework: each has a path, and the method that answers it."""
        return ()

    def send_message(self, message: MessageCommand) -> None:
        """Send a command to a worker, without waiting for the reply."""
        self._replies().append((type(message), self._connection.submit(message.to_json())))

    def receive_message(self, timeout_s: float | None = None) -> MessageCommand | None:
        """Wait for the reply to the first command that this thread sent and has not received a reply to.

        None if the worker sent none. Raises what the worker raised, an ItemError or WorkersUnavailableError, and
        TimeoutError; after a timeout the command is canceled, and the process that executes it is killed.
        """
        replies = self._replies()
        if not replies:
            raise LookupError("receive_message: expected a command sent by this thread before; call send_message first")
        return _command(*replies.popleft(), timeout_s)

    def request(self, message: C, timeout_s: float | None = None) -> C | None:
        """Send a command and wait for its reply, which has the same type; errors as with `receive_message`."""
        return _command(type(message), self._connection.submit(message.to_json()), timeout_s)

    def _replies(self) -> "_Replies":
        replies: _Replies | None = getattr(self._sent, "replies", None)
        if replies is None:
            replies = self._sent.replies = deque()
        return replies


_Replies = deque[tuple[type[MessageCommand], "Future[Any]"]]


def _command(message_type: type[C], reply: "Future[Any]", timeout_s: float | None) -> C | None:
    try:
        text = reply.result(timeout_s)
    finally:
        reply.cancel()  # no effect on one that is done
    return None if text is None else message_type.from_json(text)
