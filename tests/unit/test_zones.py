"""Time zones: valid names, files that are never read, and clock changes."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peekaping_producer.monitors import zones
from tests.kit.zone_data import PACKAGED, zones_from

ZONES = resources.files("tzdata").joinpath("zoneinfo")
BERLIN = Path(__file__).parent.parent / "golden/zoneinfo/Europe/Berlin"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("Europe//Berlin", "Europe/Berlin"),
        ("./Europe/Berlin", "Europe/Berlin"),
        ("Europe/././/Berlin", "Europe/Berlin"),
        ("Etc/GMT+5", "Etc/GMT+5"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("UTC", "UTC"),
        ("", "UTC"),
    ],
)
def test_a_name_is_read_as_go_reads_it(name: str, key: str) -> None:
    zone = zones.named(name)
    assert zone is not None
    assert zone.key == key


@pytest.mark.parametrize(
    "name",
    [
        "Not/AZone",
        "Europe",
        "Europe/Berlin/",
        "Europe/Berlin/.",
        "europe/berlin ",
        ".",
        "./",
        "/",
        "//Europe/Berlin",
        "\\UTC",
        "../../etc/passwd",
        "Europe/../UTC",
        "Europe/..",
        "Europe..Berlin",
        "/etc/localtime",
        str(BERLIN),
        f"./{BERLIN}/../Berlin",
        "zone.tab",
        "__init__/x",  # the search imports packages by that name
        "Europe/__init__.py",
        "x/" * 3000 + "x",
        "x" * 5000,
        "UTC" + " " * 300,
        "\0",
        "Europe/\0",
        "\ud800",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    assert zones.named(name) is None


@given(st.one_of(st.text(max_size=20), st.text("./\\_Eut~iro", max_size=400)))
def test_any_text_is_a_zone_or_none(name: str) -> None:
    zone = zones.named(name)
    assert zone is None or name == "" or zone.key.split("/") == [part for part in name.split("/") if part.strip(".")]


def test_the_setting_may_be_a_path() -> None:
    for tz in (str(BERLIN), f":{BERLIN}", "Europe/Berlin", ":Europe//Berlin"):
        zone = zones.of_server(tz)
        assert zone is not None, tz
        assert datetime(2026, 7, 1, tzinfo=UTC).astimezone(zone).hour == 2


@pytest.mark.parametrize("tz", ["/", "/none", "/\0", str(Path(__file__)), ":", "Not/AZone", "CET-1CEST", "/x" * 5000])
def test_a_setting_that_is_not_a_zone(tz: str) -> None:
    assert zones.of_server(tz) is (zones.named("UTC") if tz == ":" else None)


def test_a_truncated_zone_file_is_refused(tmp_path: Path) -> None:
    content = BERLIN.read_bytes()
    for length in range(0, len(content), 97):
        file = tmp_path / str(length)
        file.write_bytes(content[:length])
        zones.of_server(str(file))  # raises nothing


def changes_in_file(name: str) -> list[datetime]:
    """Return the changes of the offset in the zone's file (RFC 9636), without its rule for later years."""
    data = ZONES.joinpath(name).read_bytes()

    def counts(at: int) -> tuple[int, ...]:
        return struct.unpack(">6l", data[at + 20 : at + 44])

    utc_flags, wall_flags, leaps, times, types, letters = counts(0)
    second = 44 + 5 * times + 6 * types + letters + 8 * leaps + wall_flags + utc_flags
    _, _, _, times, types, _ = counts(second)
    at = second + 44
    instants = struct.unpack(f">{times}q", data[at : at + 8 * times])
    kinds = data[at + 8 * times : at + 9 * times]
    offsets = [
        struct.unpack(">l", data[first : first + 4])[0]
        for first in range(at + 9 * times, at + 9 * times + 6 * types, 6)
    ]
    after = [offsets[kind] for kind in kinds]
    before = [offsets[0], *after][: len(after)]
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        begin + timedelta(seconds=instant)
        for instant, old, new in zip(instants, before, after, strict=True)
        if old != new
    ]


@pytest.fixture
def names() -> Iterator[list[str]]:
    """The zones of the package tzdata, without those of the system."""
    with zones_from(PACKAGED):
        yield sorted(name for name in available_timezones() if ZONES.joinpath(name).is_file())


def test_every_change_is_found(names: list[str]) -> None:
    total = 0
    for name in names[::23]:  # some of every kind
        expected = [change for change in changes_in_file(name) if change.year >= 1800]
        found = []
        end = expected[-1] if expected else datetime(2030, 1, 1, tzinfo=UTC)
        moment = datetime(1800, 1, 1, tzinfo=UTC)
        while (change := zones.next_change(ZoneInfo(name), moment, end)) is not None:
            found.append(change)
            moment = change
        assert found == expected, name
        total += len(found)
    assert total > 700


def test_changes_exclude_the_start_and_include_the_end() -> None:
    zone = ZoneInfo("Europe/Berlin")
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert zones.next_change(zone, change - second, change) == change
    assert zones.next_change(zone, change - second, change - second) is None
    assert zones.next_change(zone, change, change + 90 * 24 * 3600 * second) is None
    assert zones.next_change(UTC, change, change.replace(year=2100)) is None


def test_no_zone_changes_twice_within_a_step_of_the_search(names: list[str]) -> None:
    assert len(names) > 500
    for name in names:
        assert all(later - earlier > zones._STEP for earlier, later in pairwise(changes_in_file(name))), name
