"""Migrations of MongoDB: each line is a database command in Extended JSON, and may be repeated."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import uuid4

from bson import json_util

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.stores.mongo_client import Document, MongoClient, connect
from peekaping_producer.targets import DatabaseTarget

CREATE_LEDGER = '{"create": "peekaping_producer_migrations"}\n'
_LOCK = "peekaping_producer_lock"
"""A collection of its own, so that the ledger is there only once something was applied."""
_LOCK_TIMEOUT = 60.0
"""Seconds to wait for another replica's migration."""
_LOCK_LEASE = timedelta(seconds=30)
"""After which a migration is taken for dead; all that it runs may be repeated, should it be alive."""
_DUPLICATE_KEY = 11000


def record(name: str) -> str:
    """The command that writes `name` into the ledger."""
    update = {"q": {"_id": name}, "u": {"$currentDate": {"applied_at": True}}, "upsert": True}
    return json_util.dumps({"update": "peekaping_producer_migrations", "updates": [update]}) + "\n"


class MongoConnection:
    """See Connection."""

    def __init__(self, client: MongoClient, target: DatabaseTarget) -> None:
        self._client = client
        self._target = target

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these collections are there."""
        return await self._client.collections() & set(names)

    async def applied(self) -> set[str]:
        """The names that the ledger holds."""
        return {each.document["_id"] for each in await self._client.find("peekaping_producer_migrations", {}, ["_id"])}

    async def run(self, script: str) -> None:
        """Run the commands of one text, one a line."""
        for line in filter(None, script.splitlines()):
            await self.command(json_util.loads(line))

    async def command(self, document: Document, *, expected: int | None = None) -> bool:
        """Run one command: False where its write failed with the `expected` code. Raises StoreError for any other."""
        reply = await self._client.command(document)
        codes = {error.get("code") for error in reply.get("writeErrors", ())}
        if unexpected := codes - {expected}:
            raise StoreError(f"{self._target}: the server refuses a command (error {unexpected.pop()})")
        return not codes

    async def now(self) -> datetime:
        """The server's clock, since replicas' own may differ; by hello's old name, which every server knows."""
        moment: datetime = (await self._client.command({"isMaster": 1}))["localTime"]
        return moment


@asynccontextmanager
async def reading(target: DatabaseTarget) -> AsyncIterator[MongoConnection]:
    """A client that writes nothing as long as it is asked for nothing else."""
    client, _ = await connect(target, 1)
    try:
        yield MongoConnection(client, target)
    finally:
        await client.close()


@asynccontextmanager
async def exclusive(target: DatabaseTarget) -> AsyncIterator[MongoConnection]:
    """A client that holds the lock, which is one document with an owner and an end."""
    owner = uuid4().hex
    async with reading(target) as connection:
        give_up_at = time.monotonic() + _LOCK_TIMEOUT
        while not await _took_lock(connection, owner):
            if time.monotonic() > give_up_at:
                raise StoreUnavailableError(f"{target}: another migration still runs after {_LOCK_TIMEOUT:g} s")
            await asyncio.sleep(0.05)
        try:
            yield connection
        finally:
            mine = {"q": {"_id": "migrate", "owner": owner}, "limit": 1}
            with suppress(StoreError):  # what was raised before counts, and the lock ends by itself
                await connection.command({"delete": _LOCK, "deletes": [mine]})


async def _took_lock(connection: MongoConnection, owner: str) -> bool:
    """Upserting a free or an expired lock works; a live one does not fit, and then its id is taken twice."""
    now = await connection.now()
    taking = {
        "q": {"_id": "migrate", "until": {"$lt": now}},
        "u": {"$set": {"owner": owner, "until": now + _LOCK_LEASE}},
        "upsert": True,
    }
    return await connection.command({"update": _LOCK, "updates": [taking]}, expected=_DUPLICATE_KEY)
