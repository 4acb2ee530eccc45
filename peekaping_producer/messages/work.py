"""What a consumer does with messages, and one call of it."""

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Protocol

from peekaping_producer.errors import DependencyError
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import is_of_dependency
from peekaping_producer.service.text import one_line
from peekaping_producer.transports.receiver import Delivery

_MAX_BACKOFF_S = 5.0
_KIND = "work"
"""The name of these calls in logs of dependencies."""


class Work(Protocol):
    """What a consumer does with messages."""

    batch_size: int
    """Deliveries of one call, at most."""
    concurrency: int
    """Calls at the same time, at most."""

    @property
    def slow(self) -> Callable[[float], DependencyError | None] | None:
        """Why a call that has taken so many seconds counts as a failure of a dependency; None: it may take any time."""

    async def open(self) -> None:
        """Prepare. Raises ProducerError, which ends the consumer."""
        ...

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """Work on these, in this order.

        Where an attempt must have an end, raise TimeoutError after `timeout_s` of a delivery; time in which an attempt
        has not begun does not count.

        Raises DependencyError if that is not possible now: the consumer keeps the deliveries, and calls again.
        OutputClosedError ends the consumer. RetryLaterError and RejectedMessageError decide what follows. After any
        other error the messages are retried.
        """
        ...

    async def close(self) -> None:
        """End; never raises."""
        ...


class Call:
    """One call of the work, in a task of its own."""

    __slots__ = ("canceled", "deliveries", "has_begun", "lost", "task")

    task: "asyncio.Task[None]"

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self.lost: list[Delivery] = []
        """Deliveries that are no longer held."""
        self.has_begun = False
        self.canceled = False

    @property
    def held(self) -> Sequence[Delivery]:
        """The deliveries that are not lost."""
        return [delivery for delivery in self.deliveries if delivery not in self.lost] if self.lost else self.deliveries

    def lose(self, delivery: Delivery) -> None:
        """Of Delivery.cancel, which may be called again while the handler ends."""
        if delivery not in self.lost:
            self.lost.append(delivery)
            self.cancel()

    def cancel(self) -> None:
        """Cancel it; the handler may have ended."""
        self.canceled = True
        if self.has_begun:  # else its task still has to end it
            self.task.cancel()


class Caller:
    """Calls the work, and reports the dependencies that it waits for."""

    def __init__(self, work: Work, dependencies: Dependencies, metrics: ConsumerMetrics) -> None:
        self._work = work
        self._dependencies = dependencies
        self._metrics = metrics
        self._failing: set[str] = set()

    async def run(self, call: Call) -> BaseException | None:
        """Work on a batch; return the error of a failed attempt. Raises CancelledError if the call was canceled."""
        call.has_begun = True
        if call.canceled:
            raise asyncio.CancelledError
        began_at = time.monotonic()
        try:
            await self._run_work(call.deliveries)
        except asyncio.CancelledError as error:
            if call.canceled:
                raise
            return error  # the handler itself raised it
        except BaseException as error:  # one bad message never stops the others, whatever its handler raises
            return error
        finally:
            self._metrics.duration.observe(time.monotonic() - began_at)
        return None

    def close(self) -> None:
        """Forget the dependencies that calls waited for."""
        self._dependencies.forget(_KIND)

    async def _run_work(self, deliveries: Sequence[Delivery]) -> None:
        """Call the work, again after each DependencyError."""
        backoff: Backoff | None = None
        while True:
            try:
                with self._dependencies.watching(_KIND, self._problem) if self._work.slow else nullcontext():
                    await self._work.run(deliveries)
            except DependencyError as error:
                if not is_of_dependency(error):
                    raise
                self._failing.add(error.dependency)
                self._dependencies.failed(error, _KIND)
                backoff = backoff or Backoff(0.1, _MAX_BACKOFF_S)
                await backoff.wait()
            else:
                while self._failing:
                    self._dependencies.succeeded(self._failing.pop(), _KIND)
                return

    def _problem(self, for_s: float) -> DependencyError | None:
        error = self._work.slow(for_s) if self._work.slow else None
        if error:
            self._failing.add(error.dependency)
        return error


def reason_of(error: BaseException) -> str:
    """The type and the text of an error, on one line."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # a handler's exception may define how it is printed; only its message fails
        text = ""
    return one_line(f"{name}: {text}" if text else name)


def traceback_of(error: BaseException) -> str:
    """As Python prints it; empty if the error cannot be printed."""
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except BaseException:  # the handler may have defined how it is printed
        return ""
