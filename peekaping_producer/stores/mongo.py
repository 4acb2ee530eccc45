"""MongoDB, with the collections and fields of the API server's Go models.

A missing field is read as Go's zero value, as by the API server. Values of another type that Go's driver decodes are
accepted: a double as an integer, a number as a boolean, null as zero.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from bson import Code, Int64, ObjectId

from peekaping_producer.errors import StoreRefusedError
from peekaping_producer.monitors.maintenance import MaintenanceWindow
from peekaping_producer.monitors.monitor import Heartbeat, Monitor, Plan, Proxy, RecentHeartbeat
from peekaping_producer.stores.catalogue import Catalogue
from peekaping_producer.stores.errors import CREATE_TABLES
from peekaping_producer.stores.mongo_catalogue import catalogue_of
from peekaping_producer.stores.mongo_client import Document, MongoDatabaseClient, ReadDocument
from peekaping_producer.stores.rows import Row, plan_of
from peekaping_producer.stores.store import StoreSession

_OBJECT_ID = re.compile("[0-9a-f]{24}")
_FIRST = ObjectId(bytes(12))
_ACTIVE = {"active": {"$nin": [False, None, 0]}}
"""Go's zero value is false; a value that is neither false nor true is reported as a problem."""
_BEHIND_OBJECT_IDS = {"_id": {"$type": [8, 9, 17, 11, 127]}}
_KINDS_BEHIND = {"bool", "datetime", "DatetimeMS", "Timestamp", "Regex", "MaxKey"}
"""The types that are sorted behind ObjectIds in the order of `_id`."""


def _names(struct: type[msgspec.Struct]) -> list[str]:
    """The fields of the documents that `struct` is made of."""
    return ["_id" if name == "id" else name for name in struct.__struct_fields__]


_MONITOR = [*_names(Monitor), "proxy_id"]
# For each monitor one step in the index on (monitor_id, time). To group all heartbeats by monitor is as fast only where
# the server uses that index; otherwise it reads years of heartbeats.
_LATEST_HEARTBEAT: list[Document] = [
    {"$project": {"_id": 1}},
    {
        "$lookup": {
            "from": "heartbeat",
            "let": {"monitor": "$_id"},
            "pipeline": [
                {"$match": {"$expr": {"$eq": ["$monitor_id", "$$monitor"]}}},
                {"$sort": {"time": -1}},
                {"$limit": 1},
            ],
            "as": "latest",
        }
    },
    {"$unwind": "$latest"},
    {"$project": {f"latest.{name}": 1 for name in _names(Heartbeat)}},
]


class Undecodable:
    """Replaces the values of a document that the driver cannot decode."""


