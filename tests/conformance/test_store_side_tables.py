"""What every store reads beside monitors, on every database: windows, proxies, heartbeats."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.monitors.maintenance import MaintenanceWindow
from peekaping_producer.monitors.monitor import Heartbeat, Proxy
from peekaping_producer.stores import MonitorStore
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import SQL_DIALECTS, STORES, limited, load, without_tables
from tests.kit.databases import Database, Row

SECRET = "pl4nted"


@pytest.fixture(params=STORES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    return without_tables(request, tmp_path)


async def test_active_windows_are_loaded_with_their_monitors_latest_change_first(
    database: Database, store: MonitorStore
) -> None:
    first, second, third = (database.monitor() for _ in range(3))
    full = database.window(
        strategy="recurring-interval",
        start_date_time="2026-11-18T00:00",
        end_date_time="2026-12-12T12:37",
        start_time="12:07",
        end_time="13:37",
        interval_day=2,
        cron="7 12 * * *",
        timezone="Europe/Berlin",
        duration=90,
        updated_at="2026-11-20 00:00:00",
    )
    shared = database.window(updated_at="2026-11-21 00:00:00")
    paused, unattached = database.window(active=False), database.window()
    await database.insert("monitors", first, second, third)
    await database.insert("maintenances", full, shared, paused, unattached)
    await database.insert(
        "monitor_maintenances",
        *(database.link(first, w) for w in (full, shared, paused)),
        database.link(second, shared),
    )
    monitors = (await load(store, first["id"], second["id"], third["id"])).monitors
    manual = MaintenanceWindow(shared["id"], True, "manual")
    assert monitors[first["id"]].windows == (manual, MaintenanceWindow(*_fields(MaintenanceWindow, full)))
    assert monitors[second["id"]].windows == (manual,)
    assert monitors[third["id"]].windows == ()


STRATEGIES: dict[str, Row] = {
    "manual": {},
    "single": {
        "start_date_time": "2026-11-22T10:00",
        "end_date_time": "2026-11-22T12:00",
        "timezone": "SAME_AS_SERVER",
    },
    "recurring-interval": {"start_time": "23:00", "end_time": "01:00", "interval_day": 3, "timezone": "Asia/Tokyo"},
    "recurring-weekday": {"cron": "0 2 * * 1,3", "duration": 60, "timezone": "UTC"},
    "recurring-day-of-month": {"cron": "0 2 1,15 * *", "duration": 30},
    "cron": {"cron": "*/5 * * * *", "duration": 2**31 - 1},
    "empty texts": dict.fromkeys(
        ["start_date_time", "end_date_time", "start_time", "end_time", "cron", "timezone"], ""
    ),
}


async def test_windows_of_every_strategy_are_read_as_stored(database: Database, store: MonitorStore) -> None:
    row = database.monitor()
    windows = [database.window(strategy=name, **columns) for name, columns in STRATEGIES.items()]
    await database.insert("monitors", row)
    for each in windows:
        await database.insert("maintenances", each)
        await database.insert("monitor_maintenances", database.link(row, each))
    read = (await load(store, row["id"])).monitors[row["id"]].windows
    expected = sorted(windows, key=lambda each: each["id"])  # changed at the same instant
    assert read == tuple(MaintenanceWindow(*_fields(MaintenanceWindow, each)) for each in expected)


async def test_proxies_are_loaded_with_their_monitors(database: Database, store: MonitorStore) -> None:
    with_credentials, without, empty = (
        database.proxy(),
        database.proxy(username=None, password=None),
        database.proxy(username="", password=""),
    )
    await database.insert("proxies", with_credentials, without, empty)
    rows = [database.monitor(proxy_id=p["id"]) for p in (with_credentials, with_credentials, without, empty)]
    await database.insert("monitors", *rows)
    monitors = (await load(store, *(row["id"] for row in rows))).monitors
    read = [monitors[row["id"]].proxy for row in rows]
    assert read[0] == read[1] == Proxy(*_fields(Proxy, with_credentials))
    assert read[2] == Proxy(*_fields(Proxy, without))
    assert read[3] == Proxy(*_fields(Proxy, empty | {"username": None, "password": None}))
    assert {details.dangling_proxy_id for details in monitors.values()} == {None}


async def test_a_proxy_that_is_gone_leaves_the_monitor_without_one(database: Database, store: MonitorStore) -> None:
    await database.let_proxies_dangle()
    row = database.monitor(proxy_id=database.new_id())
    await database.insert("monitors", row)
    details = (await load(store, row["id"])).monitors[row["id"]]
    assert (details.proxy, details.dangling_proxy_id) == (None, row["proxy_id"])


@pytest.mark.parametrize("empty_database", ["sqlite", "mongo"], indirect=True)
async def test_an_empty_proxy_id_means_no_proxy(database: Database, store: MonitorStore) -> None:
    row = database.monitor(proxy_id="")
    await database.insert("monitors", row)
    details = (await load(store, row["id"])).monitors[row["id"]]
    assert (details.proxy, details.dangling_proxy_id) == (None, None)


@pytest.mark.parametrize("empty_database", ["sqlite", "mongo"], indirect=True)
async def test_an_unreadable_row_of_a_side_table_is_named(database: Database, store: MonitorStore) -> None:
    """The other databases have typed columns."""
    proxy, window = database.proxy(port=SECRET), database.window(duration=SECRET)
    by_proxy, by_window, good = database.monitor(proxy_id=proxy["id"]), database.monitor(), database.monitor()
    by_heartbeat = database.monitor(type="push")
    heartbeat = database.heartbeat(by_heartbeat, time=SECRET)
    await database.insert("proxies", proxy)
    await database.insert("monitors", by_proxy, by_window, by_heartbeat, good)
    await database.insert("maintenances", window)
    await database.insert("monitor_maintenances", database.link(by_window, window))
    await database.insert("heartbeats", heartbeat)
    loaded = await load(store, *(row["id"] for row in (by_proxy, by_window, by_heartbeat, good)))
    number, moment = "expected an integer, got text", "expected a time like 2026-11-22 12:37:53.220344+00:00, got text"
    assert loaded.broken == {}
    assert {id_: details.problems for id_, details in loaded.monitors.items()} == {
        by_proxy["id"]: (("monitor.bad_proxy", f"proxy {proxy['id']!r}: port: {number}"),),
        by_window["id"]: (("monitor.bad_maintenance", f"maintenance {window['id']!r}: duration: {number}"),),
        by_heartbeat["id"]: (("monitor.bad_heartbeat", f"heartbeat {heartbeat['id']!r}: time: {moment}"),),
        good["id"]: (),
    }


async def test_push_monitors_are_loaded_with_their_latest_heartbeat(database: Database, store: MonitorStore) -> None:
    several, none, http = database.monitor(type="push"), database.monitor(type="push"), database.monitor(type="http")
    latest = database.heartbeat(several, time="2026-11-22 12:37:53.220")
    await database.insert("monitors", several, none, http)
    await database.insert(
        "heartbeats",
        database.heartbeat(several, time="2026-11-22 12:37:53.219"),
        latest,
        database.heartbeat(several, time="2025-12-31 23:59:59"),
        database.heartbeat(http),
    )
    monitors = (await load(store, several["id"], none["id"], http["id"])).monitors
    times = {
        "time": datetime(2026, 11, 22, 12, 37, 53, 220000, UTC),
        "end_time": datetime(2026, 11, 22, 12, 37, 54, 1000, UTC),
    }
    assert monitors[several["id"]].latest_heartbeat == Heartbeat(*_fields(Heartbeat, latest | times))
    assert monitors[none["id"]].latest_heartbeat is None
    assert monitors[http["id"]].latest_heartbeat is None


async def test_times_do_not_depend_on_any_zone(
    database: Database, store: MonitorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    await database.set_zone("Asia/Kathmandu")
    await store.close()
    await store.open()
    row = database.monitor(type="push")
    await database.insert("monitors", row)
    await database.insert("heartbeats", database.heartbeat(row, time="2026-03-29 01:30:00"))
    beat = (await load(store, row["id"])).monitors[row["id"]].latest_heartbeat
    monkeypatch.undo()
    time.tzset()
    assert beat is not None
    assert beat.time == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


async def test_null_columns_of_a_heartbeat_are_read_as_gos_zero_values(database: Database, store: MonitorStore) -> None:
    row = database.monitor(type="push")
    names = ("msg", "ping", "duration", "down_count", "retries", "end_time")
    await database.insert("monitors", row)
    await database.insert("heartbeats", database.heartbeat(row, **dict.fromkeys(names)))
    beat = (await load(store, row["id"])).monitors[row["id"]].latest_heartbeat
    assert [getattr(beat, name) for name in names] == ["", 0, 0, 0, 0, datetime(1, 1, 1, tzinfo=UTC)]


@limited(batch_bytes=50_000, large_rows_bytes=300_000)
async def test_a_large_heartbeat_is_read_alone(database: Database, store: MonitorStore) -> None:
    rows = [database.monitor(type="push") for _ in range(4)]
    await database.insert("monitors", *rows)
    sizes = (5, 100_000, 250_000, 400_000)
    beats = [database.heartbeat(row, msg="m" * size) for row, size in zip(rows, sizes, strict=True)]
    await database.insert("heartbeats", *beats)
    loaded = await load(store, *(row["id"] for row in rows))
    messages = [details.latest_heartbeat.msg for details in loaded.monitors.values() if details.latest_heartbeat]
    assert sorted(map(len, messages)) == [5, 100_000]
    assert loaded.waiting.keys() == {rows[2]["id"]}
    assert [kind for kind, _ in loaded.monitors[rows[3]["id"]].problems] == ["monitor.bad_heartbeat"]


@pytest.mark.parametrize("empty_database", SQL_DIALECTS, indirect=True)
async def test_a_missing_side_table_stops_only_monitors_that_need_it(database: Database, store: MonitorStore) -> None:
    """A missing collection is an empty one. Locks are tested in test_store_locks.py."""
    plain, windowed, push = database.monitor(), database.monitor(), database.monitor(type="push")
    window = database.window()
    await database.insert("monitors", plain, windowed, push)
    await database.insert("maintenances", window)
    await database.insert("monitor_maintenances", database.link(windowed, window))
    ids = [row["id"] for row in (plain, windowed, push)]
    before = await load(store, *ids)
    assert before.monitors.keys() == set(ids)
    for table in ("maintenances", "heartbeats"):
        await database.rename(table, f"{table}_away")
    loaded = await load(store, *ids)
    assert loaded.monitors == {id_: before.monitors[id_] for id_ in ids[:2]}
    assert "heartbeats" in loaded.waiting[push["id"]]
    assert loaded.degraded.keys() == {"maintenances"}


def _fields(struct: Any, row: Row) -> list[Any]:
    return [row[name] for name in struct.__struct_fields__]
