"""Rows as structs.

Statements name their columns in the order of the domain's structs, so that a row becomes a struct by position. No value
is trusted: a column may hold anything that the database allows, and only a row with an unusable value is rejected.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from peekaping_producer.monitors.maintenance import MaintenanceWindow
from peekaping_producer.monitors.monitor import Heartbeat, Monitor, Plan, Proxy, RecentHeartbeat

Row = Sequence[Any]
S = TypeVar("S", bound=msgspec.Struct)

MAX_INTERVAL_S = (2**53 - 1) // 1000
"""Seconds. Redis keeps due times as doubles, and Lua calculates with them: exact up to 2**53 ms."""
MAX_ID_LENGTH = 64
"""Characters. No database makes longer ids itself, and the schedule accepts none."""
_MAX_INTEGER = 2**63 - 1
"""Of Go, in which the workers are written that read the payload."""
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_BOUNDS = tuple(f"{8 * c}-{4 * c}-{4 * c}-{4 * c}-{12 * c}" for c in "0f")
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_text_id(text: str) -> bool:
    """Whether `text` can be an id where the database keeps any text: up to 64 characters, no NUL, no "?" in front.

    A question mark begins the name of an invalid id, see Session.page_of_plans.
    """
    return is_text(text, MAX_ID_LENGTH) and text[0] != "?"


def is_text(text: str, max_length: int) -> bool:
    """Whether every database accepts `text` as a value: not empty, no NUL, no part of a surrogate pair."""
    return 0 < len(text) <= max_length and "\0" not in text and not _SURROGATE.search(text)


def bounds_of_uuids(prefix: str) -> tuple[str, str] | None:
    """The first and the last UUID that begin with `prefix`, which may be in upper case; None if there is none."""
    first, last = (prefix.lower() + fill[len(prefix) :] for fill in _UUID_BOUNDS)
    return (first, last) if UUID.fullmatch(first) else None


def text_or_bytes(value: bytes) -> str | bytes:
    """Text; the bytes where it is not valid UTF-8, so that only their row is broken."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


class UnreadableError(ValueError):
    """A column's value cannot be used in a task. The message names the column and contains no text of the row."""


class RowReaders(NamedTuple):
    """Functions that make a struct of a row's columns, given one by one; each may raise UnreadableError."""

    monitor: Callable[..., Monitor]
    proxy: Callable[..., Proxy]
    window: Callable[..., MaintenanceWindow]
    heartbeat: Callable[..., Heartbeat]


def plan_of(id_: str, active: Any, interval: Any) -> Plan:
    """The plan of a row with these values in its columns, whatever they are."""
    if type(interval) is int and 0 < interval <= MAX_INTERVAL_S:
        if active is True or active == 1:
            return Plan(id_, interval)
        if active is False or active == 0:
            return Plan(id_, 0)
    try:
        if active is None or not _boolean(active):
            return Plan(id_, 0)
    except UnreadableError as error:
        return Plan(id_, 0, f"active: {error}")
    got = interval if type(interval) is int else _kind(interval)
    return Plan(id_, 0, f"interval: expected 1 to {MAX_INTERVAL_S} whole seconds, got {got}")


def row_reader(what: str, struct: type[S], **special: Callable[[Any], Any]) -> Callable[..., S]:
    """A reader that rejects values that do not fit the struct's fields; `special` has converters of single columns."""
    fields = msgspec.structs.fields(struct)
    types = tuple(field.type for field in fields)
    columns = [(field.name, special.get(field.name) or _CONVERTERS[field.type]) for field in fields]
    interval = next((at for at, field in enumerate(fields) if field.name == "interval"), None)

    def read(*values: Any) -> S:
        if tuple(map(type, values)) == types and (interval is None or values[interval] <= MAX_INTERVAL_S):
            return struct(*values)
        converted = []
        for (column, convert), value in zip(columns, values, strict=True):
            try:
                converted.append(convert(value))
            except UnreadableError as error:
                owner = "" if what == "monitor" else f"{what} {values[0]!r:.80}: "
                raise UnreadableError(f"{owner}{column}: {error}") from None
        return struct(*converted)

    return read


