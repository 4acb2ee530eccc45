"""Logs of several processes: children send their records, the main process handles them with its own configuration.

A child's root logger has a QueueHandler only. The main process has the handlers (a StreamHandler), and a listener that
passes each record to the logger of the same name there, so that levels and formats are set in one place.
"""

import functools
import inspect
import logging
import multiprocessing
import queue as thread_queues
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from multiprocessing.queues import Queue
from typing import Any, Protocol, TypeVar, cast

import structlog

from peekaping_producer.errors import LogQueueError

T = TypeVar("T")
_STOP_S = 5.0
"""How long the listener waits for a queue whose lock is not released: a process was killed while it wrote to it."""


class LogQueue:
    """Receives the log records of a worker process; its pool handles them. A queue without a lock between processes.

    If a process is killed while it holds the lock of a multiprocessing.Queue, all others wait for that lock.
    """

    def __init__(self, put: Callable[[logging.LogRecord], None]) -> None:
        self.put_nowait = put


class _PutsNowait(Protocol):
    def put_nowait(self, item: Any, /) -> None: ...


_LOG_QUEUES = (LogQueue, Queue, thread_queues.Queue)


def logger_setup(cls: type[T]) -> type[T]:
    """Class decorator: after `__init__`, set `self._logger`, whose records go to the main process.

    The log queue is found among the arguments of the constructor by its type. Raises LogQueueError without one.
    In the main process the logger is an ordinary one.
    """
    original = cls.__init__

    @functools.wraps(original)
    def initialize(self: T, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        values = _arguments(original, self, args, kwargs)
        log_queue = next((value for value in values if isinstance(value, _LOG_QUEUES)), None)
        if log_queue is None:
            got = ", ".join(type(value).__name__ for value in values) or "none"
            raise LogQueueError(
                f"{type(self).__name__}: expected a log queue (multiprocessing.Queue) among the arguments of the "
                f"constructor, got {got}; pass the queue that the main process collects logs from"
            )
        self._logger = _logger_of(type(self), log_queue)  # type: ignore[attr-defined]

    cls.__init__ = initialize  # type: ignore[assignment]
    return cls


def _arguments(function: Callable[..., object], self: object, args: Any, kwargs: Any) -> list[object]:
    """All values that a constructor received, and its defaults."""
    bound = inspect.signature(function).bind(self, *args, **kwargs)
    bound.apply_defaults()
    return [*args, *kwargs.values(), *(value for value in bound.arguments.values() if isinstance(value, _LOG_QUEUES))]


def _logger_of(cls: type, log_queue: _PutsNowait) -> logging.Logger:
    logger = logging.getLogger(f"{cls.__module__}.{cls.__qualname__}")
    if multiprocessing.parent_process() is not None:
        if not any(isinstance(handler, QueueHandler) for handler in logging.getLogger().handlers):
            send_logs(log_queue)
        logger.setLevel(logging.DEBUG)  # the main process filters by its own level
    return logger


def send_logs(log_queue: _PutsNowait, level: int = logging.WARNING) -> None:
    """Send the records of this process, from `level` up, to `log_queue` and nowhere else; those of structlog, too."""
    root = logging.getLogger()
    root.handlers[:] = [QueueHandler(cast(Any, log_queue))]
    root.setLevel(level)
    _structlog_through_logging()


def handle(record: logging.LogRecord) -> None:
    """Handle a record of another process as if this process had logged it; a child passes all on to its parent."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno) or multiprocessing.parent_process() is not None:
        logger.handle(record)


class _Listener(QueueListener):
    def handle(self, record: logging.LogRecord) -> None:
        try:
            handle(record)
        except Exception:  # one bad record does not end the listener
            logging.getLogger(__name__).exception("a log record of another process cannot be handled")

    def stop(self) -> None:
        """Wait for the records that were sent before."""
        self.enqueue_sentinel()
        if self._thread:
            self._thread.join(_STOP_S)
        if isinstance(self.queue, Queue):
            self.queue.cancel_join_thread()  # otherwise the exit of this process waits for the lock


@contextmanager
def collect_logs(log_queue: Any, handler: logging.Handler | None = None, level: int = logging.INFO) -> Iterator[None]:
    """In the main process: log to `handler` (a StreamHandler), also what other processes send to `log_queue`."""
    if handler is None:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    if not structlog.is_configured():
        _structlog_through_logging()
    listener = _Listener(log_queue)
    listener.start()
    try:
        yield
    finally:
        listener.stop()


def _as_text(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    """The event and its message, the other values as NAME=VALUE, and the traceback on lines of its own."""
    head = ": ".join(str(event.pop(key)) for key in ("event", "message") if key in event)
    traceback = f"\n{event.pop('exception')}" if "exception" in event else ""
    return " ".join((head, *(f"{name}={value!r}" for name, value in event.items()))) + traceback


def _structlog_through_logging() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            _as_text,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
