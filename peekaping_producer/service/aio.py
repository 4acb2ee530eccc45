"""Cancels tasks and waits for them."""

import asyncio
from contextlib import suppress
from typing import Any

_CANCEL_AGAIN_AFTER_S = 1.0


async def wait_for_event(event: asyncio.Event, within_s: float) -> bool:
    """Wait for `event`, for `within_s` seconds at most; returns whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended. Cancels again every second, since a cancellation may get lost.

    Before Python 3.12 asyncio.wait_for, which redis-py uses for sending, swallows a cancellation that arrives just as
    the inner call completes. Exceptions of the tasks are not raised.
    """
    pending = set(tasks)
    interrupted: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_AFTER_S)
        except asyncio.CancelledError as error:
            interrupted = error  # raised once all tasks have ended
            pending = {task for task in pending if not task.done()}
    if interrupted:
        raise interrupted
