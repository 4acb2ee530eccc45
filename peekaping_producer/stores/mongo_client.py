"""One database of MongoDB: its documents, read and decoded one by one."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import bson
import msgspec
from bson import ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from pymongo.errors import InvalidName, OperationFailure, ProtocolError

from peekaping_producer.errors import ConfigError, StoreError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo_errors import translated
from peekaping_producer.stores.mongo_options import driver_client, milliseconds
from peekaping_producer.stores.server_driver import addresses_of, log_in
from peekaping_producer.targets import DatabaseTarget

Document = dict[str, Any]
T = TypeVar("T")

_IPV6 = re.compile("[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")
_PORT = re.compile(":[0-9]+$")
_NAMESPACE_EXISTS = 48
_MAX_DOCUMENT_BYTES = 16 * 2**20
# What Python cannot represent (far dates, invalid UTF-8) must break one value and not the document.
_DECODING: CodecOptions[Document] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)
_MAX_DOCUMENTS_PER_REPLY = 100_000
"""Documents in one answer: all of a load's, so that no second round trip is needed."""


class ReadDocument(NamedTuple):
    """One document. If it is not `whole`, it is too large or cannot be decoded, and contains only its ids."""

    size: int
    """In bytes."""
    document: Document
    whole: bool


class MongoDatabaseClient:
    """One database, by at most `size` connections; the driver makes them when needed, and replaces broken ones.

    Every method raises StoreError or StoreUnavailableError, without the driver's text where that could quote a
    document.
    """

    def __init__(self, target: DatabaseTarget, size: int, limits: Limits, *, addresses: int = 1) -> None:
        """See driver_client. Raises ConfigError."""
        self._target = target
        self._limits = limits
        self._client: Any = driver_client(target, size, limits, addresses)
        try:
            self._database = self._client.get_database(target.name)
        except InvalidName:
            problem = f'DB_NAME: expected a name without spaces and . / \\ " $, got {target.name!r}'
            raise ConfigError([problem]) from None
        self._batch = _MAX_DOCUMENTS_PER_REPLY
        self._free = asyncio.Semaphore(size)
        self._abandoned: set[asyncio.Task[Any]] = set()
        """Operations whose callers gave up, and which have not ended."""
        self._raw = self._database.with_options(codec_options=DEFAULT_RAW_BSON_OPTIONS)

    async def aggregate(
        self,
        collection: str,
        pipeline: Sequence[Document],
        *,
        max_bytes: int,
        timeout_s: float,
        expected: Sequence[ObjectId] = (),
    ) -> list[ReadDocument]:
        """The documents that a pipeline ends with; see find."""
        aggregate = partial(self._raw[collection].aggregate, list(pipeline), maxTimeMS=milliseconds(timeout_s))
        return await self._read(lambda batch: aggregate(batchSize=batch), max_bytes, timeout_s, expected)

    async def find(
        self,
        collection: str,
        wanted: Document,
        fields: Sequence[str],
        *,
        sort: Sequence[tuple[str, int]] = (("_id", 1),),
        limit: int = 0,
        max_bytes: int = _MAX_DOCUMENT_BYTES,
        timeout_s: float | None = None,
        expected: Sequence[ObjectId] = (),
    ) -> list[ReadDocument]:
        """These fields of the documents that match, sorted, and the first `limit` only, if any.

        Each is decoded by itself, if it has at most `max_bytes`; `timeout_s` is the server's limit too. With
        `expected`, reading ends after `stream_bytes`: the ids that were not met by then are returned as large ones.
        """
        timeout_s = self._limits.command_s if timeout_s is None else timeout_s
        options = {"sort": list(sort), "limit": limit, "max_time_ms": milliseconds(timeout_s)}
        find = partial(self._raw[collection].find, wanted, list(fields), **options)
        return await self._read(lambda batch: find(batch_size=batch), max_bytes, timeout_s, expected)

    async def _read(
        self, cursor_of: Callable[[int], Any], max_bytes: int, timeout_s: float, expected: Sequence[ObjectId]
    ) -> list[ReadDocument]:
        """The documents of a cursor; of a large one only its ids."""

        async def read() -> list[ReadDocument]:
            try:
                return await self._stream(cursor_of(self._batch), max_bytes, expected)
            except ProtocolError:  # a reply is too large: MongoDB would split it, compatible servers may not
                self._batch = 2
                return await self._stream(cursor_of(self._batch), max_bytes, expected)

        return await self._call(read, timeout_s + self._limits.answer_s)

    async def _call(self, operation: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Run an operation of the driver, for at most `timeout_s`. Raises StoreError.

        An operation that its caller abandons goes on in a thread of the driver, until the server answers or the time
        limit of the socket is over. Until then it counts as one of `size`: more of them would use up the threads, which
        all stores share, and would be sent once the server answers again.
        """
        with translated(self._target):
            async with asyncio.timeout(timeout_s):
                await self._free.acquire()
                task = asyncio.create_task(operation())
                task.add_done_callback(self._ended)
                try:
                    return await asyncio.shield(task)
                except asyncio.CancelledError:
                    if not task.done():
                        self._abandoned.add(task)
                    raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._free.release()
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # so that asyncio does not report it as never retrieved

    async def _stream(self, cursor: Any, max_bytes: int, expected: Sequence[ObjectId]) -> list[ReadDocument]:
        found: list[ReadDocument] = []
        left = self._limits.stream_bytes
        async for raw in cursor:
            if asyncio.current_task() in self._abandoned:
                return found
            found.append(_decoded(raw, max_bytes))
            left -= found[-1].size
            if expected and left < 0:
                met = {read.document.get("_id") for read in found}
                return found + [
                    ReadDocument(max_bytes + 1, {"_id": id_}, whole=False) for id_ in expected if id_ not in met
                ]
        return found

    async def collections(self) -> set[str]:
        """The names of all collections."""
        limit_s = self._limits.command_s

        async def read() -> set[str]:
            return set(await self._database.list_collection_names(maxTimeMS=milliseconds(limit_s)))

        return await self._call(read, limit_s + self._limits.answer_s)

    async def command(self, document: Document) -> Document:
        """The server's reply to one database command; to create a collection that exists is no error."""

        async def run() -> Document:
            try:
                reply: Document = await self._database.command(document)
            except OperationFailure as error:
                if error.code != _NAMESPACE_EXISTS:
                    raise
                reply = {}
            return reply

        return await self._call(run, self._limits.command_s)

    # For a pool, one client is all of its connections: it checks and replaces its own ones.
    is_dead = False

    async def check(self) -> None:
        """See pool.Connection."""

    def abort(self) -> None:
        """Other sessions use the client."""

    async def quit(self) -> None:
        """Other sessions use the client."""

    async def close(self) -> None:
        """Close every connection; operations in progress fail. Raises nothing."""
        # In a thread: the driver waits for a server that hangs.
        with suppress(Exception):  # of a client that is not used any more
            async with asyncio.timeout(self._limits.close_s):
                await asyncio.get_running_loop().run_in_executor(None, self._client.close)


async def connect(target: DatabaseTarget, size: int, limits: Limits) -> MongoDatabaseClient:
    """A client whose login is accepted."""
    addresses = await _max_addresses(target, limits)

    async def attempt(candidate: DatabaseTarget) -> MongoDatabaseClient:
        client = MongoDatabaseClient(candidate, size, limits, addresses=addresses)
        try:
            await client.collections()
        except BaseException:  # also if it is canceled
            await client.close()
            raise
        return client

    _, client = await log_in(target.candidates, attempt)
    return client


async def _max_addresses(target: DatabaseTarget, limits: Limits) -> int:
    """The largest number of addresses of a host. Errors are ignored: the driver resolves names too and reports them."""
    counts = [1 if target.port else 2]
    for host in (target.host or "").split(",") if target.port else ():
        name = host if _IPV6.fullmatch(host) else _PORT.sub("", host)
        with suppress(StoreError):
            counts.append(len(await addresses_of(msgspec.structs.replace(target, host=name), limits.acquire_s)))
    return max(counts)


def _decoded(raw: RawBSONDocument, max_bytes: int) -> ReadDocument:
    size = len(raw.raw)
    if size <= max_bytes:
        with suppress(Exception):  # the driver's own errors, and what its classes raise for values they do not expect
            return ReadDocument(size, bson.decode(raw.raw, _DECODING), whole=True)
    ids: Document = {}
    with suppress(Exception):  # as above: then the document has no id
        ids = {name: raw[name] for name in ("_id", "monitor_id") if name in raw}
    return ReadDocument(size, ids, whole=False)
