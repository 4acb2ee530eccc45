"""Cron expressions: robfig/cron v3's rules by golden vectors, and against a clock read minute by minute."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peekaping_producer.errors import CronError
from peekaping_producer.monitors import cron
from tests.kit.vectors import vectors
from tests.kit.zone_data import GOLDEN, zones_from

VECTORS = vectors("cron")

# Where robfig's search goes wrong, the right answers: the first whole minutes whose local clock fits.
UPSTREAM_IS_WRONG = {
    # Clocks go back from 02:00 (+11) to 01:30 (+10:30) on 04-05: robfig steps over 02:00 (15:30Z) ...
    ("0 2 * * *", "Australia/Lord_Howe"): [f"2026-04-{day:02}T15:30:00Z" for day in range(4, 9)],
    # ... and misses the midnight after it (13:30Z on 04-05).
    ("0 0 * * *", "Australia/Lord_Howe"): [
        "2026-04-04T13:00:00Z",
        *(f"2026-04-{day:02}T13:30:00Z" for day in range(5, 9)),
    ],
    # Clocks go forward from 02:00 (+10:30) to 02:30 (+11) on 10-04: robfig takes 02:30 (15:30Z) for a second 01:30.
    ("30 1 * * *", "Australia/Lord_Howe"): [
        "2026-10-03T15:00:00Z",
        *(f"2026-10-{day:02}T14:30:00Z" for day in range(4, 8)),
    ],
    # Apia had no 2011-12-30, and robfig never returns. From 12-31 on its offset was +14: 03:00 on Sundays ...
    ("0 3 * * 0", "Pacific/Apia"): [
        "2011-12-31T13:00:00Z",
        *(f"2012-01-{day:02}T13:00:00Z" for day in (7, 14, 21, 28)),
    ],
    # ... and midnight of 12-31, 01-01, 01-04, 01-31 and 02-01.
    ("0 0 1,4,31 * *", "Pacific/Apia"): [
        "2011-12-30T10:00:00Z",
        "2011-12-31T10:00:00Z",
        "2012-01-03T10:00:00Z",
        "2012-01-30T10:00:00Z",
        "2012-01-31T10:00:00Z",
    ],
}


@pytest.fixture(autouse=True, scope="module")
def _golden_zones() -> Iterator[None]:
    with zones_from(GOLDEN):
        yield


def runs(schedule: cron.CronExpression, after: datetime, count: int = 5) -> list[str | None]:
    """Return the next runs as text in UTC; None ends the list."""
    found: list[str | None] = []
    moment: datetime | None = after
    while moment is not None and len(found) < count:
        moment = schedule.next(moment)
        found.append(f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else None)
    return found


def test_golden_vectors() -> None:
    wrong = set()
    for vector in VECTORS:
        key = (vector["expression"], vector["tz"])
        if "error" in vector:
            with pytest.raises(CronError):
                cron.parse(vector["expression"])
            continue
        after = datetime.fromisoformat(vector["from"]).astimezone(ZoneInfo(vector["tz"]))
        found = runs(cron.parse(vector["expression"]), after)
        if found != vector.get("next"):
            assert found == UPSTREAM_IS_WRONG.get(key), vector
            wrong.add(key)
    assert len(VECTORS) == 320
    assert wrong == UPSTREAM_IS_WRONG.keys()


def test_a_run_is_in_the_zone_of_the_argument() -> None:
    after = datetime(2026, 6, 15, 12, tzinfo=ZoneInfo("Asia/Kolkata"))
    run = cron.parse("TZ=Europe/Berlin 0 12 * * *").next(after)
    assert run == datetime(2026, 6, 15, 10, tzinfo=UTC)
    assert run.tzinfo is after.tzinfo


@pytest.mark.parametrize("prefix", ["", "TZ=Local ", "CRON_TZ=Local "])
def test_without_a_zone_the_zone_of_the_argument_is_used(prefix: str) -> None:
    after = datetime(2026, 6, 15, 12, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert cron.parse(f"{prefix}0 13 * * *").next(after) == after + timedelta(hours=1)


def test_an_empty_zone_is_utc() -> None:
    after = datetime(2026, 6, 15, 12, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert cron.parse("TZ= 0 12 * * *").next(after) == datetime(2026, 6, 15, 12, tzinfo=UTC)


def test_a_midnight_that_the_clocks_skip_does_not_lose_the_day() -> None:
    """Cairo, 2026-04-24 (Friday): 00:00 becomes 01:00."""
    after = datetime(2026, 4, 23, 12, tzinfo=ZoneInfo("Africa/Cairo"))
    assert runs(cron.parse("0 1 * * 5"), after, 1) == ["2026-04-23T22:00:00Z"]
    assert runs(cron.parse("0 0 * * 5"), after, 1) == ["2026-04-30T21:00:00Z"]


def test_a_repeated_midnight_does_not_lead_back() -> None:
    """St. John's, 2010-11-07: 00:01 (-2:30) became 23:01 (-3:30) of the day before."""
    after = datetime(2010, 11, 7, 2, 40, tzinfo=UTC).astimezone(ZoneInfo("America/St_Johns"))
    assert (after.day, after.hour) == (6, 23)
    assert runs(cron.parse("0 0 7 * *"), after, 1) == ["2010-11-07T03:30:00Z"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "expected 5 fields .*, got 0"),
        ("TZ=UTC", "expected 5 fields .*, got 0"),
        ("CRON_TZ=Mars/Base * * * * *", "unknown time zone 'Mars/Base'"),
        ("CRON_TZ=../etc/passwd * * * * *", "unknown time zone"),
        ("CRON_TZ=/etc/localtime * * * * *", "unknown time zone"),
        ("CRON_TZ=\0 * * * * *", "unknown time zone"),
        (f"CRON_TZ={'x' * 900} * * * * *", "unknown time zone"),
        (f"CRON_TZ={'x/' * 400}x * * * * *", "unknown time zone"),
        ("CRON_TZ=__init__/x * * * * *", "unknown time zone"),
        ("@daily", "expected 5 fields .*, got 1"),
        ("* * * * 7", "day of week: expected 0 to 6"),
        ("5-1 * * * *", "in rising order"),
        ("*/0 * * * *", "expected a positive step"),
        ("*/-1 * * * *", "minute: expected a number, got '-1'"),
        ("1/2/3 * * * *", "expected A, A-B"),
        ("1-2-3 * * * *", "expected A, A-B"),
        ("* * * foo *", "month: expected a number or a name, got 'foo'"),
        ("٣ * * * *", "expected a number"),
        (f"{'9' * 500} * * * *", "expected a number"),
        ("1" * 2_000_000, "expected at most 1024 characters, got 2000000"),
    ],
)
def test_an_error_contains_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(CronError, match=reason) as caught:
        cron.parse(expression)
    assert repr(expression[:30])[1:-1] in str(caught.value)
    assert len(str(caught.value)) < 3 * cron.MAX_LENGTH


