"""Migrations of MongoDB: each line is a database command in Extended JSON, and may be repeated."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import uuid4

from bson import json_util

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.migrate.files import LEDGER, LOCK_TIMEOUT_S
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo_client import Document, MongoDatabaseClient, connect
from peekaping_producer.targets import DatabaseTarget

CREATE_LEDGER = f'{{"create": "{LEDGER}"}}\n'
_LOCK = "peekaping_producer_lock"
"""A collection of its own, so that the ledger exists only after a migration was applied."""
_LOCK_LEASE_S = 30.0
"""After which a migration counts as dead; if it is alive, all that it runs may be repeated."""
_DUPLICATE_KEY = 11000


def record(name: str) -> str:
    """The command that writes `name` into the ledger."""
    update = {"q": {"_id": name}, "u": {"$currentDate": {"applied_at": True}}, "upsert": True}
    return json_util.dumps({"update": LEDGER, "updates": [update]}) + "\n"


class MongoConnection:
    """See Connection."""

    def __init__(self, client: MongoDatabaseClient, target: DatabaseTarget) -> None:
        self._client = client
        self._target = target

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these collections exist."""
        return await self._client.collections() & set(names)

    async def applied(self) -> set[str]:
        """The names in the ledger."""
        return {each.document["_id"] for each in await self._client.find(LEDGER, {}, ["_id"])}

    async def run(self, script: str) -> None:
        """Run the commands of one text, one in each line."""
        for line in filter(None, script.splitlines()):
            await self.command(json_util.loads(line))

    async def command(self, document: Document, *, expected: int | None = None) -> bool:
        """Run one command: False where its write failed with the `expected` code. Raises StoreError for any other."""
        reply = await self._client.command(document)
        codes = {error.get("code") for error in reply.get("writeErrors", ())}
        if unexpected := codes - {expected}:
            raise StoreRefusedError(f"{self._target}: the server rejected a command (error {unexpected.pop()})")
        return not codes

    async def now(self) -> datetime:
        """The server's clock, since those of replicas may differ; by hello's old name, which every server supports."""
        moment: datetime = (await self._client.command({"isMaster": 1}))["localTime"]
        return moment


@asynccontextmanager
async def read_only(target: DatabaseTarget) -> AsyncIterator[MongoConnection]:
    """A client without a lock."""
    client = await connect(target, 1, Limits())
    try:
        yield MongoConnection(client, target)
    finally:
        await client.close()


@asynccontextmanager
async def locked(
    target: DatabaseTarget, *, lock_timeout_s: float = LOCK_TIMEOUT_S, lock_lease_s: float = _LOCK_LEASE_S
) -> AsyncIterator[MongoConnection]:
    """A client with the lock, which is one document with an owner and an end."""
    owner = uuid4().hex
    async with read_only(target) as connection:
        give_up_at = time.monotonic() + lock_timeout_s
        while not await _took_lock(connection, owner, timedelta(seconds=lock_lease_s)):
            if time.monotonic() > give_up_at:
                raise StoreUnavailableError(f"{target}: another migration still runs after {lock_timeout_s:g} s")
            await asyncio.sleep(0.05)
        try:
            yield connection
        finally:
            mine = {"q": {"_id": "migrate", "owner": owner}, "limit": 1}
            with suppress(StoreError):  # what was raised before counts, and the lock ends by itself
                await connection.command({"delete": _LOCK, "deletes": [mine]})


async def _took_lock(connection: MongoConnection, owner: str, lease: timedelta) -> bool:
    """Upsert a free or an expired lock; the filter does not match a live one, and its id is then a duplicate."""
    now = await connection.now()
    taking = {
        "q": {"_id": "migrate", "until": {"$lt": now}},
        "u": {"$set": {"owner": owner, "until": now + lease}},
        "upsert": True,
    }
    return await connection.command({"update": _LOCK, "updates": [taking]}, expected=_DUPLICATE_KEY)
