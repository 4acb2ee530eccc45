"""Permanent and temporary refusals of each database, with the first sentence of the server's message."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.migrate import inspect, migrate
from peekaping_producer.stores import mongo_errors, store_for
from peekaping_producer.stores.sqlite_file import SqliteFileError
from peekaping_producer.targets import DatabaseTarget
from tests.kit import processes
from tests.kit.processes import HOST

TEXT = "connection refused by\x1b[31m policy. " + "Ask your administrator. " * 40 + "\nHINT: \x07"


@asynccontextmanager
async def refusing(dialect: str, reply: bytes) -> AsyncIterator[DatabaseTarget]:
    """A server that sends `reply` to each client, after its first message where the client sends first, and closes."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if dialect == "postgres":
            await reader.read(1000)
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(meet, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield DatabaseTarget(dialect=dialect, host=HOST, port=port, name="n", user="u", password="s3cret")


def postgres_refusal(code: str) -> bytes:
    fields = b"".join(kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"C", code), (b"M", TEXT)))
    return b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0"


def mysql_refusal(code: int) -> bytes:
    payload = b"\xff" + code.to_bytes(2, "little") + b"#HY000" + TEXT.encode()
    return len(payload).to_bytes(3, "little") + b"\0" + payload


REFUSALS = [
    ("postgres", postgres_refusal("28000"), True),  # no entry in pg_hba.conf
    ("postgres", postgres_refusal("28P01"), True),  # a wrong password
    ("postgres", postgres_refusal("3D000"), True),  # an unknown database
    ("postgres", postgres_refusal("42501"), True),  # not allowed to connect
    ("postgres", postgres_refusal("53300"), False),  # too many connections
    ("postgres", postgres_refusal("57P03"), False),  # starting up
    ("postgres", postgres_refusal("57P01"), False),  # shutting down
    ("mysql", mysql_refusal(1045), True),  # a wrong password
    ("mysql", mysql_refusal(1049), True),  # an unknown database
    ("mysql", mysql_refusal(1129), True),  # this host is blocked until an administrator lifts it
    ("mysql", mysql_refusal(1130), True),  # this host may not connect
    ("mysql", mysql_refusal(3955), True),  # the account is locked
    ("mysql", mysql_refusal(1040), False),  # too many connections
    ("mysql", mysql_refusal(1053), False),  # shutting down
    ("mysql", mysql_refusal(1203), False),  # too many connections of this user
]


@pytest.mark.parametrize(("dialect", "reply", "final"), REFUSALS, ids=range(len(REFUSALS)))
@pytest.mark.parametrize("migrating", [True, False])
async def test_only_temporary_errors_are_unavailable(dialect: str, reply: bytes, final: bool, migrating: bool) -> None:
    async with refusing(dialect, reply) as target:
        with pytest.raises(StoreError) as caught:
            await (inspect(target) if migrating else store_for(target, connections=1).open())
    assert isinstance(caught.value, StoreUnavailableError) != final
    said = str(caught.value)
    assert r"'connection refused by\x1b[31m policy'" in said
    assert "administrator" not in said
    assert said.isprintable()
    assert len(said) < 250


@pytest.mark.parametrize(
    ("code", "final"), [(18, True), (8000, True), (13, True), (334, True), (91, False), (11600, False), (189, False)]
)
async def test_only_temporary_errors_are_unavailable_in_mongodb(code: int, final: bool) -> None:
    target = DatabaseTarget(dialect="mongo", host="h", port=1, name="n")
    with pytest.raises(StoreError) as caught, mongo_errors.translated(target):
        raise OperationFailure(TEXT, code)
    assert isinstance(caught.value, StoreUnavailableError) != final
    assert "administrator" not in str(caught.value)


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user without special rights, also where root runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One for tests that change its rights, unlike pytest's own."""
    with processes.directory("peekaping-rights-") as path:
        yield path
        path.chmod(0o755)


async def test_an_unreadable_file_is_a_bad_setting(folder: Path) -> None:
    target = DatabaseTarget(dialect="sqlite", name=str(folder / "x.db"))
    await migrate(target)
    os.chmod(target.name, 0)
    with as_nobody():
        for call in (lambda: store_for(target, connections=1).open(), lambda: inspect(target), lambda: migrate(target)):
            with pytest.raises(SqliteFileError, match="DB_NAME: expected the path of a SQLite file, got"):
                await call()


@pytest.mark.parametrize("name", ["x.db", "new.db"])
async def test_a_file_that_migrate_cannot_write_or_create_is_a_bad_setting(folder: Path, name: str) -> None:
    sqlite3.connect(folder / "x.db").close()
    os.chmod(folder / "x.db", 0o444)
    os.chmod(folder, 0o555)
    with (
        as_nobody(),
        pytest.raises(SqliteFileError, match=f"DB_NAME: expected the path of a SQLite file, got .*{name}: "),
    ):
        await migrate(DatabaseTarget(dialect="sqlite", name=str(folder / name)))
