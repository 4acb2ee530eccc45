"""One worker process of a pool: how it is started, what was sent to it, and how it ends."""

import asyncio
import contextlib
import logging
import multiprocessing
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import InvalidStateError as ThreadInvalidStateError
from typing import Any

from peekaping_producer.errors import CommandFailedError
from peekaping_producer.processes import child, logs
from peekaping_producer.processes.channel import MAX_FRAME_BYTES, Channel

_SPAWN = multiprocessing.get_context("spawn")
_AHEAD_S = 0.01
"""So much work is sent ahead, by the mean of the last commands: the next command waits in the process, not its caller
for a round trip. A slow handler gets one at a time, so that no command waits behind it while others are free."""
_EXITS_WITHIN_S = 1.0
"""After the process closed its connection."""


class Command:
    """Pickled arguments, and the future of their reply: of asyncio, or of concurrent.futures for a thread."""

    __slots__ = ("_timer", "deaths", "future", "payload", "timeout_s", "worker")

    def __init__(
        self, payload: bytes, future: "asyncio.Future[Any] | Future[Any]", timeout_s: float | None = None
    ) -> None:
        """`timeout_s`: how long its execution may take; the future fails then."""
        self.payload = payload
        self.future = future
        self.timeout_s = timeout_s
        self.deaths = 0
        self.worker: WorkerProcess | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Its process has nothing else to execute any more."""
        if self.timeout_s is not None:
            self._timer = loop.call_later(self.timeout_s, self.fail, TimeoutError(f"no reply in {self.timeout_s:g} s"))

    def stop_timer(self) -> None:
        """Its execution has ended."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def succeed(self, reply: object) -> None:
        """Pass on the reply, unless the caller has gone."""
        with contextlib.suppress(asyncio.InvalidStateError, ThreadInvalidStateError):
            self.future.set_result(reply)

    def fail(self, error: Exception) -> None:
        """Pass on an error, unless the caller has gone."""
        with contextlib.suppress(asyncio.InvalidStateError, ThreadInvalidStateError):
            self.future.set_exception(error)


def pickled(argument: object) -> bytes:
    """Pickle the argument of a command. Raises CommandFailedError."""
    try:
        payload = pickle.dumps(argument, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # pickling runs code of the caller
        raise CommandFailedError(f"argument: expected a value that can be pickled ({error})") from None
    if len(payload) > MAX_FRAME_BYTES:
        raise CommandFailedError(f"argument: expected at most {MAX_FRAME_BYTES} bytes, got {len(payload)}")
    return payload


class WorkerProcess:
    """A process that executes its commands in order, so the first one without a reply is the one being executed."""

    def __init__(
        self,
        handler: str,
        name: str,
        on_change: Callable[[], None],
        *,
        max_ahead: int,
        reply_of: Callable[[Any], Any] | None = None,
    ) -> None:
        """`on_change` is called when it is ready, and after replies."""
        self.commands: deque[Command] = deque()
        self.is_ready = False
        self._is_dead = False
        self.has_replied = False
        self.was_killed = False
        self.failure: str | None = None
        """Why it could not start, by its own report."""
        self.ended = asyncio.Event()
        self._on_change = on_change
        self._max_ahead = max_ahead
        self._loop = asyncio.get_running_loop()
        self._mean_s = float("inf")
        self._busy_since = 0.0
        ours, theirs = _SPAWN.Pipe()
        with theirs:
            try:
                self._process = _SPAWN.Process(
                    target=child.main,
                    args=(theirs, handler, logging.getLogger().getEffectiveLevel()),
                    kwargs={"reply_of": reply_of},
                    name=name,
                    daemon=True,
                )
                self._process.start()
            except BaseException:  # also if it is canceled
                ours.close()
                raise
        self._channel = Channel(ours, self._received, self._closed)
        # waitpid rather than the end of the connection, which a grandchild may hold open.
        threading.Thread(target=self._reap, name=f"{name}-reaper", daemon=True).start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def has_room(self) -> bool:
        """Whether another command may be sent to it."""
        sent = len(self.commands)
        if not self.is_ready or self._is_dead:
            return False
        if not sent:
            return True
        ahead = min(self._max_ahead, int(1 + _AHEAD_S / self._mean_s))
        return sent < ahead and self._loop.time() - self._busy_since < _AHEAD_S

    @property
    def end(self) -> str:
        """How it ended."""
        code = self._process.exitcode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def send(self, command: Command) -> None:
        """Send a command; never blocks."""
        if not self.commands:
            self._busy_since = self._loop.time()
            command.begin(self._loop)
        command.worker = self
        self.commands.append(command)
        self._channel.send(command.payload)

    def finish(self) -> None:
        """Let it end once it has executed what was sent to it."""
        self._channel.finish()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.was_killed = True
        self._process.kill()

    def _reap(self) -> None:
        self._process.join()
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._reaped)

    def _reaped(self) -> None:
        self._is_dead = True
        self._channel.drain()
        self._channel.close()
        self.ended.set()

    def _closed(self) -> None:
        self._loop.call_later(_EXITS_WITHIN_S, self._kill_unless_ended)

    def _kill_unless_ended(self) -> None:
        if not self.ended.is_set():
            self._process.kill()

    def _received(self, frames: list[bytes]) -> None:
        replies = 0
        for frame in frames:
            kind, body = frame[:1], memoryview(frame)[1:]
            if kind in (child.REPLY, child.RAISED):
                self._settle(kind, body)
                replies += 1
            elif kind == child.LOG:
                with contextlib.suppress(Exception):  # a record that cannot be unpickled or handled
                    logs.handle(pickle.loads(body))  # noqa: S301 - from the child process
            elif kind == child.READY:
                self.is_ready = True
            else:
                self.failure = pickle.loads(body)  # noqa: S301 - from the child process
        if replies:
            self._measure(replies)
        self._on_change()

    def _settle(self, kind: bytes, body: memoryview) -> None:
        """End the first command, after its reply was decoded."""
        try:
            value = pickle.loads(body)  # noqa: S301 - from the child process
        except Exception as error:  # unpickling runs code of the handler
            kind, value = child.RAISED, CommandFailedError(f"reply: expected a value that can be unpickled ({error})")
        command = self.commands.popleft()
        command.stop_timer()
        if self.commands:
            self.commands[0].begin(self._loop)
        if kind == child.REPLY:
            command.succeed(value)
        else:
            command.fail(value)

    def _measure(self, replies: int) -> None:
        now = self._loop.time()
        took_s = max((now - self._busy_since) / replies, 1e-6)
        self._mean_s = took_s if not self.has_replied else self._mean_s + (took_s - self._mean_s) / 4
        self._busy_since = now
        self.has_replied = True
