"""Cron and maintenance windows at clock changes, against a clock that is read minute by minute.

The reference knows nothing of changes: it steps through real instants and looks at what the zone's clock shows.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from peekaping_producer.monitors import cron, zones
from peekaping_producer.monitors.maintenance import MaintenanceWindow, is_active
from tests.kit.zone_data import GOLDEN, PACKAGED, zones_from

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

EXPRESSIONS = (
    # expression, minutes, hours
    ("*/7 * * * *", range(0, 60, 7), range(24)),
    ("4,47,50 * * * *", (4, 47, 50), range(24)),
    ("0 0,1,2,3 * * *", (0,), (0, 1, 2, 3)),
    ("30 23,0,2 * * *", (30,), (23, 0, 2)),
)
SINGLE_HOURS = "4,30,47,50 {} * * *", (4, 30, 47, 50)


@pytest.fixture(autouse=True, scope="module")
def _packaged_zones() -> Iterator[None]:
    with zones_from(PACKAGED):
        yield


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def changes(zone: ZoneInfo, first: int, last: int) -> Iterator[datetime]:
    """The changes of the years from `first` to `last`."""
    moment, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    while (change := zones.next_change(zone, moment, end)) is not None:
        yield change
        moment = change


def clocks(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Every instant after `begin` and before `end` at which a minute begins on the zone's clock, with the clock time.

    Where offsets have seconds (local mean time), minutes do not begin when those of UTC do: then each second is seen.
    """
    offsets = {(begin + hour * HOUR).astimezone(zone).utcoffset() for hour in range((end - begin) // HOUR + 1)}
    step = MINUTE if all(offset is not None and not offset % MINUTE for offset in offsets) else timedelta(seconds=1)
    moment = begin + step
    while moment < end:
        local = moment.astimezone(zone)
        if local.second == 0:
            yield moment, local
        moment += step


def runs(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    schedule = cron.parse(expression)
    found = []
    run = schedule.next(begin.astimezone(zone))
    while run is not None and (instant := run.astimezone(UTC)) < end:
        found.append(instant)
        run = schedule.next(run)
    return found


def compare_around(zone: ZoneInfo, change: datetime) -> None:
    begin, end = change - 3 * HOUR, change + 5 * HOUR
    seen = list(clocks(zone, begin, end))
    near = {(change + minutes * MINUTE).astimezone(zone).hour for minutes in (-61, -1, 0, 61)}
    single = [(SINGLE_HOURS[0].format(hour), SINGLE_HOURS[1], (hour,)) for hour in near]
    for expression, minutes, hours in (*EXPRESSIONS, *single):
        expected = [instant for instant, local in seen if local.minute in minutes and local.hour in hours]
        assert runs(expression, zone, begin, end) == expected, (zone.key, str(change), expression)


def test_runs_around_the_changes_of_every_zone() -> None:
    seen = set()
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        for change in changes(zone, 2026, 2026):
            alike = (change, (change - MINUTE).astimezone(zone).utcoffset(), change.astimezone(zone).utcoffset())
            if alike not in seen:  # many zones change at once, and by as much
                seen.add(alike)
                compare_around(zone, change)
    assert len(seen) > 50


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Pacific/Chatham", 1950, 2027),  # 02:45, by an hour
        ("Asia/Colombo", 1940, 2010),  # 1996-10-26: 00:30 becomes 00:00
        ("Australia/Lord_Howe", 1980, 2027),  # half an hour
        ("Africa/Cairo", 2005, 2027),  # midnight is skipped
        ("America/Sao_Paulo", 1930, 2020),  # midnight is skipped, and comes twice
        ("America/Havana", 2000, 2027),
        ("Asia/Beirut", 1990, 2027),
        ("America/Asuncion", 2000, 2027),
        ("America/St_Johns", 1930, 2012),  # 00:01
        ("Antarctica/Troll", 2004, 2027),  # two hours
        ("Antarctica/Casey", 2005, 2025),  # three hours, both ways
        ("Asia/Pyongyang", 1900, 2020),
        ("Asia/Kathmandu", 1900, 2000),  # a quarter of an hour
        ("America/Caracas", 1880, 2020),
        ("Pacific/Apia", 1880, 2022),  # 2011-12-30 is skipped
        ("Pacific/Kwajalein", 1890, 2000),  # 1993-08-21 is skipped
        ("America/Juneau", 1860, 1990),  # 1867-10-18 comes twice
        ("Asia/Manila", 1800, 1990),
        ("Africa/Monrovia", 1870, 1980),  # 0:43:08 and 0:44:30
        ("Europe/Amsterdam", 1830, 1945),  # 0:19:32 and 1:19:32
        ("Europe/Dublin", 1870, 1920),  # -0:25:21
        ("Africa/Casablanca", 2010, 2030),  # Ramadan
    ],
)
def test_runs_around_the_changes_of_the_past(name: str, first: int, last: int) -> None:
    found = list(changes(ZoneInfo(name), first, last))
    assert found
    for change in found[-25:]:
        compare_around(ZoneInfo(name), change)


def test_runs_around_all_changes_of_the_golden_zone_data() -> None:
    with zones_from(GOLDEN):
        for path in sorted(Path(GOLDEN[0]).rglob("*")):
            if path.is_file():
                zone = ZoneInfo(str(path.relative_to(GOLDEN[0])))
                for change in changes(zone, 2007, 2027):
                    compare_around(zone, change)


@pytest.mark.parametrize(
    ("expression", "name", "after", "expected"),
    [
        ("50 3 * * *", "Pacific/Chatham", "2026-09-26T13:50", ["2026-09-26T14:05", "2026-09-27T14:05"]),
        ("47 2 * * *", "Pacific/Chatham", "2025-04-05T12:46", ["2025-04-05T13:02", "2025-04-05T14:02"]),
        ("4 0 * * *", "Asia/Colombo", "1996-10-25T07:17:17", ["1996-10-25T17:34", "1996-10-25T18:04"]),
        ("0 3 * * 0", "Australia/Lord_Howe", "2026-10-03T14:00", ["2026-10-03T16:00", "2026-10-10T16:00"]),
        ("0 1 * * 5", "Africa/Cairo", "2026-04-23T12:00", ["2026-04-23T22:00", "2026-04-30T22:00"]),
        ("0 0 30 12 *", "Pacific/Apia", "2011-12-29T12:00", ["2012-12-29T10:00", "2013-12-29T10:00"]),
        ("30 12 1 1 *", "Africa/Monrovia", "1970-06-01T00:00", ["1971-01-01T13:14:30", "1972-01-01T13:14:30"]),
        ("0 0 29 2 *", "Pacific/Chatham", "2024-03-01T00:00", ["2028-02-28T10:15"]),
    ],
)
def test_runs_by_hand(expression: str, name: str, after: str, expected: list[str]) -> None:
    found = runs(expression, ZoneInfo(name), at(after), at(expected[-1]) + MINUTE)
    assert found == [at(run) for run in expected]


# Windows of strategies with times of day.

NIGHTS = MaintenanceWindow(
    "w",
    active=True,
    strategy="recurring-weekday",
    start_date_time="2020-01-01T00:00",
    end_date_time="2030-01-01T00:00",
    start_time="22:00",
    end_time="06:00",
    cron="0 22 * * 0,1,2,3,4,5,6",
    duration=480,
    timezone="Europe/Berlin",
)


def active(when: str, **changed: Any) -> bool:
    fields = {name: getattr(NIGHTS, name) for name in MaintenanceWindow.__struct_fields__} | changed
    return is_active(MaintenanceWindow(**fields), int(at(when).timestamp() * 1000), "")


FROM_WEEKDAYS: dict[str, Any] = {}
FROM_DAYS_OF_MONTH = {"strategy": "recurring-day-of-month", "cron": "0 22 24,28 * *"}
AS_IN_MONGO = {"start_time": None, "end_time": None}
OF_ANOTHER_STRATEGY = {"strategy": "whatever"}


@pytest.mark.parametrize("row", [FROM_WEEKDAYS, FROM_DAYS_OF_MONTH, AS_IN_MONGO, OF_ANOTHER_STRATEGY])
@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-10-24T19:59:59", False),
        ("2026-10-24T20:00", True),
        ("2026-10-25T04:30", True),  # 05:30, 8 and a half hours after the beginning
        ("2026-10-25T04:59:59.999", True),
        ("2026-10-25T05:00", False),
        ("2026-03-28T20:59:59", False),
        ("2026-03-28T21:00", True),
        ("2026-03-29T03:59:59.999", True),
        ("2026-03-29T04:00", False),
        ("2026-03-29T04:30", False),  # 06:30, 7 and a half hours after the beginning
    ],
)
def test_a_window_with_times_of_day_ends_at_its_local_end_time(row: dict[str, Any], when: str, expected: bool) -> None:
    assert active(when, **row) is expected


