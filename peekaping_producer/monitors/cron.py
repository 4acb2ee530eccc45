"""Cron expressions as robfig/cron v3 reads them with five fields: minute, hour, day of month, month, day of week.

No Python library follows those rules: `?` means `*`; a day of week 7, wrapped ranges and `@daily` are refused; `N/S`
runs from N to the field's maximum; empty list items are dropped; and `*/2` in a day field does not count as a star (a
star in either day field joins the two by AND, otherwise they are joined by OR).
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from peekaping_producer.errors import CronError
from peekaping_producer.monitors.zones import named, next_change

MAX_LENGTH = 1024
"""Characters. A list of every value of every field has fewer than 500."""

SEARCH_YEARS = 5
"""A search ends this many calendar years after the year in which it starts."""

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_NUMBER = re.compile(r"\+?0*([0-9]{1,18})")


class _Field(NamedTuple):
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()
    """Names of the values, beginning with `lowest`."""


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


@dataclass(frozen=True, slots=True, eq=False)
class CronExpression:
    """A parsed expression. Days of week count from Sunday = 0.

    Compared by identity, so it is a cheap key: `parse` returns the same object for the same text while it is cached.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days_of_month: frozenset[int]
    months: frozenset[int]
    days_of_week: frozenset[int]
    needs_both_days: bool
    """Whether a day must match both day fields, and not just one of them."""
    zone: ZoneInfo | None
    """From the prefix `CRON_TZ=` or `TZ=`; None: the zone of the argument of `next`."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first run later than `after` (aware), in its zone; None if there is none within five years.

        A time that the clocks skip does not run on that day; a time that they repeat runs twice.
        """
        try:
            run = self._search(after.astimezone(UTC), self.zone or after.tzinfo)
            return None if run is None else run.astimezone(after.tzinfo)
        except OverflowError:  # datetime ends with the year 9999
            return None

    def next_clock_time(self, after: datetime) -> datetime | None:
        """Return the first match later than `after` on a clock without changes; both are naive."""
        try:
            return self._first_from(after.replace(second=0, microsecond=0) + _MINUTE, _last_day(after))
        except OverflowError:
            return None

    def _search(self, moment: datetime, zone: tzinfo | None) -> datetime | None:
        """Search from one change of the zone's offset to the next: between them, a clock time is one instant."""
        clock = moment.astimezone(zone).replace(tzinfo=None)
        last_day = _last_day(clock)
        earliest = clock.replace(second=0, microsecond=0) + _MINUTE
        while (fitting := self._first_from(earliest, last_day)) is not None:
            run = moment + (fitting - clock)
            change = next_change(zone, moment, run)
            if change is None:
                return run
            moment, clock = change, change.astimezone(zone).replace(tzinfo=None)
            earliest = clock + (_MINUTE - timedelta(seconds=clock.second)) % _MINUTE
        return None

    def _first_from(self, clock: datetime, last_day: date) -> datetime | None:
        """Return the first match that is not before `clock` (a whole minute) and not after `last_day`."""
        if not (self.minutes and self.hours):  # a field may be a lone comma
            return None
        while (day := self._next_day(clock.date(), last_day)) is not None:
            if day != clock.date():
                clock = datetime.combine(day, time())
            for hour in range(clock.hour, 24):
                first = clock.minute if hour == clock.hour else 0
                minute = next((m for m in range(first, 60) if m in self.minutes), None) if hour in self.hours else None
                if minute is not None:
                    return clock.replace(hour=hour, minute=minute)
            clock = datetime.combine(day + _DAY, time())
        return None

    def _next_day(self, day: date, last_day: date) -> date | None:
        while day <= last_day:
            if day.month not in self.months:
                day = (day.replace(day=28) + 4 * _DAY).replace(day=1)
            elif self._runs_on(day):
                return day
            else:
                day += _DAY
        return None

    def _runs_on(self, day: date) -> bool:
        by_month, by_week = day.day in self.days_of_month, day.isoweekday() % 7 in self.days_of_week
        return by_month and by_week if self.needs_both_days else by_month or by_week


def _last_day(clock: datetime) -> date:
    return date(min(clock.year + SEARCH_YEARS, date.max.year), 12, 31)


def parse(expression: str) -> CronExpression:
    """Read five fields with an optional zone before them (`CRON_TZ=Europe/Berlin 30 2 * * mon-fri`).

    Raises CronError, with the expression and the reason.
    """
    if len(expression) > MAX_LENGTH:
        raise CronError(
            f"cron expression {expression[:40]!r}...: expected at most {MAX_LENGTH} characters, got {len(expression)}"
        )
    parsed = _parse(expression)
    if isinstance(parsed, str):
        raise CronError(f"cron expression {expression!r}: {parsed}")
    return parsed


@lru_cache(maxsize=1024)
def _parse(expression: str) -> CronExpression | str:
    """Return the reason for a bad expression as text, which is cached too: the expression returns with every batch."""
    try:
        zone, fields = _split(expression)
        parsed = [_parse_field(text, field) for text, field in zip(fields, _FIELDS, strict=True)]
    except ValueError as error:
        return str(error)
    minutes, hours, days_of_month, months, days_of_week = (values for values, _ in parsed)
    needs_both_days = parsed[2][1] or parsed[4][1]
    return CronExpression(minutes, hours, days_of_month, months, days_of_week, needs_both_days, zone)


def _split(expression: str) -> tuple[ZoneInfo | None, list[str]]:
    zone = None
    if expression.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, expression = expression.partition(" ")
        zone = _load_zone(prefix.partition("=")[2])
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected 5 fields (minute hour day-of-month month day-of-week), got {len(fields)}")
    return zone, fields


def _load_zone(name: str) -> ZoneInfo | None:
    if name == "Local":
        return None
    zone = named(name)
    if zone is None:
        raise ValueError(f"unknown time zone {name!r}")
    return zone


def _parse_field(text: str, field: _Field) -> tuple[frozenset[int], bool]:
    """Return the field's values, and whether it counts as a star."""
    values: set[int] = set()
    star = False
    for item in filter(None, text.split(",")):
        item_values, item_star = _parse_item(item, field)
        values.update(item_values)
        star = star or item_star
    return frozenset(values), star


def _parse_item(item: str, field: _Field) -> tuple[range, bool]:
    span, *steps = item.split("/")
    first, *lasts = span.split("-")
    star = first in {"*", "?"}  # even with a hyphen after it
    if len(steps) > 1 or (len(lasts) > 1 and not star):
        raise ValueError(f"{field.name}: expected A, A-B, A-B/STEP, A/STEP, * or */STEP, got {item!r}")
    low = field.lowest if star else _parse_value(first, field)
    if star or (steps and not lasts):
        high = field.highest
    elif lasts:
        high = _parse_value(lasts[0], field)
    else:
        high = low
    step = _parse_number(steps[0], field) if steps else 1
    if not field.lowest <= low <= high <= field.highest:
        raise ValueError(f"{field.name}: expected {field.lowest} to {field.highest} in rising order, got {item!r}")
    if step == 0:
        raise ValueError(f"{field.name}: expected a positive step, got {item!r}")
    return range(low, high + 1, step), star and step == 1


def _parse_value(text: str, field: _Field) -> int:
    name = text.lower()
    return field.lowest + field.names.index(name) if name in field.names else _parse_number(text, field)


def _parse_number(text: str, field: _Field) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{field.name}: expected a number{' or a name' if field.names else ''}, got {text!r}")
    return int(match[1])
