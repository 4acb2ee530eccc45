"""Maintenance windows: each rule by hand, and arbitrary rows."""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peekaping_producer.errors import MaintenanceError
from peekaping_producer.monitors.maintenance import MaintenanceWindow, is_active, under_maintenance
from tests.kit.zone_data import GOLDEN

BERLIN = f"{GOLDEN[0]}/Europe/Berlin"

MANUAL = MaintenanceWindow("m1", active=True, strategy="manual")
SINGLE = MaintenanceWindow(
    "m2", active=True, strategy="single", start_date_time="2026-03-01T10:00", end_date_time="2026-03-01T12:00"
)
YEAR = MaintenanceWindow(
    "m3", active=True, strategy="cron", start_date_time="2026-01-01T00:00", end_date_time="2027-01-01T00:00"
)
CRON = msgspec.structs.replace(YEAR, cron="0 2 * * *", duration=60)
INTERVAL = msgspec.structs.replace(
    YEAR, strategy="recurring-interval", start_time="02:00", end_time="04:00", interval_day=2
)
NIGHTS = msgspec.structs.replace(INTERVAL, start_time="23:00", end_time="01:00")


def at(text: str) -> int:
    """Milliseconds since the epoch at a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def active(window: MaintenanceWindow, when: str, server_zone: str = "", **changes: Any) -> bool:
    return is_active(msgspec.structs.replace(window, **changes), at(when), server_zone)


def test_a_manual_window_is_active_while_it_is_enabled() -> None:
    assert is_active(MANUAL, 0, "")
    assert not is_active(msgspec.structs.replace(MANUAL, active=False), 0, "")


def test_an_inactive_window_is_not_evaluated() -> None:
    assert not is_active(MaintenanceWindow("m", active=False, strategy="single"), 0, "")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-03-01T10:00:00", False),
        ("2026-03-01T10:00:00.001", True),
        ("2026-03-01T11:59:59.999", True),
        ("2026-03-01T12:00:00", False),
    ],
)
def test_single_excludes_both_ends(when: str, expected: bool) -> None:
    assert active(SINGLE, when) is expected


@pytest.mark.parametrize(
    ("zone", "server_zone", "offset"),
    [
        (None, "Asia/Kolkata", 0),
        ("", "Asia/Kolkata", 0),
        ("America/New_York", "", -5),
        ("Not/AZone", "Europe/Berlin", 0),
        ("Europe", "Europe/Berlin", 0),
        ("/etc/localtime", "Europe/Berlin", 0),
        ("\ud800", "", 0),
        ("Europe//Berlin", "", 1),
        ("./Europe/Berlin", "", 1),
        ("../../etc/passwd", "Europe/Berlin", 0),
        (BERLIN, "Europe/Berlin", 0),
        ("__init__/x", "Europe/Berlin", 0),
        ("x/" * 3000 + "x", "Europe/Berlin", 0),
        ("SAME_AS_SERVER", "Europe/Berlin", 1),
        ("SAME_AS_SERVER", ":Europe/Berlin", 1),
        ("SAME_AS_SERVER", "./Europe//Berlin", 1),
        ("SAME_AS_SERVER", BERLIN, 1),
        ("SAME_AS_SERVER", ":" + BERLIN, 1),
        ("SAME_AS_SERVER", "/none", 0),
        ("Local", BERLIN, 1),
        ("SAME_AS_SERVER", "", 0),
        ("SAME_AS_SERVER", "Not/AZone", 0),
        ("Local", "Europe/Berlin", 1),
    ],
)
def test_the_dates_are_in_the_zone_of_the_window(zone: str | None, server_zone: str, offset: int) -> None:
    hour = 11 - offset
    assert active(SINGLE, f"2026-03-01T{hour:02}:00", server_zone, timezone=zone)
    assert not active(SINGLE, f"2026-03-01T{hour - 2:02}:00", server_zone, timezone=zone)
    assert not active(SINGLE, f"2026-03-01T{hour + 2:02}:00", server_zone, timezone=zone)


def test_a_malformed_start_or_end_counts_as_past() -> None:
    for malformed in ("", "soon", "2026-02-30T00:00", "2026-03-01T00:00:00", "0000-01-01T00:00", "2026-13-01T00:00"):
        assert active(SINGLE, "1999-01-01T00:00", start_date_time=malformed)
        assert not active(SINGLE, "2026-03-01T11:00", end_date_time=malformed)


def test_dates_may_be_at_the_limits_of_the_calendar() -> None:
    for zone in ("Asia/Kolkata", "America/New_York"):
        window = msgspec.structs.replace(SINGLE, start_date_time="0001-01-01T00:00", timezone=zone)
        assert active(window, "1900-01-01T00:00", end_date_time="9999-12-31T23:59")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-05-01T01:59:59.999", False),
        ("2026-05-01T02:00", True),
        ("2026-05-01T02:59:59.999", True),
        ("2026-05-01T03:00", False),
        ("2025-05-01T02:30", False),
        ("2027-05-01T02:30", False),
    ],
)
def test_a_cron_window_lasts_from_a_run_within_the_dates(when: str, expected: bool) -> None:
    assert active(CRON, when) is expected


@pytest.mark.parametrize("strategy", ["cron", "recurring-weekday", "recurring-day-of-month", "anything", ""])
def test_every_other_strategy_is_cron(strategy: str) -> None:
    assert active(CRON, "2026-05-01T02:30", strategy=strategy)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cron": None}, False),
        ({"cron": ""}, False),
        ({"duration": None}, False),
        ({"duration": 0}, False),
        ({"duration": -60}, False),
        ({"cron": "0 0 30 2 *"}, False),
        ({"duration": 10**30}, True),
        ({"duration": 10**30, "cron": "0 0 30 2 *"}, False),
        ({"cron": "CRON_TZ=Asia/Kolkata 30 7 * * *"}, True),
    ],
)
def test_cron_and_duration_at_their_edges(changes: dict[str, Any], expected: bool) -> None:
    assert active(CRON, "2026-05-01T02:30", **changes) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-01-01T02:00", False),
        ("2026-01-01T02:00:00.001", True),
        ("2026-01-01T04:00", False),
        ("2026-01-02T03:00", False),
        ("2026-01-03T03:00", True),
        ("2025-12-30T03:00", False),
    ],
)
def test_every_second_day(when: str, expected: bool) -> None:
    assert active(INTERVAL, when) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-01-01T00:30", False),  # of the night before the start
        ("2026-01-01T23:30", True),
        ("2026-01-02T00:30", True),
        ("2026-01-02T12:00", False),
        ("2026-01-02T23:30", False),
        ("2026-01-03T00:30", False),
        ("2026-01-03T23:30", True),
    ],
)
def test_a_window_across_midnight_is_one_window(when: str, expected: bool) -> None:
    assert active(NIGHTS, when) is expected


@pytest.mark.parametrize(("when", "expected"), [("2026-03-29T10:30", True), ("2026-03-30T10:30", False)])
def test_a_day_may_have_23_or_25_hours(when: str, expected: bool) -> None:
    """Berlin's 2026-03-29 has 23 hours; from 03-27 12:00 to its noon (10:00 in UTC) two days pass, not 47 hours."""
    window = msgspec.structs.replace(INTERVAL, timezone="Europe/Berlin", start_time="12:00", end_time="13:30")
    assert active(window, when, start_date_time="2026-03-27T12:00") is expected


