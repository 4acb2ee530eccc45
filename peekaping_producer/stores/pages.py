"""Pages of plans around rows that cannot be read."""

from typing import Protocol

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.errors import BadRowsError


class PageReader(Protocol):
    """The methods of a session that page_of_plans() uses."""

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """A page as Session.page_of_plans returns it. Raises BadRowsError where a row cannot be read."""
        ...

    async def next_id(self, after: str | None) -> str | None:
        """The id of the next row, whatever its other columns contain; None at the end."""
        ...


async def page_of_plans(reader: PageReader, after: str | None, limit: int) -> list[Plan]:
    """Read a page; where a row cannot be read, halve the page until that row is alone, and return it as a problem.

    Not by isolate(): the ids of a page are not known before it is read.
    """
    try:
        return await reader.page(after, limit)
    except BadRowsError as error:
        if limit == 1:
            id_ = await reader.next_id(after)
            return [] if id_ is None else [Plan(id_, 0, f"unreadable: {error}")]
    half = limit // 2
    page = await page_of_plans(reader, after, half)
    return page if len(page) < half else page + await page_of_plans(reader, page[-1].id, limit - half)
