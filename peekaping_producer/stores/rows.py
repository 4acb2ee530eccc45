"""Rows as checks: what every store does with what its statements returned.

Statements name their columns in the order of the domain's structs, so that a row becomes a struct by position:

- monitors: the fields of Monitor, then the proxy id as stored, then the fields of Proxy (NULL where it has no row);
- windows: the monitor's id, then the fields of MaintenanceWindow, the latest changed window first;
- heartbeats: the fields of Heartbeat.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from peekaping_producer.maintenance import MaintenanceWindow
from peekaping_producer.monitor import Check, Heartbeat, Monitor, Proxy
from peekaping_producer.stores import Loaded

Row = Sequence[Any]
S = TypeVar("S", bound=msgspec.Struct)

LARGEST_INTEGER = 2**31 - 1
"""What Postgres' integer holds; no column that we read may hold more."""

_TYPE = Monitor.__struct_fields__.index("type")
_PROXY_ID = len(Monitor.__struct_fields__)
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID of any version as Postgres and Go print it: lower case, with hyphens."""
    return _UUID.fullmatch(text) is not None


def uuids(ids: list[str]) -> list[str]:
    """Those of `ids` that is_uuid() takes, at half the price of asking it for each."""
    return list(filter(_UUID.fullmatch, ids))


class UnreadableError(ValueError):
    """A column holds what no task can be made of. The message names it, and no text that the row holds."""


class Readers(NamedTuple):
    """What makes a struct of a row's columns, given one by one; each may raise UnreadableError."""

    monitor: Callable[..., Monitor]
    proxy: Callable[..., Proxy]
    window: Callable[..., MaintenanceWindow]
    heartbeat: Callable[..., Heartbeat]


TYPED = Readers(Monitor, Proxy, MaintenanceWindow, Heartbeat)
"""For databases that keep their columns' types themselves."""


def push_ids(monitors: Iterable[Row]) -> list[str]:
    """The push monitors among these rows: only their tasks hold the latest heartbeat."""
    return [row[0] for row in monitors if row[_TYPE] == "push"]


def assemble(monitors: Iterable[Row], windows: Iterable[Row], heartbeats: Iterable[Row], readers: Readers) -> Loaded:
    """Put the rows of one load together; whatever is unreadable makes its monitors broken, and no other."""
    parts = _Parts(windows, heartbeats, readers)
    checks: dict[str, Check] = {}
    broken: dict[str, str] = {}
    for row in monitors:
        id_ = row[0]
        try:
            if row[_PROXY_ID] is None and id_ not in parts.monitors:
                checks[id_] = Check(readers.monitor(*row[:_PROXY_ID]))
            else:
                checks[id_] = parts.check(row)
        except UnreadableError as error:
            broken[id_] = str(error)
    return Loaded(checks, broken)


class _Parts:
    """What belongs to some of a batch's monitors. Windows and proxies are shared by many: each is read once."""

    def __init__(self, windows: Iterable[Row], heartbeats: Iterable[Row], readers: Readers) -> None:
        self._readers = readers
        self._windows: dict[str, list[Row]] = {}
        for row in windows:
            self._windows.setdefault(row[0], []).append(row)
        self._heartbeats = {row[1]: row for row in heartbeats}
        self._read: dict[tuple[str, str], Any] = {}
        self.monitors = self._windows.keys() | self._heartbeats.keys()

    def check(self, row: Row) -> Check:
        monitor = self._readers.monitor(*row[:_PROXY_ID])
        proxy_id, proxy = row[_PROXY_ID] or None, row[_PROXY_ID + 1 :]
        found = proxy[0] is not None
        heartbeat = self._heartbeats.get(monitor.id)
        return Check(
            monitor,
            self._shared("proxy", self._readers.proxy, proxy) if found else None,
            tuple([self._shared("window", self._readers.window, w[1:]) for w in self._windows.get(monitor.id, ())]),
            None if heartbeat is None else self._readers.heartbeat(*heartbeat),
            None if found or proxy_id is None else str(proxy_id),
        )

    def _shared(self, kind: str, reader: Callable[..., Any], row: Row) -> Any:
        struct = self._read.get((kind, row[0]))
        if struct is None:
            struct = self._read[kind, row[0]] = reader(*row)
        return struct


def checked(what: str, struct: type[S]) -> Callable[..., S]:
    """A reader for a database that keeps any value in any column: it refuses what does not fit the struct's fields."""
    columns = [(field.name, _CONVERTERS[field.type]) for field in msgspec.structs.fields(struct)]

    def read(*values: Any) -> S:
        fields = []
        for (column, convert), value in zip(columns, values, strict=True):
            try:
                fields.append(convert(value))
            except UnreadableError as error:
                owner = "" if what == "monitor" else f"{what} {values[0]!r}: "
                raise UnreadableError(f"{owner}{column}: got {error}") from None
        return struct(*fields)

    return read


def _text(value: Any) -> str:
    if type(value) is str:  # a driver's own subclass is nothing that a payload can be made of
        return value
    raise UnreadableError(f"{_kind(value)}, takes text")


def _integer(value: Any) -> int:
    if type(value) is int:
        if -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            return value
        raise UnreadableError(f"{value}, takes at most {LARGEST_INTEGER}")
    raise UnreadableError(f"{_kind(value)}, takes an integer")


def _boolean(value: Any) -> bool:
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    raise UnreadableError(f"{value if isinstance(value, int) else _kind(value)}, takes 0 or 1")


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    found = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise UnreadableError(f"{_kind(value)}, takes a time like 2026-11-22 12:37:53.220344+00:00")
    date, time, fraction, sign, hours, minutes = found.groups()
    try:
        local = datetime.fromisoformat(f"{date}T{time}.{(fraction or '')[:6]:0<6}")
        away = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        return (local + away if sign == "-" else local - away).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UnreadableError("a date that is none, takes a time like 2026-11-22 12:37:53.220344+00:00") from None


def _kind(value: Any) -> str:
    kinds = {str: "text", bytes: "bytes", int: "an integer", float: "a fraction"}
    return "NULL" if value is None else kinds.get(type(value), type(value).__name__)


def _or_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


# What Go's drivers write: bun's form, time.String()'s (" +0000 UTC"), RFC 3339, and SQLite's own CURRENT_TIMESTAMP.
_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d+))? ?(?:Z|([+-])(\d{2}):?(\d{2})?)?(?: [A-Z]{3,4})?(?: m=.*)?",
    re.ASCII,
)
_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    int: _integer,
    bool: _boolean,
    datetime: _timestamp,
    str | None: _or_none(_text),
    int | None: _or_none(_integer),
}
