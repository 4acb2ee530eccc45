"""Keeps a number of worker processes running: replaces those that end, with backoff, until it is stopped."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from peekaping_producer.errors import WorkersUnavailableError
from peekaping_producer.processes.process import WorkerProcess
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.backoff import Backoff

log = structlog.stdlib.get_logger()

_TERMINATE_S = 1.0
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 10.0


class Owner(Protocol):
    """What a supervisor reports to."""

    def on_change(self) -> None:
        """A process is ready, or has replied."""
        ...

    def on_end(self, worker: WorkerProcess) -> None:
        """A process that was ready has ended."""
        ...

    def on_unavailable(self, reason: str) -> None:
        """A process cannot be started, and no other is ready."""
        ...


class Supervisor:
    """The processes of a pool."""

    def __init__(
        self, owner: Owner, start: Callable[[str, Callable[[], None]], WorkerProcess], size: int, handler: str
    ) -> None:
        """`start(name, on_change)` starts a process. `handler` is for log lines."""
        self.workers: list[WorkerProcess] = []
        """Processes that are starting or running."""
        self._owner = owner
        self._start = start
        self._size = size
        self._handler = handler
        self._keepers: list[asyncio.Task[None]] = []
        self._failure: str | None = None
        self._is_stopping = False

    @property
    def unavailable(self) -> str | None:
        """Why no process can be started, if none is ready."""
        return None if any(worker.is_ready for worker in self.workers) else self._failure

    async def start(self) -> None:
        """Start the processes, and wait until all are ready. Raises WorkersUnavailableError if one cannot start."""
        self._failure, self._is_stopping = None, False
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keepers = [asyncio.create_task(self._keep_running(f"worker-{n}")) for n in range(1, self._size + 1)]
        await self._started

    async def stop(self) -> None:
        """Close the connections, send SIGTERM to processes that do not end, then SIGKILL. No process is left."""
        self._is_stopping = True
        try:
            for worker in self.workers:
                if worker.commands or not worker.is_ready:
                    worker.terminate()
                else:
                    worker.finish()
            if not await self._all_ended():
                for worker in self.workers:
                    worker.terminate()
                await self._all_ended()
        finally:
            for worker in self.workers:
                worker.kill()
            await self._all_ended()
            await cancel_and_wait(*self._keepers)

    async def _keep_running(self, name: str) -> None:
        backoff = Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S)
        while not self._is_stopping:
            try:
                worker = self._start(name, self._changed)
            except Exception as error:  # OSError (no memory), or what multiprocessing raises
                self._start_failed(f"{name}: expected to start a process, got {type(error).__name__}: {error}")
                await backoff.wait()
                continue
            self.workers.append(worker)
            await worker.ended.wait()
            self.workers.remove(worker)
            if worker.is_ready:
                self._owner.on_end(worker)
            elif not self._is_stopping:
                self._start_failed(worker.failure or f"{name}: expected the process to start, got {worker.end}")
            if worker.has_replied or worker.was_killed or self._is_stopping:
                backoff.reset()
            else:
                await backoff.wait()

    def _changed(self) -> None:
        if not self._started.done() and sum(worker.is_ready for worker in self.workers) == self._size:
            self._started.set_result(None)
        if self._failure and not self.unavailable:
            self._failure = None
            log.info("worker.recovered", message="A worker process has started.", handler=self._handler)
        self._owner.on_change()

    def _start_failed(self, reason: str) -> None:
        """Report that a process cannot start: once, until one does."""
        error = f"worker process: {reason}; correct the handler"
        if self._started.done():
            error += ", the pool tries again"
        if self._started.done() and not self._failure:
            log.error("worker.start_failed", message=error, handler=self._handler)
        self._failure = error
        if not self._started.done():
            self._started.set_exception(WorkersUnavailableError(error))
        elif self.unavailable:
            self._owner.on_unavailable(error)

    async def _all_ended(self) -> bool:
        """Wait a while for the processes to end; return whether they have."""
        running = [asyncio.create_task(worker.ended.wait()) for worker in self.workers]
        if not running:
            return True
        _, pending = await asyncio.wait(running, timeout=_TERMINATE_S)
        for task in pending:
            task.cancel()
        return not pending
