"""What every store reads of monitors, on every database."""

import json
from pathlib import Path

import pytest

from peekaping_producer.errors import StoreError
from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan
from peekaping_producer.stores import Loaded, MonitorStore, store_for
from peekaping_producer.targets import DatabaseTarget
from tests.conformance.conftest import DIALECTS, SQL_DIALECTS, STORES, limited, load, without_tables
from tests.kit.databases import Database
from tests.kit.pages import all_plans


@pytest.fixture(params=STORES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseTarget:
    return without_tables(request, tmp_path)


async def test_every_column_of_a_monitor_is_read(database: Database, store: MonitorStore) -> None:
    row = database.monitor(
        name="n", type="tcp", interval=1, timeout=2, max_retries=3, retry_interval=4, resend_interval=5
    )
    await database.insert("monitors", row)
    expected = Monitor(row["id"], "n", "tcp", 1, 2, 3, 4, 5, True, row["config"])
    assert await load(store, row["id"]) == Loaded({row["id"]: MonitorDetails(expected)}, {})


async def test_an_inactive_monitor_is_loaded(database: Database, store: MonitorStore) -> None:
    row = database.monitor(active=False)
    await database.insert("monitors", row)
    assert not (await load(store, row["id"])).monitors[row["id"]].monitor.active


async def test_a_load_of_1000_ids_leaves_out_missing_and_invalid_ones(database: Database, store: MonitorStore) -> None:
    rows = [database.monitor(name=f"monitor {n}") for n in range(900)]
    await database.insert("monitors", *rows)
    strange = ["", "x", "é" * 36, rows[0]["id"].upper(), "'; DROP TABLE monitors; --", rows[1]["id"] + "\n", "\0"]
    loaded = await load(store, *strange, *(row["id"] for row in rows), *(database.new_id() for _ in range(93)))
    assert {id_: details.monitor.name for id_, details in loaded.monitors.items()} == {
        row["id"]: row["name"] for row in rows
    }
    assert loaded.broken == {}


@pytest.mark.parametrize("ids", [[], ["no id"]])
async def test_a_load_of_nothing_finds_nothing(store: MonitorStore, ids: list[str]) -> None:
    assert await load(store, *ids) == Loaded({}, {})


@pytest.mark.parametrize("name", ["日本 é 🚦", "\u2028\u2029<&>\"'\\", "", "a\nb\tc\x7f", "ﷺ" * 100])
async def test_any_name_is_read_unchanged(database: Database, store: MonitorStore, name: str) -> None:
    row = database.monitor(name=name, config=json.dumps({"k": name}, ensure_ascii=False))
    await database.insert("monitors", row)
    read = (await load(store, row["id"])).monitors[row["id"]].monitor
    assert (read.name, json.loads(read.config)) == (name, {"k": name})


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (None, ""),
        ("{}", "{}"),
        ("[1, 2.50]", "[1, 2.50]"),
        ('{"a": null}', '{"a": null}'),
        ('"text"', '"text"'),
        ("12.5", "12.5"),
    ],
)
async def test_a_config_of_any_json_type_is_read_as_text(
    database: Database, store: MonitorStore, stored: str | None, read: str
) -> None:
    row = database.monitor(config=stored)
    await database.insert("monitors", row)
    assert (await load(store, row["id"])).monitors[row["id"]].monitor.config == read


async def test_a_walk_sees_each_active_monitor_once_in_order(database: Database, store: MonitorStore) -> None:
    active = [database.monitor(interval=n - 2) for n in range(25)]
    await database.insert("monitors", *active, database.monitor(active=False))
    expected = sorted(active, key=lambda row: str(row["id"]))
    async with store.session() as session:
        for limit in (1, 7, 25, 1000):
            plans = await all_plans(session, limit)
            assert [plan.id for plan in plans] == [row["id"] for row in expected]
            assert [plan.interval for plan in plans] == [max(row["interval"], 0) for row in expected]
            problems = [f"got {row['interval']}" if row["interval"] <= 0 else "" for row in expected]
            assert all(plan.problem.endswith(problem) for plan, problem in zip(plans, problems, strict=True))
            assert sum(bool(plan.problem) for plan in plans) == 3


async def test_a_walk_sees_remaining_rows_exactly_once_while_others_change(
    database: Database, store: MonitorStore
) -> None:
    ids = sorted(database.new_id() for _ in range(60))
    staying, going, later = ids[0::3], ids[1::3], ids[2::3]
    await database.insert("monitors", *(database.monitor(id=id_) for id_ in staying + going))
    seen: list[str] = []
    async with store.session() as session:
        while page := await session.page_of_plans(seen[-1] if seen else None, 5):
            seen += [plan.id for plan in page]
            if going:
                await database.delete("monitors", going.pop())
                await database.update("monitors", going.pop(0), active=False)
                await database.insert("monitors", database.monitor(id=later.pop()), database.monitor(id=later.pop(0)))
    assert len(seen) == len(set(seen))
    assert set(staying) <= set(seen)


