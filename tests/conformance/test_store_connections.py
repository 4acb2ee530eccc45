"""How stores connect: errors of drivers, connections that ended while idle, several addresses of a host."""

import asyncio
import errno
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.migrate import inspect
from peekaping_producer.stores import mongo_errors, mysql_connections, postgres_connections, sqlite_file, store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.store import Store
from peekaping_producer.stores.tls import database_ssl_context
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.conformance.conftest import DIALECTS, SQL_DIALECTS, limited, opened
from tests.kit.databases import Database
from tests.kit.fault_proxy import FaultProxy, fault_proxy
from tests.kit.processes import HOST
from tests.kit.waiting import until

SERVERS = pytest.mark.parametrize("empty_database", ["postgres", "mysql", "mongo"], indirect=True)
POOLED_SERVERS = pytest.mark.parametrize("empty_database", ["postgres", "mysql"], indirect=True)
POOLED = pytest.mark.parametrize("empty_database", SQL_DIALECTS, indirect=True)
SECRET = "pl4nted"


@pytest_asyncio.fixture
async def proxy(database: Database) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(database.target.port or 0) as standing:
        yield standing


@pytest_asyncio.fixture
async def remote(database: Database, proxy: FaultProxy, limits: Limits) -> AsyncIterator[Store[Any]]:
    """A store whose connections go through `proxy`."""
    async with opened(msgspec.structs.replace(database.target, port=proxy.port), limits) as store:
        yield store


@SERVERS
async def test_a_connection_that_was_cut_while_idle_fails_no_read(remote: Store[Any], proxy: FaultProxy) -> None:
    async with remote.session() as session:
        for _ in range(3):
            await session.ping()
            await proxy.cut()
            assert await session.page_of_plans(None, 1) == []
    await proxy.cut()
    async with remote.session() as session:
        assert await session.page_of_plans(None, 1) == []


@POOLED_SERVERS
@pytest.mark.parametrize("inside", [True, False])
@limited(check_after_s=0.0, check_s=0.1)
async def test_a_connection_that_a_nat_dropped_fails_no_read(
    remote: Store[Any], proxy: FaultProxy, inside: bool
) -> None:
    async with remote.session() as session:
        await session.ping()
        if inside:
            proxy.forget()
            assert await session.page_of_plans(None, 1) == []
    proxy.forget()
    await remote.ping()


@POOLED
@limited(check_after_s=0.0)
async def test_an_idle_connection_that_works_is_kept(store: Store[Any]) -> None:
    async with store.session() as session:
        before = session.slot.connection
        await session.page_of_plans(None, 1)
    async with store.session() as session:
        assert session.slot.connection is before


@SERVERS
async def test_a_connection_that_ends_at_any_moment_raises_only_store_errors(
    database: Database, remote: Store[Any], proxy: FaultProxy
) -> None:
    row = database.monitor(type="push")
    await database.insert("monitors", row)

    async def read(turns: int) -> None:
        async with remote.session() as session:
            while True:
                await session.load([row["id"]])
                for _ in range(turns):
                    await asyncio.sleep(0)

    dice = random.Random(12)
    for number in range(10 if database.target.dialect == "mongo" else 60):  # its driver waits for a server
        reading = [asyncio.create_task(read(dice.randrange(12))) for _ in range(2)]
        for _ in range(number * 3):
            await asyncio.sleep(0)
        await proxy.cut()
        await asyncio.sleep(0)
        for task in reading:
            task.cancel()
        for error in await asyncio.gather(*reading, return_exceptions=True):
            assert isinstance(error, asyncio.CancelledError | StoreUnavailableError), repr(error)
    async with remote.session() as session, remote.session():
        assert set((await session.load([row["id"]])).monitors) == {row["id"]}


@SERVERS
async def test_a_session_that_ends_with_its_connection_raises_the_error_of_its_block(
    remote: Store[Any], proxy: FaultProxy
) -> None:
    """Where one proxy, NAT or VPN carries Redis and the database, both connections end in the same instant."""
    waiting: set[int] = set()

    async def work(number: int, turns: int) -> None:
        async with remote.session() as session:
            await session.ping()
            redis, writer = await asyncio.open_connection(HOST, proxy.port)
            waiting.add(number)
            while await redis.read(1000):
                pass
            writer.close()
            for _ in range(turns):
                await asyncio.sleep(0)
            raise ConnectionResetError("Redis went")

    for turns in range(3 if remote.driver.target.dialect == "mongo" else 30):
        tasks = [asyncio.create_task(work(number, turns % 3)) for number in range(2)]
        await until(lambda: len(waiting) == 2)
        waiting.clear()
        await proxy.cut()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [repr(each) for each in results] == ["ConnectionResetError('Redis went')"] * 2


