"""Handlers for the tests of the pool, by name."""

import asyncio
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from peekaping_producer.processes import MessageCommand, MessageWorker, Worker, child, logger_setup
from peekaping_producer.processes.child import PoolConnection

HANDLERS = __name__
ECHO, ACT = f"{HANDLERS}:echo", f"{HANDLERS}:act"

log = logging.getLogger(__name__)


class HandlerError(Exception):
    """An exception of a handler."""


class TwoArgumentsError(Exception):
    """Pickle cannot construct it from its `args`."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.second = second


class UnpicklableError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.unpicklable = lambda: None


def echo(argument: Any) -> Any:
    return argument


def pid(_argument: object) -> int:
    return os.getpid()


def act(argument: tuple[str, Any]) -> Any:
    """Do what the first item names."""
    action, value = argument
    match action:
        case "raise":
            raise HandlerError(value)
        case "raise unpicklable":
            raise UnpicklableError("no luck")
        case "raise two":
            raise TwoArgumentsError(1, 2)
        case "raise stop":
            next(iter(()))
        case "exit":
            raise SystemExit(value)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once":
            if not Path(value).exists():
                Path(value).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "fork and die":
            if os.fork() == 0:
                time.sleep(value)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(value)
        case "touch and sleep":
            Path(value).touch()
            time.sleep(600)
        case "unpicklable":
            return lambda: None
        case "log":
            log.warning("a line with %s", value, extra={"unpicklable": lambda: None})
        case "pid":
            return os.getpid()
    return value


async def echo_later(argument: Any) -> Any:
    await asyncio.sleep(0.001)
    return argument


not_callable = 42


@logger_setup
class Shouter(Worker):
    """A worker as in the template."""

    _logger: logging.Logger

    def handle(self, command: MessageCommand) -> MessageCommand | None:
        if command.command == "silence":
            return None
        if command.command == "log":
            self._logger.info("command %s", command.arguments)
        return MessageCommand(f"{command.command}!", command.arguments)


class Plain(MessageWorker):
    """A worker that only implements the interface, and has its own loop and constructor."""

    def __init__(self, conn: PoolConnection, _queue: object) -> None:
        self._connection = conn

    def receive_message(self) -> None:
        while True:
            command = MessageCommand.from_json(self._connection.recv())
            if command.command != "silence":
                self.send_message(command)
            if command.command == "twice":
                self.send_message(command)

    def send_message(self, message: MessageCommand) -> None:
        self._connection.send(message.to_json())


def start_plain(connection: PoolConnection, queue: object) -> Plain:
    return Plain(connection, queue)


class Deaf(MessageWorker):
    """A worker that never receives."""

    def __init__(self, *_: object) -> None: ...

    def receive_message(self) -> None: ...

    def send_message(self, message: MessageCommand) -> None: ...


def watch_parent() -> None:
    """The main function of a process, and no handler: print its pid, and end with its parent."""
    child.watch_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)
