"""A pool of worker processes, used from asyncio. Commands of a process that dies are delivered again to another."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from peekaping_producer.errors import CommandKilledWorkersError, WorkersUnavailableError
from peekaping_producer.processes.process import Command, WorkerProcess, pickled
from peekaping_producer.processes.supervisor import Supervisor

log = structlog.stdlib.get_logger()

MAX_DEATHS = 3
"""After so many deaths of a process that executed it, a command fails."""
MAX_AHEAD = 64
"""Commands sent to one process before it replies. Fewer if the handler is slow, see `process`."""
CANCEL_GRACE_S = 0.5
"""A command that is still executed so long after its caller has gone is stuck, and its process is killed."""
DRAIN_S = 10.0


class PoolStats(msgspec.Struct, frozen=True):
    """The state of a pool, and what has happened since it was opened."""

    pids: tuple[int, ...]
    """Processes that are ready."""
    waiting: int
    """Commands that are not sent yet."""
    in_flight: int
    """Commands sent to a process, without a reply."""
    died: int
    """Processes that ended by themselves, or were killed from outside."""
    killed: int
    """Processes that the pool killed because they were stuck on a canceled command."""
    redelivered: int
    """Commands sent again to another process."""


class Pool:
    """Executes commands in worker processes: each process one at a time, in order; delivered at least once.

        async with Pool("jobs:resize", processes=4) as pool:
            reply = await pool.call("picture.png")

    The handler is `module:name`: a function of one argument (also a coroutine function); a class with the methods of
    MessageWorker, or a function that returns one, which is called with (connection, log queue). Arguments and replies
    are pickled.
    """

    def __init__(
        self,
        handler: str,
        *,
        processes: int | None = None,
        max_ahead: int = MAX_AHEAD,
        max_deaths: int = MAX_DEATHS,
        cancel_grace_s: float = CANCEL_GRACE_S,
        reply_of: Callable[[Any], Any] | None = None,
    ) -> None:
        """`processes`: by default as many as CPUs. `reply_of`: called in the process with what a function returns, its
        result is the reply; a function of a module.

        Raises ValueError for a handler that is not `module:name`.
        """
        module, _, name = handler.partition(":")
        if not module or not name:
            raise ValueError(f"handler: expected module:name, got {handler!r}")
        self._handler = handler
        self._max_deaths = max_deaths
        self._cancel_grace_s = cancel_grace_s
        self._waiting: deque[Command] = deque()
        self._is_closed = True
        self._is_stopping = False
        self._died = self._killed = self._redelivered = 0

        def start(name: str, on_change: Callable[[], None]) -> WorkerProcess:
            return WorkerProcess(handler, name, on_change, max_ahead=max_ahead, reply_of=reply_of)

        self._supervisor = Supervisor(self, start, processes or os.cpu_count() or 1, handler)
        self._workers = self._supervisor.workers

    async def __aenter__(self) -> "Pool":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Start the processes, and wait until all have imported the handler.

        Raises WorkersUnavailableError if one cannot start.
        """
        self._is_closed = self._is_stopping = False
        self._drained = asyncio.Event()
        try:
            await self._supervisor.start()
        except BaseException:  # also if it is canceled: no process stays
            await self.close(drain_s=0)
            raise

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Accept no further commands, wait at most `drain_s` for the others, then end the processes.

        Commands without a reply fail with WorkersUnavailableError.
        """
        self._is_closed = True
        try:
            self._dispatch()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._drained.wait()
        finally:
            self._is_stopping = True
            await self._supervisor.stop()
            for worker in self._workers:  # that even SIGKILL has not ended yet
                self._waiting.extend(worker.commands)
            self.on_unavailable("workers: the pool is closed")

    async def call(self, argument: Any, *, timeout_s: float | None = None) -> Any:
        """Execute a command; return the reply of the handler.

        `timeout_s`: from the moment when a process can begin it. To cancel it, or its timeout, kills the process that
        executes it.

        Raises what the handler raised; TimeoutError; CommandFailedError if that, the argument or the reply cannot be
        pickled; CommandKilledWorkersError; WorkersUnavailableError.
        """
        command = Command(pickled(argument), asyncio.get_running_loop().create_future(), timeout_s)
        self.submit(command)
        try:
            return await command.future  # type: ignore[misc]
        except (asyncio.CancelledError, TimeoutError):
            self.abandon(command)
            raise

    def submit(self, command: Command) -> None:
        """Execute a command as soon as a process is free. On the event loop of the pool only."""
        if self._is_closed:
            command.fail(WorkersUnavailableError("workers: the pool is closed; open it first"))
        elif reason := self._supervisor.unavailable:
            command.fail(WorkersUnavailableError(reason))
        else:
            self._waiting.append(command)
            self._dispatch()

    def abandon(self, command: Command) -> None:
        """Forget a command whose caller has gone; kill the process that is still executing it after a grace period."""
        command.future.cancel()
        worker = command.worker
        if worker is not None and command in worker.commands:
            asyncio.get_running_loop().call_later(self._cancel_grace_s, self._kill_if_stuck, worker, command)

    def stats(self) -> PoolStats:
        """Return the current figures."""
        return PoolStats(
            pids=tuple(worker.pid for worker in self._workers if worker.is_ready),
            waiting=len(self._waiting),
            in_flight=sum(len(worker.commands) for worker in self._workers),
            died=self._died,
            killed=self._killed,
            redelivered=self._redelivered,
        )

    def on_change(self) -> None:
        """Of the supervisor: a process is ready, or has replied."""
        self._dispatch()

    def on_end(self, worker: WorkerProcess) -> None:
        """Of the supervisor: take back the commands of a process that has ended."""
        commands = list(worker.commands)
        is_unexpected = not worker.was_killed and not self._is_stopping
        if is_unexpected and commands:
            self._count_death(commands[0], worker)
        for command in commands:
            command.stop_timer()
        again = [command for command in commands if not command.future.done()]
        self._waiting.extendleft(reversed(again))
        if self._is_stopping:
            return
        self._redelivered += len(again)
        if is_unexpected:
            self._died += 1
            log.warning(
                "worker.died",
                message="A worker process ended; another one executes its commands.",
                pid=worker.pid,
                end=worker.end,
                redelivered=len(again),
            )
        self._dispatch()

    def on_unavailable(self, reason: str) -> None:
        """Of the supervisor: no process works, so commands fail."""
        while self._waiting:
            self._waiting.popleft().fail(WorkersUnavailableError(reason))
        if self._is_closed:
            self._drained.set()

    def _kill_if_stuck(self, worker: WorkerProcess, command: Command) -> None:
        if worker.ended.is_set() or command not in worker.commands:
            return
        if worker.commands[0] is command and not worker.was_killed:
            self._killed += 1
            log.warning(
                "worker.killed", message="Killed a worker process that did not end a canceled command.", pid=worker.pid
            )
            worker.kill()
        else:  # it has not begun
            asyncio.get_running_loop().call_later(self._cancel_grace_s, self._kill_if_stuck, worker, command)

    def _dispatch(self) -> None:
        """Send waiting commands to the processes with the fewest."""
        while self._waiting:
            free = [worker for worker in self._workers if worker.has_room]
            if not free:
                break
            command = self._waiting.popleft()
            if not command.future.done():
                min(free, key=lambda worker: len(worker.commands)).send(command)
        if self._is_closed and not self._waiting and not any(worker.commands for worker in self._workers):
            self._drained.set()

    def _count_death(self, command: Command, worker: WorkerProcess) -> None:
        """Only the command that was being executed: the others of that process had not begun."""
        command.deaths += 1
        if command.deaths >= self._max_deaths:
            command.fail(
                CommandKilledWorkersError(
                    f"{self._handler}: expected a reply, got {command.deaths} dead worker processes (the last: "
                    f"{worker.end}); look for crashes and memory use in the handler"
                )
            )
