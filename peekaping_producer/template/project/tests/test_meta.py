import json
import subprocess
import sys
from logging import Logger
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

import meta
import src.meta
from src.meta import MessageCommand, MessageWorker, logger_setup

ROOT = Path(__file__).parents[1]
MESSAGE = json.dumps({"command": "hi_request", "arguments": ["hi!", "é"]})


def test_a_message_is_the_same_text_again() -> None:
    message = MessageCommand.from_json(MESSAGE)
    assert (message.command, message.arguments) == ("hi_request", ["hi!", "é"])
    assert message.to_json() == MESSAGE
    assert message == MessageCommand("hi_request", ["hi!", "é"])


def test_the_interface_requires_no_constructor_and_the_decorator_finds_the_queue() -> None:
    @logger_setup
    class Echo(MessageWorker):
        _logger: Logger

        def __init__(self, conn: Connection, lines: "Queue[Any]") -> None:
            self._connection = conn

        def receive_message(self) -> None:
            self.send_message(MessageCommand.from_json(self._connection.recv()))

        def send_message(self, message: MessageCommand) -> None:
            self._connection.send(message.to_json())

    ours, theirs = Pipe()
    ours.send(MESSAGE)
    echo = Echo(theirs, Queue())
    echo.receive_message()
    assert ours.recv() == MESSAGE
    assert echo._logger.name.endswith("Echo")


def test_both_names_of_the_package_lead_to_the_same_classes() -> None:
    assert meta.MessageCommand is src.meta.MessageCommand


@pytest.mark.parametrize("names", [("meta", "src.meta"), ("src.meta", "meta")])
def test_in_any_order(names: tuple[str, str]) -> None:
    first, second = names
    code = (
        f"from {first}.message_command import MessageCommand as A; from {second}.message_command import "
        f"MessageCommand as B; from {second} import MessageCommand as C; assert A is B is C"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}, check=True)
