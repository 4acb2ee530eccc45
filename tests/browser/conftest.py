"""A browser, and a server with made-up data."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.browser.made_up_server import MadeUpServer, made_up_server
from tests.e2e.conftest import database, empty_database, fleet, postgres_only
from tests.kit.browser import browser, chromium

__all__ = ["browser", "chromium", "database", "empty_database", "fleet", "postgres_only"]


@pytest_asyncio.fixture
async def made_up() -> AsyncIterator[MadeUpServer]:
    """A running server of made-up data."""
    async with made_up_server() as server:
        yield server