async def test_plans_are_as_stored_and_0_for_an_inactive_monitor(database: Database, store: MonitorStore) -> None:
    running, paused, never = (
        database.monitor(interval=2**31 - 1),
        database.monitor(active=False, interval=-60),
        database.monitor(interval=-1),
    )
    await database.insert("monitors", running, paused, never)
    async with store.session() as session:
        plans = await session.plans([running["id"], paused["id"], never["id"], database.new_id(), "no id"])
    problem = "interval: expected 1 to 9007199254740 whole seconds, got -1"
    assert plans == {
        running["id"]: Plan(running["id"], 2**31 - 1),
        paused["id"]: Plan(paused["id"], 0),
        never["id"]: Plan(never["id"], 0, problem),
    }


@pytest.mark.parametrize("empty_database", ["sqlite", "mongo"], indirect=True)
async def test_an_interval_of_more_than_32_bits_is_read(database: Database, store: MonitorStore) -> None:
    rows = [database.monitor(interval=interval, timeout=2**40) for interval in (3_000_000_000, 9007199254740)]
    await database.insert("monitors", *rows)
    loaded = await load(store, *(row["id"] for row in rows))
    async with store.session() as session:
        assert {plan.id: plan.interval for plan in await session.page_of_plans(None, 9)} == {
            row["id"]: row["interval"] for row in rows
        }
    assert {id_: details.monitor.interval for id_, details in loaded.monitors.items()} == {
        row["id"]: row["interval"] for row in rows
    }


async def test_a_ping_reads_what_a_load_reads(database: Database, store: MonitorStore) -> None:
    await store.ping()
    await database.insert("monitors", database.monitor(config=json.dumps({"k": "x" * 1_000_000})))
    await store.ping()
    if database.target.dialect != "mongo":  # which creates a collection on first use
        await database.rename("monitors", "monitors_away")
        with pytest.raises(StoreError):
            await store.ping()


@limited(batch_bytes=5 * 10_000, large_rows_bytes=300_000)
async def test_large_configs_are_read_alone_within_a_limit(database: Database, store: MonitorStore) -> None:
    sizes = {"small": 10, "large": 100_000, "larger": 110_000, "more than is left": 120_000, "huge": 400_000}
    rows = [database.monitor(name=name, config=json.dumps({"k": "x" * size})) for name, size in sizes.items()]
    await database.insert("monitors", *rows)
    loaded = await load(store, *(row["id"] for row in rows))
    names = {row["id"]: row["name"] for row in rows}
    read = {details.monitor.name: details.monitor.config for details in loaded.monitors.values()}
    assert {name: json.loads(config) for name, config in read.items()} == {
        row["name"]: json.loads(row["config"]) for row in rows[:3]
    }
    assert {names[id_] for id_ in loaded.waiting} == {"more than is left"}
    assert {names[id_] for id_ in loaded.broken} == {"huge"}
    assert "xxx" not in str([loaded.waiting, loaded.broken])
    assert len((await load(store, rows[3]["id"])).monitors) == 1, "in its turn"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cc90ad81-d52e-4b22-ad2f-5bb4fb3d8203", set(SQL_DIALECTS)),
        ("00000000-0000-0000-0000-000000000000", set(SQL_DIALECTS)),
        ("01939f5e-7c1a-7000-8000-000000000000", set(SQL_DIALECTS)),
        ("CC90AD81-D52E-4B22-AD2F-5BB4FB3D8203", {"mysql", "sqlite"}),
        ("cc90ad81d52e4b22ad2f5bb4fb3d8203", {"mysql", "sqlite"}),
        ("{cc90ad81-d52e-4b22-ad2f-5bb4fb3d8203}", {"mysql", "sqlite"}),
        ("cc90ad81-d52e-4b22-ad2f-5bb4fb3d8203\n", {"sqlite"}),
        ("6b02e26c69e1fd917a5fde33", {"mysql", "sqlite", "mongo"}),
        ("6B02E26C69E1FD917A5FDE33", {"mysql", "sqlite"}),
        ("é", {"sqlite"}),
        ("a" * 64, {"mysql", "sqlite"}),
        ("a" * 65, set()),
        ("?", set()),
        ("a\0", set()),
        ("\udcff", set()),
        ("", set()),
    ],
)
def test_an_id_is_what_the_database_can_hold(text: str, expected: set[str]) -> None:
    taken = {
        dialect
        for dialect in DIALECTS
        if store_for(DatabaseTarget(dialect=dialect, name="none", host="localhost", port=1), connections=1).is_id(text)
    }
    assert taken == expected
