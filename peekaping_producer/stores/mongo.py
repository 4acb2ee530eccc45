"""MongoDB, with the collections and fields of the API server's Go models.

A document may lack any field: then it counts as Go's zero value, as it does there. What a field may hold beyond its
type is what Go's driver decodes: a whole number as a double, a number as a boolean, null as zero.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from bson import Code, Int64, ObjectId

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.maintenance import MaintenanceWindow
from peekaping_producer.monitor import Heartbeat, Monitor, Plan, Proxy
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.mongo_client import Document, MongoClient, connect
from peekaping_producer.stores.rows import LARGEST_INTEGER, Readers, Row, assemble, checked, push_ids
from peekaping_producer.targets import DatabaseTarget

_OBJECT_ID = re.compile("[0-9a-f]{24}")
_FIRST = ObjectId(bytes(12))


def _named(struct: type[msgspec.Struct], inside: str = "") -> dict[str, int]:
    """A projection on what `struct` holds."""
    return {inside + ("_id" if name == "id" else name): 1 for name in struct.__struct_fields__}


_WITH_PROXY: list[Document] = [
    {"$lookup": {"from": "proxies", "localField": "proxy_id", "foreignField": "_id", "as": "proxy"}},
    {"$project": {**_named(Monitor), "proxy_id": 1, "proxy": 1}},
]
_ACTIVE_WINDOWS: list[Document] = [
    {"$lookup": {"from": "maintenance", "localField": "maintenance_id", "foreignField": "_id", "as": "window"}},
    {"$unwind": "$window"},
    {"$match": {"window.active": True}},
    {"$sort": {"window.updated_at": -1, "window._id": 1}},
    {"$project": {"monitor_id": 1, **_named(MaintenanceWindow, "window.")}},
]
# For each monitor one step in the index on (monitor_id, time). Grouping all heartbeats by monitor could be answered so
# too, but where the server does not see it, that reads years of heartbeats.
_LATEST_HEARTBEAT: list[Document] = [
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
    {"$project": {"latest": 1}},
]
_RUNNING = {"active": True, "interval": {"$gte": 1, "$lte": LARGEST_INTEGER}}

_READERS = Readers(
    checked("monitor", Monitor),
    checked("proxy", Proxy),
    checked("maintenance", MaintenanceWindow),
    checked("heartbeat", Heartbeat),
)


class MongoSession:
    """A turn among those who may read at the same time; see Session. The driver finds a connection for each read."""

    def __init__(self, client: MongoClient) -> None:
        self._client = client

    async def load(self, ids: list[str]) -> Loaded:
        """At most three operations, the third only for push monitors."""
        known = _object_ids(ids)
        if not known:
            return Loaded({}, {})
        monitors = await self._client.aggregate("monitor", [_among("_id", known), *_WITH_PROXY])
        windows = await self._client.aggregate("monitor_maintenance", [_among("monitor_id", known), *_ACTIVE_WINDOWS])
        rows = [_monitor_row(document) for document in monitors]
        pushed = _object_ids(push_ids(rows))
        wanted = [_among("_id", pushed), *_LATEST_HEARTBEAT]
        latest = await self._client.aggregate("monitor", wanted) if pushed else []
        return assemble(
            rows,
            [(str(link["monitor_id"]), *_fields(MaintenanceWindow, link["window"])) for link in windows],
            [_fields(Heartbeat, document["latest"]) for document in latest],
            _READERS,
        )

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """One operation."""
        documents = await self._client.find("monitor", {"_id": {"$in": _object_ids(ids)}}, ["active", "interval"])
        return {plan.id: plan for plan in map(_plan, documents)}

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """One operation, along `_id`; another only where a document fits that has no place in a schedule."""
        page: list[Plan] = []
        beyond = {"$gte": _FIRST} if after is None else {"$gt": ObjectId(after)}
        while True:
            left = limit - len(page)
            found = await self._client.find("monitor", _RUNNING | {"_id": beyond}, ["active", "interval"], limit=left)
            page += [plan for plan in map(_plan, found) if plan.interval > 0]
            if len(page) == limit or len(found) < left:
                return page
            beyond = {"$gt": found[-1]["_id"]}

    async def ping(self) -> None:
        """A trivial command."""
        await self._client.ping()


class MongoStore:
    """A MonitorStore on MongoDB with at most `size` connections, beside those by which the driver watches servers."""

    def __init__(self, target: DatabaseTarget, size: int) -> None:
        self._target = target
        self._size = size
        MongoClient(target, size)  # refuses what cannot be used; it connects to nothing until it is asked something
        self._client: MongoClient | None = None
        self._free = asyncio.Semaphore(0)

    async def open(self) -> None:
        """See that the server answers, and has the monitors: the other collections are made when first written to."""
        await self.close()
        self._free = asyncio.Semaphore(self._size)
        self._client, collections = await connect(self._target, self._size)
        if "monitor" not in collections:
            await self.close()
            raise StoreError(f"{self._target}: there is no collection monitor; {connections.CREATE_TABLES}")

    @asynccontextmanager
    async def session(self) -> AsyncIterator[MongoSession]:
        """Wait up to ACQUIRE_TIMEOUT for a turn."""
        client, free = self._opened(), self._free
        try:
            async with asyncio.timeout(connections.ACQUIRE_TIMEOUT):
                await free.acquire()
        except TimeoutError:
            raise StoreUnavailableError(f"{self._target}: no answer in time") from None
        try:
            yield MongoSession(client)
        finally:
            free.release()

    def is_id(self, text: str) -> bool:
        """Whether `text` is an ObjectId as Go prints it."""
        return _OBJECT_ID.fullmatch(text) is not None

    async def ping(self) -> None:
        """A trivial command."""
        async with self.session() as session:
            await session.ping()

    async def close(self) -> None:
        """Close the connections; what still reads fails."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _opened(self) -> MongoClient:
        if self._client is None:
            raise StoreUnavailableError(f"{self._target}: the store is not open")
        return self._client


