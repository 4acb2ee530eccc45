"""Reads of MongoDB whose callers gave up: the driver's threads go on with them, until the server answers."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from peekaping_producer.stores.mongo import MongoSession
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import opened
from tests.kit.fault_proxy import FaultProxy, fault_proxy
from tests.kit.mongo import MongoDatabase

MongoStore = Store[MongoSession]
CONNECTIONS = 3
WITHIN_S = 6.0
"""Less than the time limit of a socket, after which abandoned reads end."""
ABANDONED = 60
"""More than the driver has threads."""


@pytest.fixture
def empty_database(mongo_database: DatabaseTarget) -> DatabaseTarget:
    return mongo_database


@pytest_asyncio.fixture
async def proxy(database: MongoDatabase) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(database.target.port or 0) as standing:
        yield standing


@pytest_asyncio.fixture
async def hung(database: MongoDatabase, proxy: FaultProxy) -> AsyncIterator[MongoStore]:
    """A store whose server does not answer, and which callers have asked many times and given up."""
    target = msgspec.structs.replace(database.target, port=proxy.port)
    async with opened(target, connections=CONNECTIONS) as store:
        await store.ping()
        proxy.hold_replies()
        for _ in range(ABANDONED):
            reading = asyncio.create_task(store.ping())
            await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.wait({reading})
        yield store
        proxy.release_replies()


async def test_abandoned_reads_are_not_sent_once_there_is_no_connection(hung: MongoStore, proxy: FaultProxy) -> None:
    assert proxy.requests <= CONNECTIONS + 4, "and what the driver asks itself"


async def test_abandoned_reads_leave_threads_for_other_stores(hung: MongoStore, store: MongoStore) -> None:
    async with asyncio.timeout(WITHIN_S):
        await store.ping()


async def test_a_store_answers_as_soon_as_its_server_does(hung: MongoStore, proxy: FaultProxy) -> None:
    proxy.release_replies()
    async with asyncio.timeout(WITHIN_S):
        await hung.ping()
    assert proxy.requests <= 2 * CONNECTIONS + 4, "no abandoned read was sent late"
