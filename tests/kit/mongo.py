"""A server that speaks MongoDB's protocol, or MONGODB_URL's: shared by the session, or private to a test."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import MongoClient

from peekaping_producer.targets import DatabaseTarget
from tests.kit import processes
from tests.kit.databases import LEDGER, TABLES, Database, Row
from tests.kit.given import borrowed, database_in
from tests.kit.requirements import need

DATABASE = "peekaping_tests"
_JARS = Path(__file__).parents[2] / ".venv" / "share" / "mongo"
_COLLECTIONS = {"monitors": "monitor", "maintenances": "maintenance", "monitor_maintenances": "monitor_maintenance"} | {
    "heartbeats": "heartbeat"
}
_OBJECT_ID = re.compile("[0-9a-f]{24}")


class MongoServer(processes.DatabaseServer):
    """A server in memory; a restart loses the data."""

    @property
    def target(self) -> DatabaseTarget:
        """The database peekaping_tests."""
        return DatabaseTarget(dialect="mongo", host=processes.HOST, port=self.port, name=DATABASE)

    def _initialize(self) -> None:
        found = shutil.which("java") and _JARS.is_dir()
        need(found, "a MongoDB server: run `make ci-servers` (needs Java and Maven), or set MONGODB_URL")
        self._jars = _readable_copy(_JARS, self._folder / "jars")

    def _command(self, *options: str) -> Iterable[object]:
        classes = f"{self._jars}:{self._jars}/*"
        java = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", classes)
        return *java, "MongoForTests", self.port, *options


class MongoDatabase(Database):
    """A client that writes as the API server does."""

    def __init__(self, target: DatabaseTarget) -> None:
        self.target = target
        credentials = {"username": target.user, "password": target.password} if target.user else {}
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            f"{target.host}:{target.port}".split(","), serverSelectionTimeoutMS=20_000, **credentials, **target.params
        )
        self._database = self._client[target.name]

    @classmethod
    async def connect(cls, target: DatabaseTarget) -> Self:
        """A client connects with its first command."""
        return cls(target)

    def new_id(self) -> str:
        """An ObjectId."""
        return str(ObjectId())

    async def insert(self, table: str, *rows: Row) -> None:
        """Leave out what is None, as Go's omitempty does."""
        documents = [{_name(name): _stored(table, name, value) for name, value in row.items()} for row in rows]
        await self.insert_documents(
            _COLLECTIONS.get(table, table),
            *({name: value for name, value in document.items() if value is not None} for document in documents),
        )

    async def insert_documents(self, collection: str, *documents: Row) -> None:
        """Insert documents as they are."""
        await asyncio.to_thread(self._database[collection].insert_many, documents)

    async def update(self, table: str, id_: str, **columns: Any) -> None:
        changes = {name: _stored(table, name, value) for name, value in columns.items()}
        collection = self._database[_COLLECTIONS.get(table, table)]
        await asyncio.to_thread(collection.update_one, {"_id": _stored(table, "id", id_)}, {"$set": changes})

    async def delete(self, table: str, id_: str) -> None:
        collection = self._database[_COLLECTIONS.get(table, table)]
        await asyncio.to_thread(collection.delete_one, {"_id": _stored(table, "id", id_)})

    async def rename(self, table: str, to: str) -> None:
        collection = self._database[_COLLECTIONS.get(table, table)]
        await asyncio.to_thread(collection.rename, _COLLECTIONS.get(to, to))

    async def schema(self) -> object:
        """Every collection with its indexes, and how much is in it."""

        def look() -> object:
            names = sorted(self._database.list_collection_names())
            return [
                (name, self._database[name].count_documents({}), self._database[name].index_information())
                for name in names
            ]

        return await asyncio.to_thread(look)

    async def filled(self) -> list[str]:

        def look() -> list[str]:
            names = sorted(set(self._database.list_collection_names()) - {LEDGER})
            return [name for name in names if self._database[name].find_one({}, {"_id": 1})]

        return await asyncio.to_thread(look)

    async def clear(self) -> None:
        for table in TABLES:
            await asyncio.to_thread(self._database[_COLLECTIONS.get(table, table)].delete_many, {})

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    async def empty(self) -> None:
        """Drop everything in the database."""
        await asyncio.to_thread(self._client.drop_database, self.target.name)


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[DatabaseTarget]:
    """One server for the whole session: MONGODB_URL (of a user that may drop and make the database peekaping_tests,
    which must not be in use), else one of our own.
    """
    if given := database_in("MONGODB_URL", name=DATABASE):
        with borrowed("MONGODB_URL", given, MongoDatabase(given).empty):
            yield given
        return
    with processes.running(MongoServer) as server:
        yield server.target


@pytest.fixture
def private_mongo() -> Iterator[MongoServer]:
    """A server that one test may stop, kill or restart."""
    with processes.running(MongoServer) as server:
        yield server


@pytest_asyncio.fixture
async def mongo_database(mongo_server: DatabaseTarget) -> AsyncIterator[DatabaseTarget]:
    """An empty database of the shared server."""
    database = MongoDatabase(mongo_server)
    await database.empty()
    await database.close()
    yield mongo_server


def document(**changes: Any) -> Row:
    """A monitor as the API server writes it."""
    numbers = dict.fromkeys(("timeout", "max_retries", "retry_interval", "resend_interval"), 5)
    row = {"_id": ObjectId(), "name": "n", "type": "http", "interval": 60, "active": True, "config": "{}"}
    return row | numbers | changes


def _readable_copy(folder: Path, to: Path) -> Path:
    """For the server's user, who may read nothing of a checkout in another's home, or of one made by a strict umask."""
    shutil.copytree(folder, to)
    for path in (to, *to.iterdir()):
        path.chmod(0o755)
    return to


def _name(name: str) -> str:
    return "_id" if name == "id" else name


def _stored(table: str, name: str, value: Any) -> Any:
    """What Go writes: ids as ObjectId, times as dates; those of a maintenance window are texts there too."""
    if not isinstance(value, str):
        return value
    if (name == "id" or name.endswith("_id")) and _OBJECT_ID.fullmatch(value):
        return ObjectId(value)
    if name.endswith("_at") or (table == "heartbeats" and name.endswith("time")):
        with suppress(ValueError):  # a test may store another text
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return value