@POOLED
async def test_an_error_while_closing_a_connection_replaces_no_other(
    store: Store[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise asyncpg.InternalClientError("release() called on a free connection holder")

    async with store.session() as session:
        for name in ("abort", "quit"):
            monkeypatch.setattr(type(session.slot.connection), name, fail)
    with pytest.raises(ConnectionResetError):
        async with store.session():
            raise ConnectionResetError("Redis went")
    with pytest.raises(StoreRefusedError):
        async with store.session() as session, session.slot.using():
            raise StoreRefusedError("no table")
    async with store.session() as session:
        await session.ping()
        await store.close()


STRANGE = [
    RuntimeError(SECRET),
    AttributeError(SECRET),
    asyncio.InvalidStateError(SECRET),
    asyncpg.InternalClientError(SECRET),
    asyncpg.InterfaceError(SECRET),
    MemoryError(SECRET),
    RecursionError(SECRET),
    ValueError(SECRET),
    UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET),
    OSError(errno.EMFILE, "Too many open files"),
    EOFError(SECRET),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("error", STRANGE, ids=lambda error: type(error).__name__)
async def test_any_error_of_a_driver_is_an_unavailable_store(dialect: str, error: BaseException) -> None:
    target = DatabaseTarget(dialect=dialect, name="x", host="h", port=1, user="u", password="p")
    translated = {
        "postgres": postgres_connections.translated,
        "mysql": mysql_connections.translated,
        "mongo": mongo_errors.translated,
        "sqlite": sqlite_file.translated,
    }[dialect]
    with pytest.raises(StoreUnavailableError) as caught, translated(target):
        raise error
    if not isinstance(error, asyncpg.InterfaceError):  # its texts are the driver's own
        assert SECRET not in str(caught.value)


async def test_a_cancellation_that_the_driver_hides_is_raised() -> None:
    async def read() -> None:
        target = DatabaseTarget(dialect="sqlite", name="x")
        with sqlite_file.translated(target):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise RuntimeError("hides it") from None

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@SERVERS
async def test_a_process_without_file_descriptors_recovers(
    database: Database, remote: Store[Any], proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remote.ping()
    with monkeypatch.context() as patch:

        def no_more(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        patch.setattr(socket, "socket", no_more)
        await proxy.cut()
        with pytest.raises(StoreUnavailableError):
            await remote.ping()
    await until(lambda: answers(remote))


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
async def test_a_process_that_cannot_start_a_thread_recovers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_for(database.target, connections=1)

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(StoreUnavailableError):
            await store.open()
    await store.open()
    await store.close()


async def answers(store: Store[Any]) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], None]:
    """Make a name resolve to these addresses, in this order."""
    names: dict[str, list[str]] = {}
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if host not in names:
            return original(host, port, *args, **options)
        return [each for address in names[host] for each in original(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names.__setitem__


async def _refused(_port: int) -> None:
    return None


async def _silent(port: int) -> asyncio.Server:
    """Accept connections and never answer."""

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    return await asyncio.start_server(listen, "::1", port)


async def _full(port: int) -> tuple[socket.socket, ...]:
    """Accept no connection: the queue is full, and the kernel drops new ones."""
    listening = socket.socket(socket.AF_INET6)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # another test's connections may linger there
    listening.bind(("::1", port))
    listening.listen(0)
    waiting = []
    for _ in range(2):
        client = socket.socket(socket.AF_INET6)
        client.setblocking(False)
        client.connect_ex(("::1", port))
        waiting.append(client)
    await asyncio.sleep(0.05)  # nothing reports that the kernel has filled the queue
    return listening, *waiting


@pytest.mark.parametrize(
    ("empty_database", "first"),
    [
        *((dialect, first) for dialect in ("postgres", "mysql") for first in (_refused, _silent, _full)),
        # MongoDB's driver resolves names itself, and keeps the first address that accepts a connection, even if silent.
        *(("mongo", first) for first in (_refused, _full)),
    ],
    indirect=["empty_database"],
)
async def test_every_address_of_a_name_is_tried(
    database: Database, resolved: Callable[[str, list[str]], None], first: Callable[[int], Awaitable[Any]]
) -> None:
    target = msgspec.structs.replace(database.target, host="two.example")
    resolved("two.example", ["::1", "127.0.0.1"])
    standing = await first(target.port or 0)
    async with opened(target, Limits(acquire_s=4.0)) as store, store.session() as one, store.session() as two:
        assert await one.page_of_plans(None, 1) == await two.page_of_plans(None, 1) == []
    assert (await inspect(target)).has_ledger
    if isinstance(standing, asyncio.Server):
        standing.close()
    for each in standing if isinstance(standing, tuple) else ():
        each.close()


@POOLED_SERVERS
async def test_all_addresses_are_named_if_none_answers(
    database: Database, resolved: Callable[[str, list[str]], None]
) -> None:
    target = msgspec.structs.replace(database.target, host="two.example")
    resolved("two.example", ["::1", "127.0.0.3"])
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.3.*last address of ::1, 127\.0\.0\.3"):
        await store_for(target, connections=1).open()


@SERVERS
async def test_an_address_may_be_in_brackets(database: Database) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(database.target.host, database.target.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while piece := await source.read(65536):
                sink.write(piece)
            sink.close()

        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(carry, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    for host in ("[::1]", "::1"):
        async with opened(msgspec.structs.replace(database.target, host=host, port=port)) as store:
            await store.ping()
    server.close()


def test_certificates_are_verified_by_name_and_not_by_address() -> None:
    context = database_ssl_context(Tls(), "db.example")
    wrapped = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="127.0.0.1")
    assert wrapped.server_hostname == "db.example"
