"""Maintenance windows, against 3,312 results of upstream's own code.

Every verdict must be ours too, except where upstream is wrong: for those the right answer stands here, with its reason.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from peekaping_producer.errors import MaintenanceError
from peekaping_producer.monitors.maintenance import MaintenanceWindow, is_active
from tests.kit.vectors import vectors
from tests.kit.zone_data import GOLDEN, PACKAGED, zones_from

VECTORS = vectors("maintenance")

# A window that crosses midnight belongs to the date on which it began; upstream judges each of its moments by the
# whole periods of 24 hours since the start, so that it breaks in two.
OVERNIGHT = {
    251: (False, "began on 06-14, 13 dates after 06-01: no multiple of 2"),
    311: (False, "began on 03-23, 3 dates after 03-20: no multiple of 2"),
    1290: (False, "began on 04-09, 20 dates after 03-20: no multiple of 3"),
    1592: (True, "began on 04-27, 30 dates after 03-28: a multiple of 2"),
    1735: (False, "began on 03-26, 6 dates after 03-20: no multiple of 7"),
    2007: (False, "began on 03-08, 3 dates after 03-05: no multiple of 2"),
    3000: (True, "began on 04-07, 10 dates after 03-28: a multiple of 2"),
    3238: (True, "began on 12-29, 60 dates after 10-30: a multiple of 2"),
    3260: (False, "began on 11-07, 14 dates after 10-24: no multiple of 3"),
    3749: (False, "began on 03-29, 1 date after 03-28: no multiple of 2"),
    4194: (False, "began on 06-08, 7 dates after 06-01: no multiple of 2"),
    4601: (True, "began on 10-01, 210 dates after 03-05: a multiple of 7"),
    5989: (True, "began on 05-19, 60 dates after 03-20: a multiple of 2"),
    6006: (False, "began on 04-07, 10 dates after 03-28: no multiple of 3"),
    6167: (True, "began on 01-23, 24 dates after 12-30: a multiple of 3"),
    6244: (False, "began on 06-02, 1 date after 06-01: no multiple of 2"),
    6478: (True, "began on 03-26, 21 dates after 03-05: a multiple of 7"),
    6532: (False, "began on 06-14, 13 dates after 06-01: no multiple of 2"),
}

# A day of 23 or 25 hours is one day; upstream divides hours by 24, so that the rhythm moves when the clocks change.
CLOCKS_CHANGED = {
    157: (True, "03-08 12:15 is in day 2 from 03-06 12:00, by the clock: a multiple of 2"),
    306: (True, "04-04 10:28 is in day 8 from 03-27 10:00, by the clock: a multiple of 2"),
    313: (False, "03-09 12:45 is in day 3 from 03-06 12:00, by the clock: no multiple of 2"),
    1483: (True, "03-29 10:00 is in day 2 from 03-27 10:00, by the clock: a multiple of 2"),
    2321: (False, "12-19 11:22 is in day 59 from 10-20 12:00, by the clock: no multiple of 30"),
    5235: (False, "12-19 11:10 is in day 59 from 10-20 12:00, by the clock: no multiple of 30"),
    6270: (True, "03-10 12:45 is in day 4 from 03-06 12:00, by the clock: a multiple of 2"),
}

# A window with times of day ends at its local end time; upstream counts elapsed minutes.
TIMES_OF_DAY = {5837: (True, "began on Saturday 10-31 at 22:00 for two days: until Monday 22:00, and it is 21:00")}

# TZ=/usr/share/zoneinfo/Europe/Berlin: upstream refuses as a name what it took as a path, and falls back to UTC.
ZONE_IS_A_PATH = {
    1737: (False, "12:31 in Berlin is not from 10:00 to 11:00"),
    2443: (True, "10:59 in Berlin is from 10:00 to 11:00"),
    2844: (False, "12:59 in Berlin is not from 10:00 to 11:00"),
    5188: (True, "10:31 in Berlin is from 10:00 to 11:00"),
    5557: (True, "10:01 in Berlin is from 10:00 to 11:00"),
}

# robfig/cron's search for a day passes over one whose midnight the clocks skip.
MIDNIGHT_SKIPPED = {
    331: (True, "Friday 04-24 in Cairo begins at 01:00 and does have a 23:59 (20:59Z), when the window opens")
}

# Go's time.Duration ends at 292 years: upstream's durations overflow, and its look back ends before the run it seeks.
HUGE_DURATION = {
    464: (True, "every minute, for 292 years"),
    3414: (True, "since 2024-02-29 12:00, for 19,000 years"),
    4493: (True, "since 2024-02-29 12:00, for 19,000 years"),
    4624: (True, "since 2024-02-29 12:00, for 380 years"),
    6513: (True, "every minute, for 19,000 years"),
}

# Upstream's process dies.
PANIC = dict.fromkeys((1270, 2397, 4105), ("error", "the expression is a zone and nothing else"))

UPSTREAM_IS_WRONG = (
    OVERNIGHT | CLOCKS_CHANGED | TIMES_OF_DAY | ZONE_IS_A_PATH | MIDNIGHT_SKIPPED | HUGE_DURATION | PANIC
)


def now_ms(vector: dict[str, Any]) -> int:
    """Rounded up: windows open and close on whole seconds, so nothing happens between here and the next ms."""
    since_epoch = datetime.fromisoformat(vector["now"]) - datetime(1970, 1, 1, tzinfo=UTC)
    return -(-since_epoch // timedelta(milliseconds=1))


def server_zone(vector: dict[str, Any]) -> str:
    """Setting TZ; a path leads into the golden zone data, whatever the machine has."""
    return (vector["server_tz"] or "").replace("/usr/share/zoneinfo", GOLDEN[0])


def verdict(vector: dict[str, Any]) -> bool | str:
    stored = vector["maintenance"]
    window = MaintenanceWindow(**{name: stored[name] for name in MaintenanceWindow.__struct_fields__})
    try:
        return is_active(window, now_ms(vector), server_zone(vector))
    except MaintenanceError:
        return "error"


def test_results_equal_upstreams_unless_upstream_is_wrong() -> None:
    assert len(VECTORS) == 3312
    with zones_from(GOLDEN):
        verdicts = {vector["n"]: verdict(vector) for vector in VECTORS}
    differing = {vector["n"]: verdicts[vector["n"]] for vector in VECTORS if verdicts[vector["n"]] != vector["expect"]}
    assert differing == {n: answer for n, (answer, _) in UPSTREAM_IS_WRONG.items()}


def zones_that_changed() -> set[str]:
    """Those whose clocks the package's data set otherwise than the golden data do, in the years of the vectors."""
    names = {str(path.relative_to(GOLDEN[0])) for path in Path(GOLDEN[0]).rglob("*") if path.is_file()}
    noons = [datetime(2011, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(22 * 365)]

    def offsets(name: str) -> list[timedelta | None]:
        zone = ZoneInfo.no_cache(name)
        return [noon.astimezone(zone).utcoffset() for noon in noons]

    with zones_from(GOLDEN):
        golden = {name: offsets(name) for name in names}
    with zones_from(PACKAGED):
        return {name for name in names if offsets(name) != golden[name]}


def test_the_zone_data_of_the_package_give_the_same_results() -> None:
    changed = zones_that_changed()
    same = [v for v in VECTORS if not changed & {v["maintenance"]["timezone"], (v["server_tz"] or "").lstrip(":")}]
    assert len(same) > 2000
    with zones_from(GOLDEN):
        by_golden_data = [verdict(vector) for vector in same]
    with zones_from(PACKAGED):
        by_package = [verdict(vector) for vector in same]
    assert by_package == by_golden_data
