"""MongoDB's driver. No other module imports it.

It is motor, which is deprecated: critical fixes end in May 2027. PyMongo's own asyncio client has the same methods, so
that a move changes only the constructor, the call of aggregate() (to be awaited) and close() in this file. Motor stays
while Python 3.11 is supported, where PyMongo's client can lose a cancellation.
"""

import asyncio
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import bson
import msgspec
from bson import ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import common
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    InvalidOperation,
    OperationFailure,
    ProtocolError,
)

from peekaping_producer.errors import ConfigError, StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.stores.errors import (
    BadRowsError,
    LoginRefusedError,
    StatementCanceledError,
    as_store_errors,
)
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.server_driver import addresses_of, log_in
from peekaping_producer.stores.tls import database_ssl_context
from peekaping_producer.targets import DatabaseTarget

# The driver logs each command and its reply at debug, with passwords of proxies in them.
logging.getLogger("pymongo").setLevel(logging.WARNING)
# The driver prints an advertisement to stderr for hosts of Azure Cosmos DB and Amazon DocumentDB.
warnings.filterwarnings("ignore", r"You appear to be connected to a (CosmosDB|DocumentDB) cluster", UserWarning)

Document = dict[str, Any]

_PARAMS = {
    name.lower(): name
    for name in (
        *("authSource", "authMechanism", "replicaSet", "readPreference", "readPreferenceTags", "maxStalenessSeconds"),
        *("directConnection", "retryReads"),
    )
}
_MECHANISMS = {"DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256"}
_UNAUTHORIZED, _NAMESPACE_EXISTS, _MECHANISM_UNAVAILABLE = 13, 48, 334
_AUTHENTICATION_FAILED = {18, 8000}
"""The second is Atlas's."""
_BAD_ROWS = {10334, 17419, 17420, 4031700, 292, 96, 22, 2, 14, 9, 4}
"""Documents too large, memory exceeded, corrupt or unexpected values."""
_IPV6 = re.compile("[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")
_PORT = re.compile(":[0-9]+$")
_REASONS = (
    "connection refused",
    "name or service not known",
    "SSL handshake failed",
    "no replica set members",
    "timed out",
)
_MAX_IDLE_MS = 45_000
"""After which an idle connection is replaced: a firewall may drop it silently."""
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
        """`addresses` is the number that a host may have: the driver tries each of them for its share of the time."""
        self._target = target
        self._limits = limits
        self._client: Any = _driver(target, size, limits, addresses)
        try:
            self._database = self._client.get_database(target.name)
        except InvalidName:
            problem = f'DB_NAME: expected a name without spaces and . / \\ " $, got {target.name!r}'
            raise ConfigError([problem]) from None
        self._batch = _MAX_DOCUMENTS_PER_REPLY
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
        aggregate = partial(self._raw[collection].aggregate, list(pipeline), maxTimeMS=_milliseconds(timeout_s))
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
        options = {"sort": list(sort), "limit": limit, "max_time_ms": _milliseconds(timeout_s)}
        find = partial(self._raw[collection].find, wanted, list(fields), **options)
        return await self._read(lambda batch: find(batch_size=batch), max_bytes, timeout_s, expected)

    async def _read(
        self, cursor_of: Callable[[int], Any], max_bytes: int, timeout_s: float, expected: Sequence[ObjectId]
    ) -> list[ReadDocument]:
        """The documents of a cursor; of a large one only its ids."""
        with translated(self._target):
            async with asyncio.timeout(timeout_s + self._limits.answer_s):
                try:
                    return await self._stream(cursor_of(self._batch), max_bytes, expected)
                except ProtocolError:  # a reply is too large: MongoDB would split it, compatible servers may not
                    self._batch = 2
                    return await self._stream(cursor_of(self._batch), max_bytes, expected)

    async def _stream(self, cursor: Any, max_bytes: int, expected: Sequence[ObjectId]) -> list[ReadDocument]:
        found, left = [], self._limits.stream_bytes
        async for raw in cursor:
            found.append(_decoded(raw, max_bytes))
            left -= found[-1].size
            if expected and left < 0:
                met = {each.document.get("_id") for each in found}
                return found + [
                    ReadDocument(max_bytes + 1, {"_id": id_}, whole=False) for id_ in expected if id_ not in met
                ]
        return found

    async def collections(self) -> set[str]:
        """The names of all collections."""
        with translated(self._target):
            async with asyncio.timeout(self._limits.command_s):
                return set(await self._database.list_collection_names())

    async def command(self, document: Document) -> Document:
        """The server's reply to one database command; to create a collection that exists is no error."""
        with translated(self._target):
            async with asyncio.timeout(self._limits.command_s):
                try:
                    reply: Document = await self._database.command(document)
                except OperationFailure as error:
                    if error.code != _NAMESPACE_EXISTS:
                        raise
                    reply = {}
                return reply

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
        with suppress(Exception):
            async with asyncio.timeout(self._limits.close_s):
                await asyncio.get_running_loop().run_in_executor(None, self._client.close)


async def connect(target: DatabaseTarget, size: int, limits: Limits) -> MongoDatabaseClient:
    """A client whose login is accepted."""
    addresses = await _max_addresses(target, limits)

    async def attempt(candidate: DatabaseTarget) -> MongoDatabaseClient:
        client = MongoDatabaseClient(candidate, size, limits, addresses=addresses)
        try:
            await client.collections()
        except BaseException:
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
    with suppress(Exception):
        ids = {name: raw[name] for name in ("_id", "monitor_id") if name in raw}
    return ReadDocument(size, ids, whole=False)


