"""What a MongoDB server reports about itself, the indexes of the collections and the rights of the user."""

from contextlib import suppress
from typing import Any

from peekaping_producer.errors import StoreError
from peekaping_producer.stores.catalogue import TABLES, Catalogue, missing_indexes
from peekaping_producer.stores.mongo_client import Document, MongoDatabaseClient

_COLLECTIONS = {"monitors": "monitor", "maintenances": "maintenance", "monitor_maintenances": "monitor_maintenance"} | {
    "heartbeats": "heartbeat"
}
"""By the name of the table elsewhere; proxies have the same name."""
_WRITES = {"insert", "update", "remove"}


async def catalogue_of(client: MongoDatabaseClient, database: str) -> Catalogue:
    """Ask the server. What it, or a compatible server, does not report is None. Raises StoreError."""
    version = (await client.command({"buildInfo": 1})).get("version", "of an unknown version")
    return Catalogue(f"MongoDB {version}", await _missing_indexes(client), await _writable(client, database))


async def _missing_indexes(client: MongoDatabaseClient) -> tuple[str, ...] | None:
    """Of collections that exist: MongoDB makes one at the first write."""
    existing = await client.collections()
    tables = [table for table in TABLES if _COLLECTIONS.get(table, table) in existing]
    found = []
    for table in tables:
        try:
            reply = await client.command({"listIndexes": _COLLECTIONS.get(table, table)})
        except StoreError:
            return None
        for index in reply.get("cursor", {}).get("firstBatch", ()):
            names = ["id" if name == "_id" else name for name in index.get("key", {})]
            if "partialFilterExpression" not in index:
                found.append((table, ",".join(names)))
    return missing_indexes(found, tables)


async def _writable(client: MongoDatabaseClient, database: str) -> tuple[str, ...] | None:
    reply: Document = {}
    with suppress(StoreError):
        reply = await client.command({"connectionStatus": 1, "showPrivileges": True})
    return writable_by(reply.get("authInfo", {}), database)


def writable_by(info: dict[str, Any], database: str) -> tuple[str, ...] | None:
    """Return the tables that a user with this `authInfo` may write to; without users, everything may."""
    if not isinstance(info.get("authenticatedUsers"), list):
        return None
    if not info["authenticatedUsers"]:
        return TABLES
    if not isinstance(privileges := info.get("authenticatedUserPrivileges"), list):
        return None
    found = set()
    for privilege in privileges:
        resource = privilege.get("resource", {})
        in_database = resource.get("anyResource") or resource.get("db") in {"", database}
        if in_database and _WRITES & set(privilege.get("actions", ())):
            collection = resource.get("collection") or ""
            found |= {table for table in TABLES if collection in {"", _COLLECTIONS.get(table, table)}}
    return tuple(table for table in TABLES if table in found)
