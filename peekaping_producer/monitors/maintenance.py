"""Maintenance windows: whether a monitor is under maintenance at an instant.

The rules are those of Peekaping's server, except for clock changes and for windows that cross midnight: see `_in_cron`,
`_in_interval` and `_instant_ms`.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from peekaping_producer.errors import MaintenanceError
from peekaping_producer.monitors import cron, zones

_UTC = ZoneInfo("UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_MAX_LOOK_BACK = cron.SEARCH_YEARS * 366 * 24 * 60  # minutes; an expression without a run in them never runs
_DATE_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{1,2}):([0-9]{2})")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")

_SERVER_ZONES = frozenset({"SAME_AS_SERVER", "Local"})
"""Names for the zone of the process (setting TZ)."""

_TIMES_OF_DAY = frozenset({"recurring-weekday", "recurring-day-of-month"})
"""Strategies with times of day. The API server converts these to cron and duration; MongoDB holds nothing else."""


class MaintenanceWindow(msgspec.Struct, frozen=True, gc=False):
    """One row of `maintenances`, as the API server stores it.

    None is NULL: not set. An empty text is a malformed date or time; for `cron` and `timezone` it is the same as None.
    """

    id: str
    active: bool
    strategy: str
    start_date_time: str | None = None
    end_date_time: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    interval_day: int | None = None
    cron: str | None = None
    timezone: str | None = None
    duration: int | None = None
    """Minutes."""


def under_maintenance(
    windows: Iterable[MaintenanceWindow],
    now_ms: int,
    server_zone: str,
    on_error: Callable[[MaintenanceWindow, MaintenanceError], None],
) -> bool:
    """Whether any of the windows is active. One that cannot be evaluated is reported and counts as not active.

    An unknown time zone is reported too; the window is then evaluated in UTC, as upstream does.
    """
    for window in windows:
        if window.active and not _is_known(window.timezone):
            zone = f"timezone: expected an IANA zone, got {window.timezone!r:.40}; UTC is used"
            on_error(window, MaintenanceError(f"maintenance {window.id}: {zone}"))
        try:
            if is_active(window, now_ms, server_zone):
                return True
        except MaintenanceError as error:
            on_error(window, error)
    return False


def is_active(window: MaintenanceWindow, now_ms: int, server_zone: str) -> bool:
    """Whether the window is active at `now_ms` (ms since the Unix epoch).

    `server_zone` is the process's TZ setting, for windows in the server's zone; empty or unknown means UTC.
    Raises MaintenanceError, with the window's id, if a value that its strategy needs is missing or malformed.
    """
    if not window.active:
        return False
    if window.strategy == "manual":
        return True
    zone = _zone_of(window.timezone or "UTC", server_zone)
    try:
        within = _within_dates(window, now_ms, zone)
        if window.strategy == "single":
            return within
        # Also evaluated outside the dates, so that a window that can never be active is reported in advance.
        recurs = _in_interval if window.strategy == "recurring-interval" else _in_cron
        return recurs(window, now_ms, zone) and within
    except ValueError as error:  # CronError is one
        raise MaintenanceError(f"maintenance {window.id}: {error}") from None
    except OverflowError:
        raise MaintenanceError(f"maintenance {window.id}: cannot be evaluated at {now_ms} ms: out of range") from None


def _within_dates(window: MaintenanceWindow, now_ms: int, zone: ZoneInfo) -> bool:
    """Both ends are exclusive. A malformed start or end counts as past."""
    if window.start_date_time is None or window.end_date_time is None:
        raise ValueError("start_date_time and end_date_time: expected YYYY-MM-DDTHH:MM in both, got none")
    start, end = _read_date_time(window.start_date_time), _read_date_time(window.end_date_time)
    if end is None:
        return False
    return (start is None or _instant_ms(start, zone) < now_ms) and now_ms < _instant_ms(end, zone)


def _in_cron(window: MaintenanceWindow, now_ms: int, zone: ZoneInfo) -> bool:
    """Active for the duration from each run of the expression; weekdays and days of month are stored as cron, too.

    A duration that comes from times of day is counted on the zone's clocks, so that the window ends at its end time
    also if they change in between; any other in elapsed minutes, as upstream always does.
    """
    if not window.cron or not window.duration or window.duration <= 0:
        return False
    schedule = cron.parse(window.cron)
    duration = timedelta(minutes=min(window.duration, _MAX_LOOK_BACK))
    now = _EPOCH + now_ms // 1000 * _SECOND
    if _has_times_of_day(window):
        now = now.astimezone(schedule.zone or zone).replace(tzinfo=None)
        run = _first_clock_time(schedule, now - duration)
    else:
        run = _first_run(schedule, now - duration, zone)
    return run is not None and run <= now


def _has_times_of_day(window: MaintenanceWindow) -> bool:
    given = window.start_time and window.end_time and window.strategy != "cron"
    return window.strategy in _TIMES_OF_DAY or bool(given)


# Arguments are whole seconds, so that all monitors of a batch that share a window share these results.


@lru_cache(maxsize=1024)
def _first_run(schedule: cron.CronExpression, after: datetime, zone: ZoneInfo) -> datetime | None:
    return schedule.next(after.astimezone(zone))


@lru_cache(maxsize=1024)
def _first_clock_time(schedule: cron.CronExpression, after: datetime) -> datetime | None:
    return schedule.next_clock_time(after)


def _in_interval(window: MaintenanceWindow, now_ms: int, zone: ZoneInfo) -> bool:
    """Active between start_time and end_time (exclusive) on each interval_day-th day, by the zone's calendar.

    A day lasts from the start's time of day to the same time on the next date, also across clock changes (upstream:
    24 hours). A window that crosses midnight belongs to the date on which it begins, counted from the start's date
    (upstream: its two parts belong to different days).
    """
    if window.interval_day is None or window.interval_day <= 0:
        raise ValueError(f"interval_day: expected a positive number of days, got {window.interval_day}")
    opens, closes = _read_time("start_time", window.start_time), _read_time("end_time", window.end_time)
    start = _read_date_time(window.start_date_time or "")
    now = (_EPOCH + now_ms * _MILLISECOND).astimezone(zone).replace(tzinfo=None)
    overnight = closes < opens
    for date in (now.date(), now.date() - _DAY) if overnight else (now.date(),):
        begins, ends = datetime.combine(date, opens), datetime.combine(date + _DAY * overnight, closes)
        if _instant_ms(begins, zone) < now_ms < _instant_ms(ends, zone):
            if start is None:  # without a first day, only "every day" has a meaning
                return window.interval_day == 1
            day = (date - start.date() if overnight else now - start) // _DAY
            return day % window.interval_day == 0
    return False


def _read_date_time(text: str) -> datetime | None:
    return _parse_date_time(text[:17])  # enough to see that a text is too long; keeps the cache small


def _read_time(name: str, text: str | None) -> time:
    parsed = None if text is None else _parse_time(text[:6])
    if parsed is None:
        raise ValueError(f"{name}: expected HH:MM, got {text!r:.40}")
    return parsed


@lru_cache(maxsize=1024)
def _parse_time(text: str) -> time | None:
    match = _TIME.fullmatch(text)
    try:
        return time(int(match[1]), int(match[2])) if match else None
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _parse_date_time(text: str) -> datetime | None:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _instant_ms(clock: datetime, zone: ZoneInfo) -> int:
    """Return the instant (ms since the Unix epoch) at which the zone's clocks show `clock` (naive).

    For a time that is repeated or skipped, the result is Go's: as_utc minus the offset that is in force at as_utc minus
    the offset at as_utc.
    """
    as_utc = clock.replace(tzinfo=UTC)
    try:
        guess = as_utc - _offset(as_utc, zone)
        instant = as_utc - _offset(guess, zone)
    except OverflowError:  # the first or last day of datetime: its hours do not matter
        instant = as_utc
    return (instant - _EPOCH) // _MILLISECOND


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _is_known(name: str | None) -> bool:
    return not name or name in _SERVER_ZONES or zones.named(name) is not None


def _zone_of(name: str, server_zone: str) -> ZoneInfo:
    """Return the zone; UTC for an unknown name, as in the API server."""
    zone = zones.of_server(server_zone) if name in _SERVER_ZONES else zones.named(name)
    return zone or _UTC