def test_without_a_start_only_every_day_is_evaluated() -> None:
    assert active(INTERVAL, "2026-01-03T03:00", start_date_time="soon", interval_day=1)
    assert not active(INTERVAL, "2026-01-03T03:00", start_date_time="soon")


@pytest.mark.parametrize(
    ("window", "changes", "reason"),
    [
        (SINGLE, {"start_date_time": None}, "start_date_time and end_date_time: expected"),
        (CRON, {"end_date_time": None}, "start_date_time and end_date_time: expected"),
        (INTERVAL, {"interval_day": None}, "interval_day: expected a positive number of days, got None"),
        (INTERVAL, {"interval_day": 0}, "interval_day: expected a positive number of days, got 0"),
        (INTERVAL, {"interval_day": -3}, "interval_day: expected a positive number of days, got -3"),
        (INTERVAL, {"start_time": None}, "start_time: expected HH:MM, got None"),
        (INTERVAL, {"start_time": "25:00"}, "start_time: expected HH:MM, got '25:00'"),
        (INTERVAL, {"end_time": "1٠:00"}, "end_time: expected HH:MM, got"),
        (INTERVAL, {"end_time": "x" * 100_000}, "end_time: expected HH:MM, got"),
        (CRON, {"cron": "@daily"}, "cron expression '@daily': expected 5 fields"),
    ],
)
def test_an_error_contains_the_window_and_the_reason(
    window: MaintenanceWindow, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MaintenanceError, match=f"^maintenance {window.id}: {reason}") as caught:
        active(window, "2026-05-01T02:30", **changes)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("window", [CRON, INTERVAL])
