"""Time limits of many short calls, with one timer for all of them: asyncio.timeout costs a timer for each."""

import asyncio
import math
from types import TracebackType


class TimeLimits:
    """Makes time limits, and cancels the tasks of those that are over."""

    def __init__(self) -> None:
        self._running: set[TimeLimit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = math.inf
        """When the timer fires, by the clock of the event loop. Not later than the end of any running limit."""

    def of(self, seconds: float) -> "TimeLimit":
        """A limit for the block of a `with` statement, as that of asyncio.timeout: it raises TimeoutError."""
        return TimeLimit(self, seconds)

    def add(self, limit: "TimeLimit") -> None:
        """Of a TimeLimit: its block begins."""
        self._running.add(limit)
        if limit.ends_at < self._next_at:
            self._start_timer(limit.ends_at)

    def remove(self, limit: "TimeLimit") -> None:
        """Of a TimeLimit: its block has ended. The timer stays: most limits end before it fires."""
        self._running.discard(limit)

    def _start_timer(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._next_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._end_those_over)

    def _end_those_over(self) -> None:
        over = {limit for limit in self._running if limit.ends_at <= self._next_at}
        self._running -= over
        self._next_at = math.inf
        if self._running:
            self._start_timer(min(limit.ends_at for limit in self._running))
        for limit in over:
            limit.end()


class TimeLimit:
    """One limit, in the task that enters it."""

    __slots__ = ("_cancel_requests", "_is_over", "_limits", "_seconds", "_task", "ends_at")

    _task: "asyncio.Task[object]"
    ends_at: float

    def __init__(self, limits: TimeLimits, seconds: float) -> None:
        self._limits = limits
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancel_requests = task.cancelling()
        self.ends_at = task.get_loop().time() + self._seconds
        self._limits.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._limits.remove(self)
        # As in asyncio.timeout: a cancellation from outside goes on.
        if self._is_over and self._task.uncancel() <= self._cancel_requests and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Of TimeLimits: the time is over."""
        self._is_over = True
        self._task.cancel()