def _driver(target: DatabaseTarget, size: int, limits: Limits, addresses: int) -> Any:
    params = _checked_params(target)
    milliseconds = _milliseconds(limits.acquire_s)
    # One connection finds the server and another is used: addresses that do not answer cost their time twice.
    longest = min(milliseconds, _milliseconds(limits.command_s / 2))
    share = milliseconds if addresses == 1 else longest // addresses
    if target.port is None:
        hosts: str | list[str] = f"mongodb+srv://{quote_plus(target.host or '')}/"
    else:
        host = target.host or ""
        hosts = f"{f'[{host}]' if _IPV6.fullmatch(host) else host}:{target.port}".split(",")
    try:
        return AsyncIOMotorClient(
            hosts,
            username=target.user or None,
            password=target.password or None,
            maxPoolSize=size,
            minPoolSize=0,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=share,
            maxIdleTimeMS=_MAX_IDLE_MS,
            socketTimeoutMS=_milliseconds(limits.command_s + limits.answer_s),
            appname="peekaping-producer",
            **params,
            **_tls_options(target),
        )
    except (ConfigurationError, ValueError, TypeError, OSError):
        given = ", ".join(sorted(params)) or "none"
        raise ConfigError([f"DATABASE_URL: the driver rejects this combination of parameters: {given}"]) from None


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _checked_params(target: DatabaseTarget) -> dict[str, Any]:
    problems, params = [], {}
    for given, value in target.params.items():
        name = _PARAMS.get(given.lower())
        if name is None:
            known = ", ".join(sorted(_PARAMS.values()))
            instead = "; set DB_TLS for TLS" if given.lower().startswith(("tls", "ssl")) else ""
            problems.append(f"DATABASE_URL: expected tls, {known}, got {given}=...{instead}")
            continue
        try:
            common.validate(name.lower(), value)
            params[name] = value  # the client validates again, and rejects validated tags
            if name == "authMechanism" and value not in _MECHANISMS:
                raise ValueError
        except (ConfigurationError, ValueError, TypeError):
            problems.append(f"DATABASE_URL: unsupported value of {name}")
    if bool(target.user) != bool(target.password):
        problems.append("DATABASE_URL: expected both user and password, or neither, got one of them")
    if problems:
        raise ConfigError(problems)
    return params


def _tls_options(target: DatabaseTarget) -> dict[str, Any]:
    """The driver reads certificate files itself; one must contain both certificate and key."""
    tls = target.tls
    if tls is None:
        return {"tls": False}
    if tls.key_file and tls.key_file != tls.cert_file:
        raise ConfigError(
            ["DB_TLS_KEY_FILE: unsupported for MongoDB: write certificate and key into one file, DB_TLS_CERT_FILE"]
        )
    database_ssl_context(tls)  # raises for a file that cannot be used
    options = {
        "tls": True,
        "tlsAllowInvalidCertificates": not tls.verify,
        "tlsAllowInvalidHostnames": not tls.verify,
        "tlsCAFile": tls.ca_file,
        "tlsCertificateKeyFile": tls.cert_file,
    }
    return {name: value for name, value in options.items() if value is not None}


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what the driver raises as a StoreError, also for a reply that is not BSON."""
    return as_store_errors(target, partial(_store_error, is_srv=target.port is None))


def _store_error(error: Exception, prefix: str, *, is_srv: bool) -> StoreError | None:
    match error:
        case OperationFailure(code=code) if code in _AUTHENTICATION_FAILED:
            return LoginRefusedError(
                f"{prefix}: the server reports: authentication failed (authSource is admin unless set)"
            )
        case OperationFailure(code=code) if code == _UNAUTHORIZED:
            return StoreRefusedError(f"{prefix}: the server reports: this user may not do that")
        case OperationFailure(code=code) if code == _MECHANISM_UNAVAILABLE:
            return StoreRefusedError(f"{prefix}: the server does not offer this authMechanism for this user")
        case ExecutionTimeout():
            return StatementCanceledError(f"{prefix}: no answer in time")
        case ConnectionFailure() if "certificate verify failed" in str(error):
            return StoreRefusedError(f"{prefix}: the server's certificate is not trusted")
        case ConnectionFailure() if error.timeout:
            return StoreUnavailableError(f"{prefix}: no answer in time ({_reason(error)})")
        case ConnectionFailure():
            return StoreUnavailableError(f"{prefix}: cannot connect, or the connection broke: {_reason(error)}")
        case InvalidOperation():
            return StoreUnavailableError(f"{prefix}: the store is not open")
        case ConfigurationError() if is_srv:
            return StoreUnavailableError(f"{prefix}: its servers cannot be found in DNS")
        case ConfigurationError():
            return StoreRefusedError(f"{prefix}: the driver cannot use this server, which is too old")
        case OperationFailure(code=code):
            kind = BadRowsError if code in _BAD_ROWS else StoreUnavailableError
            return kind(f"{prefix}: the server failed (error {code})")
        case _:
            return None


def _reason(error: Exception) -> str:
    """The part of the driver's long text that helps; the rest lists the state of each server."""
    return next((each for each in _REASONS if each.lower() in str(error).lower()), type(error).__name__)