@pytest.mark.parametrize("row", [AS_IN_MONGO, {"start_time": "22:00"}, {}])
@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-10-25T03:59:59.999", True),
        ("2026-10-25T04:00", False),
        ("2026-03-29T04:30", True),
        ("2026-03-29T05:00", False),
    ],
)
def test_a_cron_window_lasts_for_its_minutes(row: dict[str, Any], when: str, expected: bool) -> None:
    assert active(when, strategy="cron", **row) is expected


@pytest.mark.parametrize(
    ("row", "when", "expected"),
    [
        # What the API server makes of a later change of the times, or of a cron that was given too.
        ({"cron": "0 8 * * *", "start_time": "23:00", "end_time": "01:00", "duration": 120}, "2026-06-01T07:30", True),
        ({"cron": "0 8 * * *", "start_time": "23:00", "end_time": "01:00", "duration": 120}, "2026-06-01T22:00", False),
        ({"cron": "0 3 * * *", "start_time": "08:00", "end_time": "09:00", "duration": 10}, "2026-06-01T01:05", True),
        ({"cron": "0 3 * * *", "start_time": "08:00", "end_time": "09:00", "duration": 10}, "2026-06-01T01:15", False),
        ({"cron": "CRON_TZ=Asia/Tokyo 0 22 * * *"}, "2026-10-24T20:59", True),
        ({"cron": "CRON_TZ=Asia/Tokyo 0 22 * * *"}, "2026-10-24T21:00", False),
        ({"cron": "0 22 * * 6", "duration": 2880}, "2026-10-26T20:59", True),  # 21:59, two days later
        ({"cron": "0 22 * * 6", "duration": 2880}, "2026-10-26T21:00", False),
    ],
)
def test_cron_and_duration_define_the_window(row: dict[str, Any], when: str, expected: bool) -> None:
    assert active(when, **row) is expected


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"])
@pytest.mark.parametrize(("opens", "closes"), [(22, 6), (1, 5), (2, 3), (0, 3), (23, 1)])
def test_a_window_with_times_of_day_is_active_while_the_clock_shows_a_time_in_it(
    name: str, opens: int, closes: int
) -> None:
    """A repeated time counts twice, and a skipped one does not shorten what follows."""
    zone = ZoneInfo(name)
    hours = (closes - opens) % 24
    window = {"cron": f"0 {opens} * * *", "duration": hours * 60, "timezone": name, "start_time": None}
    for change in changes(zone, 2026, 2026):
        for moment, local in clocks(zone, change - 8 * HOUR, change + 8 * HOUR):
            expected = (local.hour - opens) % 24 < hours
            assert active(moment.replace(tzinfo=None).isoformat(), **window) is expected, str(local)


def test_a_run_that_begins_within_a_minute_counts() -> None:
    """Monrovia's minutes began 30 s after those of UTC."""
    row = {"cron": "0 12 * * *", "duration": 1, "strategy": "cron", "timezone": "Africa/Monrovia"}
    row |= {"start_date_time": "1960-01-01T00:00"}
    assert [
        active(f"1971-06-01T12:{when}", **row) for when in ("44:29.999", "44:30", "45:00", "45:29.999", "45:30")
    ] == [False, True, True, True, False]
