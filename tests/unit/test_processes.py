"""Workers, servers and their logs: with threads, as in a server like waitress, and in processes of their own."""

import logging
import multiprocessing
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any

import pytest

from peekaping_producer.errors import LogQueueError, MessageCommandError, WorkersUnavailableError
from peekaping_producer.processes import (
    MessageCommand,
    MessageWorker,
    MultiProcessWorker,
    Server,
    ThreadedPool,
    Worker,
    logger_setup,
)
from tests.kit.commands import MINIMAL
from tests.kit.pool_handlers import HANDLERS, HandlerError
from tests.kit.processes import gone

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def shouters() -> Iterator[ThreadedPool]:
    with ThreadedPool(f"{HANDLERS}:Shouter", processes=2) as pool:
        yield pool


@pytest.fixture
def server(shouters: ThreadedPool) -> Server:
    return Server(shouters, queue.Queue())


def test_each_thread_receives_its_own_replies(server: Server) -> None:
    def ask(number: int) -> bool:
        messages = [MessageCommand(f"{number}", [index]) for index in range(3)]
        for message in messages:
            server.send_message(message)
        replies = [server.receive_message() for _ in messages]
        return replies == [MessageCommand(f"{number}!", [index]) for index in range(3)]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(300)))


def test_a_request_is_a_command_and_its_reply(server: Server) -> None:
    assert server.request(MessageCommand("hi", ["é"]), timeout_s=30) == MessageCommand("hi!", ["é"])
    assert server.request(MessageCommand("silence", [])) is None
    with pytest.raises(LookupError, match="call send_message first"):
        server.receive_message()
    assert list(server.url_rules) == []


def test_bad_json_is_an_error_of_its_caller(shouters: ThreadedPool) -> None:
    with pytest.raises(MessageCommandError, match="message: expected JSON"):
        shouters.call("{")


def test_a_timeout_ends_the_process_that_is_stuck() -> None:
    with ThreadedPool(f"{HANDLERS}:act", processes=1, cancel_grace_s=0.05) as pool:
        (pid,) = pool.stats().pids
        with pytest.raises(TimeoutError):
            pool.call(("sleep", 600), timeout_s=0.05)
        with pytest.raises(HandlerError, match="of the handler"):
            pool.call(("raise", "of the handler"))
        assert pool.call(("pid", None)) != pid


def test_threads_that_call_while_the_pool_stops_get_a_reply_or_an_error() -> None:
    pool = ThreadedPool(f"{HANDLERS}:echo", processes=2)
    pool.open()
    pids = pool.stats().pids

    def call_until_closed() -> int:
        number = 0
        while True:
            try:
                assert pool.call(number, timeout_s=60) == number
            except WorkersUnavailableError:
                return number
            number += 1

    with ThreadPoolExecutor(8) as threads:
        callers = [threads.submit(call_until_closed) for _ in range(8)]
        while not any(caller.running() for caller in callers):
            time.sleep(0.01)
        pool.close()
        done, pending = wait_for(callers, timeout=60)
        assert not pending
        assert all(caller.exception() is None for caller in done)
    assert all(map(gone, pids))
    pool.close()
    with pytest.raises(WorkersUnavailableError, match="the pool is closed"):
        pool.call(1)


def test_a_handler_that_cannot_be_imported_is_an_error_of_open() -> None:
    with pytest.raises(WorkersUnavailableError, match="no_such_module"):
        ThreadedPool("no_such_module:handle", processes=1).open()


def test_an_interface_needs_no_constructor_of_its_own() -> None:
    class Echo(MessageWorker):
        def __init__(self, conn: Connection) -> None:
            self._connection = conn

        def receive_message(self) -> None:
            self.send_message(MessageCommand.from_json(self._connection.recv()))

        def send_message(self, message: MessageCommand) -> None:
            self._connection.send(message.to_json())

    ours, theirs = SPAWN.Pipe()
    ours.send(MessageCommand("hi", []).to_json())
    Echo(theirs).receive_message()
    assert ours.recv() == MessageCommand("hi", []).to_json()
    with pytest.raises(TypeError, match="abstract"):
        MessageWorker()  # type: ignore[abstract]


def test_logger_setup_runs_after_the_constructor_and_finds_the_queue_whatever_its_name() -> None:
    log_queue = SPAWN.Queue()

    @logger_setup
    class First:
        def __init__(self, lines: "Queue[Any]", *, number: int = 1) -> None:
            self._logger: logging.Logger | None = None
            self.number = number

    @logger_setup
    class Last:
        _logger: logging.Logger

        def __init__(self, name: str, *rest: object, **named: object) -> None:
            self.name = name

    @logger_setup
    class Child(First):
        pass

    assert isinstance(First(log_queue)._logger, logging.Logger)
    assert First(lines=log_queue, number=2).number == 2
    assert Last("a", 1, log_queue)._logger.name.endswith("Last")
    assert Last("a", anything=queue.Queue())._logger is not None
    assert isinstance(Child(log_queue)._logger, logging.Logger)
    assert First.__init__.__name__ == "__init__"
    with pytest.raises(LogQueueError, match=r"Last: expected a log queue .* got str, int; pass the queue"):
        Last("a", 1)


