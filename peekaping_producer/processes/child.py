"""The program of a worker process: it executes one command after another, in the order of arrival."""

import asyncio
import faulthandler
import importlib
import inspect
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from peekaping_producer.errors import CommandFailedError, ProducerError
from peekaping_producer.processes import logs
from peekaping_producer.processes.channel import MAX_FRAME_BYTES
from peekaping_producer.processes.workers import MessageWorker
from peekaping_producer.service import child_processes
from peekaping_producer.service.text import one_line

log = logging.getLogger(__name__)

READY, REPLY, RAISED, LOG, FAILED = (bytes([kind]) for kind in range(5))
"""The first byte of what a worker process sends. Each command is followed by one REPLY or RAISED."""
_RECORD_FIELDS = ("name", "levelno", "levelname", "msg", "created", "msecs", "process", "processName", "threadName")


def main(
    connection: Connection,
    handler: str,
    log_level: int,
    *,
    reply_of: Callable[[Any], Any] | None,
) -> None:
    """Load the handler, then execute commands until the pool closes the connection."""
    if sys.stderr:
        faulthandler.enable()  # a crash in C code prints where
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the pool stops this one in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    pool = PoolConnection(connection)
    log_queue = logs.LogQueue(pool.send_record)
    logs.send_logs(log_queue, log_level)
    try:
        worker = _load(handler, pool, log_queue, reply_of)
    except BaseException as error:  # importing the handler runs any code, also sys.exit
        pool.send_frame(FAILED, f"{handler}: {_one_line(error)}")
        sys.exit(1)
    pool.send_frame(READY, None)
    while pool.is_open:
        received = pool.received
        try:
            worker.receive_message()
            pool.finish()
        except BaseException as error:  # one bad command does not end the process
            pool.fail(error)
        if pool.is_open and pool.received == received:
            log.critical("%s: expected receive_message to call recv() of its connection; this process ends", handler)
            sys.exit(1)


class PoolConnection:
    """The connection of a worker process to its pool; `recv` and `send` are those of a Connection.

    `send` replies to the last command received. A command without a reply gets None.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # threads of the handler may log
        self._executes = False
        self.received = 0
        self.is_open = True

    def recv(self) -> Any:
        """End the last command, and wait for the next one. Raises EOFError once the pool closes the connection."""
        self.finish()
        try:
            payload = self._connection.recv_bytes()
        except (EOFError, OSError):
            self.is_open = False
            raise EOFError("the pool has closed the connection") from None
        self._executes = True
        self.received += 1
        return pickle.loads(payload)  # noqa: S301 - from the parent process

    def send(self, reply: Any) -> None:
        """Reply to the command. Raises CommandFailedError if it has a reply, or if this one cannot be pickled."""
        if not self._executes:
            raise CommandFailedError(
                "send: expected one reply for each command, got another; call recv before each send"
            )
        try:
            frame = REPLY + pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # pickling runs code of the handler
            raise CommandFailedError(f"reply: expected a value that can be pickled ({_one_line(error)})") from None
        if len(frame) > MAX_FRAME_BYTES:
            raise CommandFailedError(f"reply: expected at most {MAX_FRAME_BYTES} bytes, got {len(frame)}")
        self._executes = False
        self._send(frame)

    def finish(self) -> None:
        """Reply None to a command that has no reply yet."""
        if self._executes:
            self.send(None)

    def fail(self, error: BaseException) -> None:
        """Reply with an error to the command, or log it if there is a reply already."""
        if self._executes:
            self._executes = False
            self._send(RAISED + _pickled(error))
        elif self.is_open:
            log.error("the worker failed outside of a command", exc_info=error)

    def send_frame(self, kind: bytes, value: object) -> None:
        """Send what is no reply."""
        self._send(kind + pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def send_record(self, record: logging.LogRecord) -> None:
        """Send a log record; fields that cannot be pickled are left out."""
        try:
            self.send_frame(LOG, record)
        except Exception:  # a record that cannot be pickled is sent as text
            plain = {name: getattr(record, name) for name in _RECORD_FIELDS}
            self.send_frame(LOG, logging.makeLogRecord({**plain, "msg": str(record.msg)}))

    def _send(self, frame: bytes) -> None:
        try:
            with self._lock:
                self._connection.send_bytes(frame)
        except OSError:
            self.is_open = False  # the pool is gone, and this process ends


class _Function(MessageWorker):
    """A function as a worker. Coroutines run on one event loop, which stands still between commands."""

    def __init__(
        self, function: Callable[[Any], Any], connection: PoolConnection, reply_of: Callable[[Any], Any] | None
    ) -> None:
        self._reply_of = reply_of
        self._function = function
        self._connection = connection
        self._runner = asyncio.Runner()

    def receive_message(self) -> None:
        result = self._function(self._connection.recv())
        if inspect.isawaitable(result):
            result = self._runner.run(_wait_for(result))
        self._connection.send(self._reply_of(result) if self._reply_of else result)

    def send_message(self, message: Any) -> None:
        self._connection.send(message)


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable


def _load(
    handler: str, connection: PoolConnection, log_queue: logs.LogQueue, reply_of: Callable[[Any], Any] | None
) -> Any:
    """Import `module:name`; a class, or a function of (connection, log queue), constructs the worker."""
    module, _, name = handler.partition(":")
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    if not callable(target):
        raise TypeError(f"expected a function or a class, got {type(target).__name__}")
    if isinstance(target, type) or _required_parameters(target) == 2:
        return target(connection, log_queue)
    return _Function(target, connection, reply_of)


def _required_parameters(function: Callable[..., object]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function in C without a signature
        return 1
    return sum(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )


def _pickled(error: BaseException) -> bytes:
    """The exception, with the traceback as a note; CommandFailedError if it cannot be sent."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):  # which a future cannot carry
        where = "".join(traceback.format_exception(error)).rstrip()
        error.add_note(f"in worker process {os.getpid()}:\n{where}")
        for candidate in (error, _ByState(error)):
            try:
                frame = pickle.dumps(candidate, pickle.HIGHEST_PROTOCOL)
                if type(pickle.loads(frame)) is type(error):  # noqa: S301 - our own
                    return frame
            except Exception:  # noqa: S110 - its text is sent instead
                pass
    return pickle.dumps(CommandFailedError(f"the handler raised {_one_line(error)}"))


class _ByState:
    """Pickles an exception without calling its constructor, which may require other arguments than `args`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self._error), self._error.args, self._error.__dict__)


def _rebuilt(cls: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def _one_line(error: BaseException) -> str:
    text = one_line(str(error).partition("\n")[0], 300)
    if isinstance(error, ProducerError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def end_with_parent() -> None:
    """Kill this process when the one that started it by `multiprocessing` ends, also by SIGKILL."""
    if sys.platform == "linux":
        parent = parent_process()
        assert parent is not None
        assert parent.pid is not None
        child_processes.die_with(parent.pid)
    else:
        watch_parent()


def watch_parent() -> None:
    """As `end_with_parent`, on any platform; but not while C code of the handler holds the GIL."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
