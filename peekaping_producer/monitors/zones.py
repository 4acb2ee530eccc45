"""Time zones: lookup by name as in Go's `time.LoadLocation`, and the instants at which their UTC offset changes."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

MAX_NAME_LENGTH = 255
"""Characters: the limit of a file name. The longest name of an IANA zone has 32."""

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC) + _DAY, datetime.max.replace(tzinfo=UTC) - _DAY
_STEP = 2 * _DAY
"""No zone has changed its clocks twice within less than 6 days and 23 hours."""


def named(name: str) -> ZoneInfo | None:
    """Return the zone `name` of the IANA database, None if there is none; "" is UTC.

    Names come from outside, so only the folders of the zone data are read: absolute paths and `..` are refused. As in
    Go, redundant slashes and dots are ignored (`Europe//Berlin`, `./Europe/Berlin`), and names are case-sensitive.
    """
    return _named(name) if len(name) <= MAX_NAME_LENGTH else None  # long names would fill the cache


@lru_cache(maxsize=1024)
def _named(name: str) -> ZoneInfo | None:
    *folders, last = (name or "UTC").split("/")
    if ".." in name or name.startswith(("/", "\\")) or last in {"", "."}:
        return None
    try:
        return ZoneInfo("/".join([folder for folder in folders if folder not in {"", "."}] + [last]))
    except Exception:  # the lookup imports packages and opens files by that name: any error is possible
        return None


@lru_cache(maxsize=8)
def of_server(tz: str) -> ZoneInfo | None:
    """Return the zone of the process from the setting TZ; None if it is unknown.

    `tz` is a name, the absolute path of a zone file, or either after a colon (POSIX). The setting is trusted.
    """
    tz = tz.removeprefix(":")
    if not tz.startswith("/"):
        return named(tz)
    try:
        with open(tz, "rb") as file:
            return ZoneInfo.from_file(file, key=tz)
    except Exception:  # no such file, or a malformed one
        return None


def next_change(zone: tzinfo | None, after: datetime, until: datetime) -> datetime | None:
    """Return the first instant later than `after` and not later than `until` at which `zone` changes its UTC offset.

    All instants are aware and in UTC; None if there is no such change.
    """
    for year in range(after.year, until.year + 1):
        changes = _changes(zone, year)
        index = bisect_right(changes, after)
        if index < len(changes):
            return changes[index] if changes[index] <= until else None
    return None


@lru_cache(maxsize=4096)
def _changes(zone: tzinfo | None, year: int) -> tuple[datetime, ...]:
    """Return the changes from the start of a year (UTC, exclusive) to that of the next (inclusive), to the second.

    Python does not expose a zone's changes, so they are searched: offsets two days apart, then by bisection.
    """
    end = datetime(year + 1, 1, 1, tzinfo=UTC) if year < _LAST.year else _LAST
    before = max(datetime(year, 1, 1, tzinfo=UTC), _FIRST)
    changes = []
    while before < end:
        after = min(before + _STEP, end)
        if before.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            changes.append(_change_between(zone, before, after))
        before = after
    return tuple(changes)


def _change_between(zone: tzinfo | None, before: datetime, after: datetime) -> datetime:
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
