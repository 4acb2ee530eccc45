"""The pool for programs without asyncio, for example a server with threads (waitress)."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypedDict, Unpack

from peekaping_producer.errors import WorkersUnavailableError
from peekaping_producer.processes.pool import DRAIN_S, Pool, PoolStats
from peekaping_producer.processes.process import Command, pickled


class PoolOptions(TypedDict, total=False):
    """The options of Pool."""

    processes: int | None
    max_ahead: int
    max_deaths: int
    cancel_grace_s: float
    reply_of: Callable[[Any], Any] | None


class ThreadedPool:
    """A Pool on an event loop in a thread of its own. All methods may be called from any thread at any time.

    with ThreadedPool("jobs:resize", processes=4) as pool:
        reply = pool.call("picture.png", timeout_s=30)
    """

    def __init__(self, handler: str, **options: Unpack[PoolOptions]) -> None:
        """`options`: those of Pool."""
        self._pool = Pool(handler, **options)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "ThreadedPool":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stats(self) -> PoolStats:
        """Return the current figures."""
        return self._pool.stats()

    def open(self) -> None:
        """Start the processes, and wait until all have imported the handler.

        Raises WorkersUnavailableError if one cannot start.
        """
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), name="pool", daemon=True)
        self._thread.start()
        started.result()

    def close(self, drain_s: float = DRAIN_S) -> None:
        """Accept no further commands, wait at most `drain_s` for the others, then end the processes and the thread."""
        if self._thread is not None:
            self._call_in_loop(self._close, drain_s)
            self._thread.join()

    def submit(self, argument: Any) -> "Future[Any]":
        """Execute a command; return the reply as a future, with the errors of Pool.call.

        To cancel the future kills the process that executes the command.
        """
        reply: Future[Any] = Future()
        command = Command(pickled(argument), reply)

        def abandon(_: object) -> None:
            if reply.cancelled():
                self._call_in_loop(self._pool.abandon, command)

        reply.add_done_callback(abandon)
        if not self._call_in_loop(self._pool.submit, command):
            command.fail(WorkersUnavailableError("workers: the pool is closed; open it first"))
        return reply

    def call(self, argument: Any, timeout_s: float | None = None) -> Any:
        """Execute a command; return the reply. Raises TimeoutError, and the errors of Pool.call."""
        reply = self.submit(argument)
        try:
            return reply.result(timeout_s)
        finally:
            reply.cancel()  # no effect on one that is done

    def _call_in_loop(self, function: Any, *arguments: Any) -> bool:
        """Call a function in the thread of the pool; return whether that is running."""
        with self._lock:
            if self._loop is None:
                return False
            self._loop.call_soon_threadsafe(function, *arguments)
            return True

    def _close(self, drain_s: float) -> None:
        if not self._closing.done():
            self._closing.set_result(drain_s)

    async def _run(self, started: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[float] = self._loop.create_future()
        try:
            await self._pool.open()
            started.set_result(None)
            await self._pool.close(await self._closing)
        except BaseException as error:  # raised in the thread that called open()
            if started.done():
                raise
            started.set_exception(error)
        finally:
            with self._lock:
                self._loop = None
            await asyncio.sleep(0)  # what was submitted before is refused, not forgotten
