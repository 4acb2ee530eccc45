"""Reads all plans of a store, page by page."""

from typing import Protocol

from peekaping_producer.monitors.monitor import Plan


class PlanPages(Protocol):
    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]: ...


async def all_plans(source: PlanPages, limit: int) -> list[Plan]:
    """Read as sync does: until a page is not full."""
    seen: list[Plan] = []
    while len(page := await source.page_of_plans(seen[-1].id if seen else None, limit)) == limit:
        seen += page
        assert len(seen) < 100, "the walk does not end"
    return seen + page
