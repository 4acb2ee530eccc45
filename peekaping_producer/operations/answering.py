"""How long commands and the page wait for the database: in an outage, a person needs what is known without it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.targets import DatabaseTarget

LIMITS = Limits(acquire_s=3.0, open_table_s=3.0, command_s=4.0, side_table_s=0.8)
"""Of each step: shorter than the limit of all, so that the cause is found."""
ANSWER_WITHIN_S = 5.0
"""For all steps until the database has answered. Reads in pages begin it again with each page."""


@asynccontextmanager
async def answering(target: DatabaseTarget | None = None) -> AsyncIterator[Callable[[], None]]:
    """Enclose reads of the database. Raises StoreUnavailableError, which names the target, if they take longer.

    The value is called after each page of a long walk: the time begins again.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S) as limit:
            yield lambda: limit.reschedule(loop.time() + ANSWER_WITHIN_S)
    except TimeoutError:
        name = f"{target}: " if target else ""
        raise StoreUnavailableError(f"{name}the database did not answer within {ANSWER_WITHIN_S:g} s") from None
