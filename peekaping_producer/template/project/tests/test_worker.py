import multiprocessing
import os
import queue

import pytest

from src.meta import MessageCommand
from src.worker import Worker


@pytest.fixture
def worker() -> Worker:
    return Worker(connection=None, queue=queue.Queue())


def test_a_greeting(worker: Worker) -> None:
    assert worker.handle(MessageCommand("greet", ["Ada"])) == MessageCommand("greeting", ["Hello, Ada!", os.getpid()])


@pytest.mark.parametrize("command", [MessageCommand("dance", []), MessageCommand("greet", [1])])
def test_any_other_command_is_an_error(worker: Worker, command: MessageCommand) -> None:
    with pytest.raises(ValueError, match="command: expected greet with a name, got"):
        worker.handle(command)


def test_a_message_and_its_reply_are_json() -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.send('{"command": "greet", "arguments": ["Ada"]}')
    Worker(theirs, queue.Queue()).receive_message()
    assert MessageCommand.from_json(ours.recv()).arguments[0] == "Hello, Ada!"
