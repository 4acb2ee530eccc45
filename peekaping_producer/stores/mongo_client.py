"""MongoDB's driver, as far as we use it. This file alone knows which driver that is.

It is motor, which is past its end of life: critical fixes end in May 2027. PyMongo's own asyncio client has the same
methods, so that the move is this file's constructor, the `await` that its aggregate() wants, and its close(). Motor is
the default as long as Python 3.11 is supported, where a cancellation can get lost inside the other.
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

from peekaping_producer.errors import ConfigError, StoreError, StoreUnavailableError
from peekaping_producer.stores import connections
from peekaping_producer.stores.connector import LoginRefusedError, addresses_of, log_in
from peekaping_producer.stores.loading import BadRowsError, CanceledError, LateError
from peekaping_producer.targets import DatabaseTarget

# The driver logs each command and its reply at debug, and in these are passwords of proxies.
logging.getLogger("pymongo").setLevel(logging.WARNING)
# It advertises where a host is one of Azure Cosmos DB or Amazon DocumentDB: lines on stderr that are not ours.
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
_MOST_IDLE_MS = 45_000
"""After which an idle connection is replaced: a firewall may drop it without a word."""
_LARGEST_DOCUMENT = 16 * 2**20
_STREAM_BYTES = 64 * 2**20
_ANSWER_WITHIN_S = 1.0
"""What the server has beyond its limit to report that it is over."""
# What Python cannot hold comes as it is, to break one value and not the document: far dates, and texts no UTF-8.
_DECODING: CodecOptions[Document] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)
_LARGEST_BATCH = 100_000
"""Documents in one answer: all of a load's, so that no second round trip is needed."""


class Read(NamedTuple):
    """One document that was read; if it is not `whole`, it is too large or cannot be decoded: only its ids are here."""

    size: int
    """In bytes."""
    document: Document
    whole: bool


class MongoClient:
    """One database, by at most `size` connections; the driver makes them when needed, and replaces broken ones.

    Every method raises StoreError or StoreUnavailableError, without the driver's text where that could hold a document.
    """

    def __init__(self, target: DatabaseTarget, size: int, *, addresses: int = 1) -> None:
        """`addresses` is the number that a host may have: the driver tries them in turn, each for its share of time."""
        self._target = target
        self._client: Any = _driver(target, size, addresses)
        try:
            self._database = self._client.get_database(target.name)
        except InvalidName:
            problem = f'DB_NAME: got {target.name!r}, mongodb takes a name without blanks and any of . / \\ " $'
            raise ConfigError([problem]) from None
        self._batch = _LARGEST_BATCH
        self._raw = self._database.with_options(codec_options=DEFAULT_RAW_BSON_OPTIONS)

    async def aggregate(
        self,
        collection: str,
        pipeline: Sequence[Document],
        *,
        most: int,
        within_s: float,
        expected: Sequence[ObjectId] = (),
    ) -> list["Read"]:
        """The documents that a pipeline ends with; see find."""
        aggregate = partial(self._raw[collection].aggregate, list(pipeline), maxTimeMS=_milliseconds(within_s))
        return await self._read(lambda batch: aggregate(batchSize=batch), most, within_s, expected)

    async def find(
        self,
        collection: str,
        wanted: Document,
        fields: Sequence[str],
        *,
        sort: Sequence[tuple[str, int]] = (("_id", 1),),
        limit: int = 0,
        most: int = _LARGEST_DOCUMENT,
        within_s: float | None = None,
        expected: Sequence[ObjectId] = (),
    ) -> list["Read"]:
        """These fields of the documents that fit, sorted, and the first `limit` only, if any.

        Each is decoded by itself, if it has at most `most` bytes; the server is told the limit of `within_s` too. With
        `expected`, reading ends when it has brought 64 MiB: the ids that were not met then are given as large ones.
        """
        within_s = connections.COMMAND_TIMEOUT if within_s is None else within_s
        options = {"sort": list(sort), "limit": limit, "max_time_ms": _milliseconds(within_s)}
        find = partial(self._raw[collection].find, wanted, list(fields), **options)
        return await self._read(lambda batch: find(batch_size=batch), most, within_s, expected)

    async def _read(
        self, cursor_of: Callable[[int], Any], most: int, within_s: float, expected: Sequence[ObjectId]
    ) -> list["Read"]:
        """The documents of a cursor; of a large one only its ids are kept when it has arrived."""
        with self._translated():
            async with asyncio.timeout(within_s + _ANSWER_WITHIN_S):
                try:
                    return await _stream(cursor_of(self._batch), most, expected)
                except ProtocolError:  # a reply that is too large: MongoDB divides it, servers like it may not
                    self._batch = 2
                    return await _stream(cursor_of(self._batch), most, expected)

    async def collections(self) -> set[str]:
        """The names of all collections."""
        with self._translated():
            async with asyncio.timeout(connections.COMMAND_TIMEOUT):
                return set(await self._database.list_collection_names())

    async def command(self, document: Document) -> Document:
        """The server's reply to one database command; a collection that is to be made may be there."""
        with self._translated():
            async with asyncio.timeout(connections.COMMAND_TIMEOUT):
                try:
                    reply: Document = await self._database.command(document)
                except OperationFailure as error:
                    if error.code != _NAMESPACE_EXISTS:
                        raise
                    reply = {}
                return reply

    async def close(self) -> None:
        """Close every connection; what still runs fails. Raises nothing."""
        # In a thread, since saying goodbye to a server that hangs takes the driver a while.
        with suppress(Exception):
            async with asyncio.timeout(connections.CLOSE_TIMEOUT):
                await asyncio.get_running_loop().run_in_executor(None, self._client.close)

    def _translated(self) -> AbstractContextManager[None]:
        # Whatever it is: a reply that is no BSON ends in errors that are none of the driver's own, and that quote it.
        return connections.translated(partial(_store_error, target=self._target))


