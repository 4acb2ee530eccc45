"""Ending background tasks for sure."""

import asyncio

_CANCEL_AGAIN_AFTER_S = 1.0


async def cancel_and_wait(*tasks: asyncio.Task[None]) -> None:
    """Cancel `tasks` and wait until they have ended; again and again, for one cancellation may get lost.

    Before Python 3.12 asyncio.wait_for, which redis-py sends through, swallows one that arrives just as the inner
    call completes. What the tasks raised stays with them.
    """
    pending = set(tasks)
    interrupted: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_AFTER_S)
        except asyncio.CancelledError as error:
            interrupted = error  # nobody is left behind because somebody is in a hurry
            pending = {task for task in pending if not task.done()}
    if interrupted:
        raise interrupted