def expanded(statement: str, **macros: Callable[[str], str]) -> str:
    """A statement in which each `NAME(argument)` is replaced by the result of the macro of that name."""
    return re.sub(rf"\b({'|'.join(macros)})\(([^()]*)\)", lambda found: macros[found[1]](found[2]), statement)


def _text(value: Any) -> str:
    if type(value) is str:  # a driver's own subclass cannot be encoded in a payload
        return value
    raise UnreadableError(f"expected text, got {_kind(value)}")


def _integer(value: Any) -> int:
    if type(value) is int:
        if -_MAX_INTEGER <= value <= _MAX_INTEGER:
            return value
        raise UnreadableError(f"expected at most {_MAX_INTEGER}, got a larger integer")
    raise UnreadableError(f"expected an integer, got {_kind(value)}")


def _interval(value: Any) -> int:
    if _integer(value) <= MAX_INTERVAL_S:
        return int(value)
    raise UnreadableError(f"expected at most {MAX_INTERVAL_S}, got {value}")


def _boolean(value: Any) -> bool:
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    raise UnreadableError(f"expected 0 or 1, got {value if isinstance(value, int) else _kind(value)}")


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.utcoffset() else value.replace(tzinfo=UTC)
    found = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise UnreadableError(f"expected a time like 2026-11-22 12:37:53.220344+00:00, got {_kind(value)}")
    date, time, fraction, sign, hours, minutes = found.groups()
    try:
        local = datetime.fromisoformat(f"{date}T{time}.{(fraction or '')[:6]:0<6}")
        away = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        return (local + away if sign == "-" else local - away).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UnreadableError("expected a time like 2026-11-22 12:37:53.220344+00:00, got an invalid date") from None


def _kind(value: Any) -> str:
    kinds = {str: "text", bytes: "bytes", int: "an integer", float: "a fraction"}
    return "NULL" if value is None else kinds.get(type(value), type(value).__name__)


def _nullable(convert: Callable[[Any], Any], default: Any = None) -> Callable[[Any], Any]:
    """Convert; NULL becomes `default`, as in Go."""
    return lambda value: default if value is None else convert(value)


# Forms that Go's drivers write: bun's, time.String()'s (" +0000 UTC"), RFC 3339, and SQLite's own CURRENT_TIMESTAMP.
_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d+))? ?(?:Z|([+-])(\d{2}):?(\d{2})?)?(?: [A-Z]{3,4})?(?: m=.*)?",
    re.ASCII,
)
_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    int: _integer,
    bool: _boolean,
    datetime: _timestamp,
    str | None: _nullable(_text),
    int | None: _nullable(_integer),
}
_CREDENTIAL = _nullable(lambda value: _text(value) or None)
_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
ROW_READERS = RowReaders(
    row_reader("monitor", Monitor, interval=_interval),
    row_reader("proxy", Proxy, username=_CREDENTIAL, password=_CREDENTIAL),
    row_reader("maintenance", MaintenanceWindow),
    row_reader(
        "heartbeat",
        Heartbeat,
        msg=_nullable(_text, ""),
        end_time=_nullable(_timestamp, _ZERO_TIME),
        **dict.fromkeys(("ping", "duration", "down_count", "retries"), _nullable(_integer, 0)),
    ),
)
"""Used for every database: the types of columns may have been altered."""
_RECENT_HEARTBEAT = row_reader("heartbeat", RecentHeartbeat, ping=_nullable(_integer, 0))


def recent_heartbeats_of(rows: Iterable[Row]) -> list[RecentHeartbeat]:
    """The rows as structs; without those that cannot be used."""
    found = []
    for row in rows:
        with suppress(UnreadableError):
            found.append(_RECENT_HEARTBEAT(*row))
    return found
