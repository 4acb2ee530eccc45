"""Waiting for a condition, instead of for a while."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

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
