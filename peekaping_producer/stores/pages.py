"""Pages of plans around rows that cannot be read."""

from abc import ABC, abstractmethod

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.errors import BadRowsError


class Paged(ABC):
    """The part of a session that reads pages. Not by isolate(): the ids of a page are not known before it is read."""

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """Read a page. Where a row cannot be read, halve the page until that row is alone; it is a plan with a problem.

        See Session; usually one statement, along the primary key.
        """
        try:
            return await self.page(after, limit)
        except BadRowsError as error:
            if limit == 1:
                id_ = await self.next_id(after)
                return [] if id_ is None else [Plan(id_, 0, f"unreadable: {error}")]
        half = limit // 2
        page = await self.page_of_plans(after, half)
        return page if len(page) < half else page + await self.page_of_plans(page[-1].id, limit - half)

    @abstractmethod
    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """A page as page_of_plans() returns it. Raises BadRowsError where a row cannot be read."""

    @abstractmethod
    async def next_id(self, after: str | None) -> str | None:
        """The id of the next row, whatever its other columns contain; None at the end."""