async def connect(target: DatabaseTarget, size: int) -> tuple[MongoClient, set[str]]:
    """A client whose login is accepted, and the names of the collections that it sees."""
    addresses = await _most_addresses(target)

    async def attempt(reading: DatabaseTarget) -> tuple[MongoClient, set[str]]:
        client = MongoClient(reading, size, addresses=addresses)
        try:
            return client, await client.collections()
        except BaseException:
            await client.close()
            raise

    _, found = await log_in(target.readings, attempt)
    return found


async def _most_addresses(target: DatabaseTarget) -> int:
    """How many addresses a host of the target has; the driver resolves names by itself, and reports what it cannot."""
    counts = [1 if target.port else 2]
    for host in (target.host or "").split(",") if target.port else ():
        name = host if _IPV6.fullmatch(host) else _PORT.sub("", host)
        with suppress(StoreError):
            counts.append(len(await addresses_of(msgspec.structs.replace(target, host=name))))
    return max(counts)


async def _stream(cursor: Any, most: int, expected: Sequence[ObjectId]) -> list[Read]:
    found, left = [], _STREAM_BYTES
    async for raw in cursor:
        found.append(_decoded(raw, most))
        left -= found[-1].size
        if expected and left < 0:
            met = {each.document.get("_id") for each in found}
            return found + [Read(most + 1, {"_id": id_}, whole=False) for id_ in expected if id_ not in met]
    return found


def _decoded(raw: RawBSONDocument, most: int) -> Read:
    size = len(raw.raw)
    if size <= most:
        with suppress(Exception):  # the driver's own errors, and what its classes raise for values they do not expect
            return Read(size, bson.decode(raw.raw, _DECODING), whole=True)
    ids: Document = {}
    with suppress(Exception):
        ids = {name: raw[name] for name in ("_id", "monitor_id") if name in raw}
    return Read(size, ids, whole=False)