class MongoSession(StoreSession[MongoDatabaseClient]):
    """One of the sessions that may read at the same time; see Session."""

    is_id = staticmethod(_OBJECT_ID.fullmatch)

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One operation, along `_id`; at the end of a walk another one, for invalid ids that sort behind all ObjectIds.

        Those that sort before ObjectIds are at the beginning of the first page.
        """
        if after is None:
            return [_plan(read) for read in await self._find_plans({}, limit)]
        if after.startswith("?") and after[1:].partition(":")[0] in _KINDS_BEHIND:
            return []
        beyond = {"$gt": ObjectId(after)} if _OBJECT_ID.fullmatch(after) else {"$gte": _FIRST}
        found = await self._find_plans({"_id": beyond}, limit)
        if len(found) < limit:
            found += await self._find_plans(_BEHIND_OBJECT_IDS, limit - len(found))
        return [_plan(read) for read in found]

    async def _find_plans(self, beyond: Document, limit: int) -> list[ReadDocument]:
        return await self._find("monitor", _ACTIVE | beyond, ["active", "interval"], limit=limit)

    async def check_tables(self) -> dict[str, str]:
        """Check that the collection of the monitors exists: MongoDB creates the others when first written to."""
        async with self.slot.using() as client:
            if "monitor" not in await client.collections():
                raise StoreRefusedError(f"{self._target}: the collection monitor does not exist; {CREATE_TABLES}")
        return {}

    async def ping(self) -> None:
        """Read a monitor with the fields that load() reads, except its config."""
        await self._find("monitor", {}, [name for name in _MONITOR if name != "config"], limit=1)

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        """See TableReader."""
        ids = [ObjectId(key) for key in keys if _OBJECT_ID.fullmatch(key)]
        among, by_monitor = {"_id": {"$in": ids}}, {"monitor_id": {"$in": ids}}
        find = partial(self._find, max_bytes=max_bytes, timeout_s=timeout_s)
        match table:
            case "monitors":
                found = await find("monitor", among, _MONITOR, expected=ids)
                return [(*_row(Monitor, read), read.document.get("proxy_id") or None) for read in found]
            case "plans":
                found = await find("monitor", among, ["active", "interval"])
                return [(str(read.document["_id"]), 0, *_schedule(read)) for read in found]
            case "monitor_maintenances":
                found = await find("monitor_maintenance", by_monitor, ["monitor_id", "maintenance_id"])
                links = [(read.document.get("monitor_id"), read.document.get("maintenance_id")) for read in found]
                return [(str(monitor_id), 0, str(window_id)) for monitor_id, window_id in links]
            case "maintenances":
                latest_first = [("updated_at", -1), ("_id", 1)]
                active = among | {"active": True}
                found = await find("maintenance", active, _names(MaintenanceWindow), sort=latest_first)
                return [_row(MaintenanceWindow, read) for read in found]
            case "proxies":
                return [_row(Proxy, read) for read in await find("proxies", among, _names(Proxy))]
            case _:
                pipeline = [{"$match": among}, *_LATEST_HEARTBEAT]
                async with self.slot.using() as client:
                    found = await client.aggregate(
                        "monitor", pipeline, max_bytes=max_bytes, timeout_s=timeout_s, expected=ids
                    )
                return [_row(Heartbeat, read, "latest") for read in found]

    async def rows_by_id(self, prefix: str, limit: int) -> Sequence[Row]:
        """See StoreSession."""
        first, last = prefix.lower().ljust(24, "0"), prefix.lower().ljust(24, "f")
        if not _OBJECT_ID.fullmatch(first):
            return []
        return await self._found({"_id": {"$gte": ObjectId(first), "$lte": ObjectId(last)}}, limit)

    async def rows_by_name(self, text: str, words: Sequence[str], limit: int) -> Sequence[Row]:
        """See StoreSession."""
        exact = await self._found({"name": text}, limit)
        contained = [{"name": {"$regex": re.escape(word), "$options": "i"}} for word in words]
        found = await self._found({"$and": contained}, limit)
        return list({row[0]: row for row in (*exact, *found)}.values())[:limit]

    async def _found(self, wanted: Document, limit: int) -> list[Row]:
        by_name = [("name", 1), ("_id", 1)]
        fields, timeout_s = ["name", "active", "interval"], self._limits.find_s
        found = await self._find("monitor", wanted, fields, sort=by_name, limit=limit, timeout_s=timeout_s)
        return [(str(read.document.get("_id")), _name_of(read), *_schedule(read)) for read in found]

    async def heartbeat_rows(self, monitor_id: str, limit: int) -> Sequence[Row]:
        """See StoreSession."""
        wanted, fields = {"monitor_id": ObjectId(monitor_id)}, RecentHeartbeat.__struct_fields__
        timeout_s = self._limits.side_table_s
        found = await self._find("heartbeat", wanted, fields, sort=[("time", -1)], limit=limit, timeout_s=timeout_s)
        return [_row(RecentHeartbeat, read)[2:] for read in found]

    async def window_ids(self, limit: int) -> list[str]:
        """See StoreSession."""
        found = await self._find("maintenance", {"active": True}, ["_id"], limit=limit)
        return [str(read.document["_id"]) for read in found]

    async def catalogue(self) -> Catalogue:
        """See Session."""
        async with self.slot.using() as client:
            return await catalogue_of(client, self._target.name)

    async def _find(
        self, collection: str, wanted: Document, fields: Sequence[str], **options: Any
    ) -> list[ReadDocument]:
        async with self.slot.using() as client:
            return await client.find(collection, wanted, fields, **options)


def _plan(read: ReadDocument) -> Plan:
    id_ = read.document.get("_id")
    if isinstance(id_, ObjectId):
        return plan_of(str(id_), *_schedule(read))
    kind = type(id_).__name__
    return Plan(f"?{kind}:{id_!r:.40}", 0, f"_id: expected an ObjectId, got {kind}")


def _schedule(read: ReadDocument) -> tuple[Any, Any]:
    """Whether it is active, and its interval."""
    if not read.whole:
        return True, _UNDECODABLE
    return _decoded(bool, read.document.get("active")), _decoded(int, read.document.get("interval"))


def _name_of(read: ReadDocument) -> str:
    name = read.document.get("name")
    return name[:300] if isinstance(name, str) else ""


def _row(struct: type[msgspec.Struct], read: ReadDocument, inside: str = "") -> Row:
    """A row of the document or of one inside it, as TableReader returns it; values are decoded as by Go's driver."""
    document, fields = read.document, _FIELDS[struct]
    if read.whole:
        source = document[inside] if inside else document
        values = [_decoded(wanted, source.get(name)) for name, wanted in fields]
    else:
        values = [_UNDECODABLE] * len(fields)
    return (str(document.get("_id")), read.size, *values)


def _decoded(wanted: Any, value: Any) -> Any:
    """A value without the driver's own types of int and str, which the payload's encoder rejects."""
    kind = type(value)
    if kind is wanted:
        return value
    if value is None:
        return _ZEROS.get(wanted)
    if wanted is bool and isinstance(value, int | float):
        return bool(value)
    if kind is Int64 or (kind is float and value.is_integer()):
        return int(value)
    return str(value) if isinstance(value, ObjectId | Code) else value


_FIELDS: dict[type[msgspec.Struct], list[tuple[str, Any]]] = {
    struct: [("_id" if field.name == "id" else field.name, field.type) for field in msgspec.structs.fields(struct)]
    for struct in (Monitor, Proxy, MaintenanceWindow, Heartbeat, RecentHeartbeat)
}
_UNDECODABLE = Undecodable()
_ZEROS: dict[Any, Any] = {str: "", int: 0, bool: False, datetime: datetime(1, 1, 1, tzinfo=UTC)}
