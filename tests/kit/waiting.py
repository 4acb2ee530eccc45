"""Waiting for a condition, instead of for a while."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from redis.exceptions import RedisError

from peekaping_producer.service.aio import cancel_and_wait

DEADLINE_S = 60.0


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str = "", *, within_s: float = DEADLINE_S
) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, when it does not within `within_s` seconds."""
    limit = asyncio.timeout(within_s)
    try:
        async with limit:
            while True:
                held = condition()
                if inspect.isawaitable(held):
                    held = await held
                if held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        if not limit.expired():  # an error of the condition itself
            raise
        raise AssertionError(f"not within {within_s:g} s: {what or inspect.getsource(condition).strip()}") from None


def wait_until(
    condition: Callable[[], object], what: str = "", *, within_s: float = DEADLINE_S, every_s: float = 0.01
) -> None:
    """The same without an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what or inspect.getsource(condition).strip()}"
        time.sleep(every_s)


@asynccontextmanager
async def repeated(report: Callable[[], Awaitable[object]], every_s: float = 1.0) -> AsyncIterator[None]:
    """Repeat `report` during the block, until Redis fails: what a replica reports is old after some seconds."""

    async def repeat() -> None:
        with suppress(RedisError):
            while True:
                await report()
                await asyncio.sleep(every_s)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        await cancel_and_wait(task)