def _driver(target: DatabaseTarget, size: int, addresses: int) -> Any:
    params = _checked_params(target)
    milliseconds = int(connections.ACQUIRE_TIMEOUT * 1000)
    # One connection finds the server and another is used: the addresses that do not answer cost their time twice.
    most = min(milliseconds, _milliseconds(connections.COMMAND_TIMEOUT / 2))
    share = milliseconds if addresses == 1 else most // addresses
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
            maxIdleTimeMS=_MOST_IDLE_MS,
            socketTimeoutMS=_milliseconds(connections.COMMAND_TIMEOUT + _ANSWER_WITHIN_S),
            appname="peekaping-producer",
            **params,
            **_tls_options(target),
        )
    except (ConfigurationError, ValueError, TypeError, OSError):
        raise ConfigError(
            [f"DATABASE_URL: got options that MongoDB's driver does not take together: {_named(params)}"]
        ) from None


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _checked_params(target: DatabaseTarget) -> dict[str, Any]:
    problems, params = [], {}
    for given, value in target.params.items():
        name = _PARAMS.get(given.lower())
        if name is None:
            instead = "; TLS is asked for by DB_TLS" if given.lower().startswith(("tls", "ssl")) else ""
            problems.append(
                f"DATABASE_URL: got {given}=..., mongodb takes tls, {', '.join(sorted(_PARAMS.values()))}{instead}"
            )
            continue
        try:
            common.validate(name.lower(), value)
            params[name] = value  # the client validates again, and takes no tags that were
            if name == "authMechanism" and value not in _MECHANISMS:
                raise ValueError
        except (ConfigurationError, ValueError, TypeError):
            problems.append(f"DATABASE_URL: got a value of {name} that MongoDB's driver does not take")
    if bool(target.user) != bool(target.password):
        problems.append("DATABASE_URL: mongodb takes both user and password, or neither")
    if problems:
        raise ConfigError(problems)
    return params


def _tls_options(target: DatabaseTarget) -> dict[str, Any]:
    """The driver reads certificate files itself, of which one must hold both certificate and key."""
    tls = target.tls
    if tls is None:
        return {"tls": False}
    if tls.key_file and tls.key_file != tls.cert_file:
        raise ConfigError(
            ["DB_TLS_KEY_FILE: is set, and mongodb takes the key in the same file as the certificate: DB_TLS_CERT_FILE"]
        )
    connections.ssl_context(tls)  # names a file that cannot be used
    options = {
        "tls": True,
        "tlsAllowInvalidCertificates": not tls.verify,
        "tlsAllowInvalidHostnames": not tls.verify,
        "tlsCAFile": tls.ca_file,
        "tlsCertificateKeyFile": tls.cert_file,
    }
    return {name: value for name, value in options.items() if value is not None}


def _store_error(error: Exception, target: DatabaseTarget) -> StoreError:
    where = connections.where(target)
    match error:
        case OperationFailure(code=code) if code in _AUTHENTICATION_FAILED:
            return LoginRefusedError(
                f"{where}: the server says: authentication failed (authSource is admin unless set)"
            )
        case OperationFailure(code=code) if code == _UNAUTHORIZED:
            return StoreError(f"{where}: the server says: this user may not do that")
        case OperationFailure(code=code) if code == _MECHANISM_UNAVAILABLE:
            return StoreError(f"{where}: the server does not offer this user's way to authenticate; see authMechanism")
        case ExecutionTimeout() | TimeoutError():
            late = CanceledError if isinstance(error, ExecutionTimeout) else LateError
            return late(f"{where}: no answer in time")
        case ConnectionFailure() if "certificate verify failed" in str(error):
            return StoreError(f"{where}: the server's certificate is not trusted")
        case ConnectionFailure() if error.timeout:
            return StoreUnavailableError(f"{where}: no answer in time ({_reason(error)})")
        case ConnectionFailure() | OSError():
            return StoreUnavailableError(f"{where}: cannot connect, or the connection broke ({_reason(error)})")
        case InvalidOperation():
            return StoreUnavailableError(f"{where}: the store is not open")
        case ConfigurationError() if target.port is None:
            return StoreUnavailableError(f"{where}: its servers cannot be found in DNS")
        case ConfigurationError():
            return StoreError(f"{where}: the driver cannot use this server; it is too old")
        case OperationFailure(code=code):
            kind = BadRowsError if code in _BAD_ROWS else StoreUnavailableError
            return kind(f"{where}: the server failed (error {code})")
        case _:
            return StoreUnavailableError(f"{where}: the driver failed ({type(error).__name__})")


def _reason(error: Exception) -> str:
    """What of the driver's long text, which lists each server's state, a user can act on."""
    return next((each for each in _REASONS if each.lower() in str(error).lower()), type(error).__name__)


def _named(params: dict[str, Any]) -> str:
    return ", ".join(sorted(params)) or "none"