def test_a_base_class_has_the_fields_of_both() -> None:
    @logger_setup
    class Both(MultiProcessWorker):
        def receive_message(self) -> None: ...

        def send_message(self, message: MessageCommand) -> None: ...

    both = Both("a connection", log_queue := queue.Queue[Any]())
    assert (both._connection, both._queue) == ("a connection", log_queue)
    assert both._logger.name.endswith("Both")


MAIN = """
import logging, multiprocessing, sys
from peekaping_producer.processes import MessageCommand, Server, ThreadedPool, collect_logs, logger_setup

class BrokenError(Exception): ...

@logger_setup
class Asking(Server):
    def ask(self):
        self._logger.info("server %s", 1)
        self._logger.debug("too low")
        self.request(MessageCommand("log", [2]))
        try:
            raise BrokenError("three")
        except BrokenError:
            self._logger.exception("server failed")
        logging.getLogger("library").info("too low for a child")

def start_server(log_queue):
    with ThreadedPool("tests.kit.pool_handlers:Shouter", processes=1) as pool:
        Asking(pool, log_queue).ask()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    log_queue = context.Queue()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("FORMAT %(name)s %(levelname)s %(message)s"))
    with collect_logs(log_queue, handler):
        logging.getLogger("main").info("main 0")
        process = context.Process(target=start_server, args=(log_queue,))
        process.start()
        process.join()
    sys.exit(process.exitcode)
"""


@dataclass(frozen=True)
class Polite(MessageCommand):
    """A command with a method of its own."""

    def please(self) -> str:
        return f"{self.command}, please"


class Fields(MultiProcessWorker):
    """Its constructor has an argument more."""

    message_type = Polite

    def __init__(self, connection: Any, queue: Any, limit: int) -> None:
        super().__init__(connection, queue)
        self.limit = limit


@logger_setup
class PoliteWorker(Fields, Worker):
    def handle(self, command: Polite) -> Polite:
        return Polite(command.please(), [self.limit])


@logger_setup
class PoliteServer(Fields, Server):
    pass


def polite_worker(connection: Any, log_queue: Any) -> PoliteWorker:
    return PoliteWorker(connection, log_queue, limit=3)


def test_base_class_and_messages_of_ones_own() -> None:
    with ThreadedPool(f"{__name__}:polite_worker", processes=1) as pool:
        server = PoliteServer(pool, queue.Queue(), limit=4)
        reply = server.request(Polite("greet", []))
        assert reply == Polite("greet, please", [3])
        server.send_message(reply)
        assert server.receive_message() == Polite("greet, please, please", [3])
        assert server.limit == 4


LOCKED = """
from multiprocessing import get_context
from peekaping_producer.processes import collect_logs, logs

logs._STOP_S = 0.1
log_queue = get_context("spawn").Queue()
with collect_logs(log_queue):
    log_queue._wlock.acquire()
"""


EVENTS = """
import multiprocessing, structlog
from peekaping_producer.processes import collect_logs

with collect_logs(multiprocessing.get_context("spawn").Queue()):
    log = structlog.get_logger("library")
    log.warning("worker.died", message="A worker ended: 100%.", pid=1, end="killed by SIGKILL")
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("worker.failed")
"""


def test_an_event_of_structlog_is_a_line_for_people() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVENTS], env=MINIMAL, timeout=60, check=True, capture_output=True, text=True
    )
    died, failed, *traceback = done.stderr.splitlines()
    assert died.endswith(" library: worker.died: A worker ended: 100%. pid=1 end='killed by SIGKILL'")
    assert failed.endswith(" library: worker.failed")
    assert (traceback[0], traceback[-1]) == ("Traceback (most recent call last):", "ValueError: wrong")


def test_a_process_that_was_killed_while_it_held_the_lock_of_the_log_queue_stops_no_other() -> None:
    subprocess.run([sys.executable, "-c", LOCKED], env=MINIMAL, timeout=60, check=True)


def test_logs_of_a_server_and_its_workers_arrive_once_in_the_format_of_the_main_process(
    tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    done = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("FORMAT")] == [
        "FORMAT main INFO main 0",
        "FORMAT __mp_main__.Asking INFO server 1",
        "FORMAT tests.kit.pool_handlers.Shouter INFO command [2]",
        "FORMAT __mp_main__.Asking ERROR server failed",
    ]
    assert lines.count("__mp_main__.BrokenError: three") == 1
