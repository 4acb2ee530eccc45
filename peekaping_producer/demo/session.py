"""One run of a demo in a terminal: its length, signals, and the view."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol, TypeVar

from peekaping_producer.demo.view import GuardedView, open_view
from peekaping_producer.errors import ConfigError
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.service.stop_signals import StopSignals

MIN_RUN_S = 5
_MAX_RUN_S = 86_400
_LOOK_FOR_PARENT_EVERY_S = 0.1

E = TypeVar("E")


class DemoRun(Protocol):
    """One run of a demo in a started environment."""

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Run until the time is over or `stop` is set, then stop all parts in order."""
        ...

    def summary(self) -> str:
        """Return the result in a few lines."""
        ...


async def run_session(
    seconds: float,
    environment: AbstractAsyncContextManager[E],
    build: Callable[[E, GuardedView], DemoRun],
    *,
    max_seconds: int = _MAX_RUN_S,
) -> int:
    """Run a demo until it ends, or until Ctrl-C, SIGTERM, SIGHUP or the end of the parent process.

    Returns the exit code: 0 if it passed, else 1. Raises ProducerError.
    """
    if not MIN_RUN_S <= seconds <= max_seconds:  # nor is NaN
        raise ConfigError([f"--seconds: expected {MIN_RUN_S} to {max_seconds}, got {seconds:g}"])
    stop = asyncio.Event()
    with _stop_requests(stop):
        parent = asyncio.create_task(_stop_with_parent(os.getppid(), stop), name="parent")
        try:
            async with environment as opened:
                view = GuardedView(open_view(), gone=stop.set)
                try:
                    demo = build(opened, view)
                    await demo.run(stop)
                finally:
                    view.close()
        finally:
            await cancel_and_wait(parent)
    view.print(demo.summary())
    return 0 if demo.passed else 1


async def _stop_with_parent(parent: int, stop: asyncio.Event) -> None:
    while not await wait_for_event(stop, _LOOK_FOR_PARENT_EVERY_S):
        if os.getppid() != parent:
            stop.set()


@contextmanager
def _stop_requests(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first signal, exit at the second; child processes end with this process."""
    signals = StopSignals(lambda _number: stop.set(), lambda: os._exit(130))
    signals.listen()
    try:
        yield
    finally:
        signals.ignore()