def _object_ids(ids: Iterable[str]) -> list[ObjectId]:
    return [ObjectId(id_) for id_ in ids if _OBJECT_ID.fullmatch(id_)]


def _among(field: str, ids: list[ObjectId]) -> Document:
    return {"$match": {field: {"$in": ids}}}


def _plan(document: Document) -> Plan:
    """What load() would refuse has interval 0; a filter of the server's takes fractions, and looks into arrays."""
    interval = _decoded(int, document.get("interval"))
    if type(interval) is not int or abs(interval) > LARGEST_INTEGER or document.get("active") is not True:
        interval = 0
    return Plan(str(document["_id"]), interval)


def _monitor_row(document: Document) -> Row:
    proxy = _NO_PROXY
    if document["proxy"]:
        proxy = _fields(Proxy, document["proxy"][0])
        proxy[_USERNAME:] = [text or None for text in proxy[_USERNAME:]]
    proxy_id = document.get("proxy_id") or None  # "" is what deleting a proxy leaves
    return [*_fields(Monitor, document), None if proxy_id is None else str(proxy_id), *proxy]


def _fields(struct: type[msgspec.Struct], document: Document) -> list[Any]:
    """The document's values in the order of the struct's fields, as Go's driver would decode each."""
    return [_decoded(wanted, document.get(name)) for name, wanted in _FIELDS[struct]]


def _decoded(wanted: Any, value: Any) -> Any:
    """The driver's own kinds of int and str must not leave this file: what encodes the payload takes none of them."""
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
    for struct in (Monitor, Proxy, MaintenanceWindow, Heartbeat)
}
_NO_PROXY = [None] * len(Proxy.__struct_fields__)
_USERNAME = Proxy.__struct_fields__.index("username")
_ZEROS: dict[Any, Any] = {str: "", int: 0, bool: False, datetime: datetime(1, 1, 1, tzinfo=UTC)}