def test_an_instant_outside_the_calendar_is_an_error(window: MaintenanceWindow) -> None:
    with pytest.raises(MaintenanceError, match="out of range"):
        is_active(window, 10**17, "")


def test_one_bad_window_does_not_hide_the_others() -> None:
    bad = msgspec.structs.replace(CRON, id="bad", cron="* *")
    told: list[tuple[str, str]] = []
    windows = [bad, SINGLE, MANUAL, msgspec.structs.replace(bad, id="later")]
    assert under_maintenance(windows, 0, "", lambda window, error: told.append((window.id, str(error))))
    assert told == [
        (
            "bad",
            "maintenance bad: cron expression '* *': "
            "expected 5 fields (minute hour day-of-month month day-of-week), got 2",
        )
    ]
    assert not under_maintenance([bad, SINGLE], 0, "", lambda *_: None)
    assert not under_maintenance([], 0, "", lambda *_: None)


def some(*likely: str | None) -> st.SearchStrategy[str | None]:
    return st.one_of(st.sampled_from([None, "", *likely]), st.text(max_size=20))


HOSTILE_ZONES = "__init__/x", "x/" * 3000 + "x", "../../etc/passwd"
NUMBER = st.one_of(st.none(), st.integers(-2, 3000), st.integers())
WINDOWS = st.builds(
    MaintenanceWindow,
    id=st.text(max_size=8),
    active=st.booleans() | st.just(True),
    strategy=st.sampled_from(["manual", "single", "cron", "recurring-interval", "recurring-weekday"])
    | st.text(max_size=8),
    start_date_time=some("2026-01-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"),
    end_date_time=some("2027-01-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"),
    start_time=some("00:00", "23:59", "9:30"),
    end_time=some("00:00", "23:59", "9:30"),
    interval_day=NUMBER,
    cron=some("* * * * *", "0 0 29 2 *", "0 0 30 2 *", "TZ=UTC", "TZ=Pacific/Apia 0 0 30 12 *"),
    timezone=some(
        "SAME_AS_SERVER", "Pacific/Apia", "America/New_York", "Asia/Kolkata", "__init__/x", "x/" * 3000 + "x"
    ),
    duration=NUMBER,
)
INSTANTS = st.one_of(st.integers(1_700_000_000_000, 1_900_000_000_000), st.integers())


@settings(max_examples=500, deadline=None)
@given(WINDOWS, INSTANTS, some("Europe/Berlin", ":UTC", "/etc/localtime", "/etc/passwd").map(str))
def test_any_row_is_evaluated_or_raises_maintenance_error_fast(window: MaintenanceWindow, now: int, zone: str) -> None:
    begun = time.process_time()
    told: list[str] = []
    answer = under_maintenance([window], now, zone, lambda _, error: told.append(str(error)))
    assert answer in {True, False}
    assert all(text.startswith(f"maintenance {window.id}: ") for text in told)
    assert time.process_time() - begun < 3.0  # some ms, and a collection of garbage on a slow machine


def test_an_unknown_time_zone_is_reported_and_replaced_by_utc() -> None:
    window = MaintenanceWindow(
        id="w1",
        active=True,
        strategy="single",
        start_date_time="2026-01-01T00:00",
        end_date_time="2026-01-02T00:00",
        timezone="Mars/Olympus",
    )
    said: list[str] = []
    noon_utc = 1_767_268_800_000
    assert under_maintenance([window], noon_utc, "UTC", lambda _, error: said.append(str(error)))
    assert said == ["maintenance w1: timezone: expected an IANA zone, got 'Mars/Olympus'; UTC is used"]