def test_a_search_ends_with_the_year_9999() -> None:
    assert cron.parse("0 0 1 1 *").next(datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert cron.parse("* * * * *").next(datetime.max.replace(tzinfo=ZoneInfo("America/New_York"))) is None


@pytest.mark.parametrize(
    "expression",
    ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", ", * * * *", "* , * * *", "* * , * *", "* * * , *", "* * * * ,", "0 0 , * ,"],
)
def test_a_schedule_that_never_runs_is_detected_fast(expression: str) -> None:
    begun = time.process_time()
    assert cron.parse(expression).next(datetime(2026, 1, 1, tzinfo=ZoneInfo("Pacific/Apia"))) is None
    assert time.process_time() - begun < 3.0  # less than 1 ms, and a collection of garbage on a slow machine


FIELD = st.one_of(st.text("0123456789*/-,?+ \t", max_size=6), st.text(max_size=5), st.sampled_from(["*", "jan", "FRI"]))
EXPRESSION = st.one_of(
    st.text(max_size=40),
    st.builds(
        lambda prefix, fields: prefix + " ".join(fields),
        st.sampled_from(["", "TZ=", "TZ= ", "CRON_TZ=UTC ", "TZ=Europe ", "TZ=Pacific/Apia "]),
        st.lists(FIELD, min_size=4, max_size=6),
    ),
)


@settings(max_examples=200, deadline=None)
@given(EXPRESSION, st.datetimes(timezones=st.timezones()))
def test_any_text_parses_or_raises_cron_error(expression: str, after: datetime) -> None:
    try:
        run = cron.parse(expression).next(after)
    except CronError:
        return
    assert run is None or run.astimezone(UTC) > after.astimezone(UTC)


def values(low: int, high: int) -> st.SearchStrategy[set[int]]:
    return st.sets(st.integers(low, high), min_size=1, max_size=high - low + 1)


CLOCK_CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 3, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 3, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 7, 17, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 10, 31, 17, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 10, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 10, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 29, 22, tzinfo=UTC)),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CLOCK_CHANGES), st.integers(0, 86_400), values(0, 59), values(0, 23), values(1, 31))
def test_a_run_is_the_first_matching_minute_of_the_local_clock(
    change: tuple[str, datetime], seconds: int, minutes: set[int], hours: set[int], days: set[int]
) -> None:
    zone, begin = ZoneInfo(change[0]), change[1] + timedelta(seconds=seconds)
    end = begin.replace(second=0) + timedelta(days=2)
    expected = begin.replace(second=0) + timedelta(minutes=1)
    while expected <= end:
        local = expected.astimezone(zone)
        if local.minute in minutes and local.hour in hours and local.day in days:
            break
        expected += timedelta(minutes=1)
    fields = (",".join(map(str, field)) for field in (minutes, hours, days))
    run = cron.parse(" ".join(fields) + " * *").next(begin.astimezone(zone))
    if expected <= end:
        assert run is not None
        assert run.astimezone(UTC) == expected
    else:
        assert run is None or run.astimezone(UTC) > end


def test_a_schedule_is_parsed_once() -> None:
    assert cron.parse("1 2 3 4 5") is cron.parse("1 2 3 4 5")
