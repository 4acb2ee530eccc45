"""How long commands and the page wait for the database: in an outage, a person needs what is known without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.targets import DatabaseTarget

LIMITS = Limits(acquire_s=3.0, open_table_s=3.0, side_table_s=1.0)
"""Of each step. A read of many rows may take as long as one of a replica."""
ANSWER_WITHIN_S = 5.0
"""For all steps until the database has answered."""


@asynccontextmanager
async def answering(target: DatabaseTarget | None = None) -> AsyncIterator[None]:
    """Enclose reads of the database. Raises StoreUnavailableError, which names the target, if they take longer."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            yield
    except TimeoutError:
        name = f"{target}: " if target else ""
        raise StoreUnavailableError(f"{name}the database did not answer within {ANSWER_WITHIN_S:g} s") from None
