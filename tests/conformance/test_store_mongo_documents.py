"""Documents with any values in MongoDB: which are read, and which break only their own monitor."""

from datetime import datetime
from typing import Any

import msgspec
import pytest
from bson import Code, DBRef, Decimal128, Int64, ObjectId

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.mongo import MongoSession
from peekaping_producer.stores.store import Store
from peekaping_producer.targets import DatabaseTarget
from tests.kit.mongo import MongoDatabase, document
from tests.kit.pages import all_plans

MongoStore = Store[MongoSession]

SECRET = "pl4nted"

NAMES = ("name", "type", "interval", "timeout", "max_retries", "retry_interval", "resend_interval", "active", "config")


@pytest.fixture
def empty_database(mongo_database: DatabaseTarget) -> DatabaseTarget:
    return mongo_database


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("interval", SECRET, "interval: expected an integer, got text"),
        ("interval", 1.5, "interval: expected an integer, got a fraction"),
        ("interval", float("nan"), "interval: expected an integer, got a fraction"),
        ("interval", float("inf"), "interval: expected an integer, got a fraction"),
        ("interval", Int64(2**53), "interval: expected at most 9007199254740, got 9007199254740992"),
        ("interval", 2.0**60, "interval: expected at most 9007199254740, got 1152921504606846976"),
        ("interval", DBRef("c", 1), "interval: expected an integer, got DBRef"),
        ("interval", True, "interval: expected an integer, got bool"),
        ("interval", [60], "interval: expected an integer, got list"),
        ("interval", Decimal128("60"), "interval: expected an integer, got Decimal128"),
        ("timeout", {"a": SECRET}, "timeout: expected an integer, got dict"),
        ("active", [True], "active: expected 0 or 1, got list"),
        ("name", b"pl4nted \xff", "name: expected text, got bytes"),
        ("config", {"url": SECRET}, "config: expected text, got dict"),
        ("type", 7, "type: expected text, got an integer"),
    ],
)
async def test_a_value_of_the_wrong_type_breaks_only_its_monitor_and_its_plan_is_a_problem(
    database: MongoDatabase, store: MongoStore, field: str, value: object, reason: str
) -> None:
    bad, good = document(**{field: value}), document()
    await database.insert_documents("monitor", bad, good)
    async with store.session() as session:
        loaded = await session.load([str(bad["_id"]), str(good["_id"])])
        plans = await session.plans([str(bad["_id"]), str(good["_id"])])
        page = await session.page_of_plans(None, 10)
    good_plan = Plan(str(good["_id"]), 60)
    assert set(loaded.monitors) == {good_plan.id}
    assert loaded.broken == {str(bad["_id"]): reason}
    if field in {"interval", "active"}:
        plan = plans[str(bad["_id"])]
        assert (plan.interval, plan.problem[: len(field)]) == (0, field)
        assert SECRET not in plan.problem
        assert (plans[good_plan.id], page) == (good_plan, [plan, good_plan])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_walk_sees_every_active_document_and_reports_what_cannot_be_scheduled(
    database: MongoDatabase, store: MongoStore, limit: int
) -> None:
    odd: list[Any] = [1.5, [60], Decimal128("60"), "60", None, float("nan"), 0.5, 2**60, -1, {"$ref": 1, "$id": 2}]
    rows = [document(interval=value) for value in (*odd, 60, *odd, 61.0, Int64(62), *odd, 2**31)]
    before: list[Any] = [7, "6b02e26c69e1fd917a5fde33", b"x" * 12]
    behind: list[Any] = [datetime(2026, 1, 1), True]
    strange = [document(_id=id_) for id_ in before + behind]
    inactive = [document(active=value) for value in (False, None, 0, 0.0)]
    await database.insert_documents("monitor", *rows, *strange, document(active=[True]), document(active=1), *inactive)
    async with store.session() as session:
        seen = await all_plans(session, limit)
    assert [plan.interval for plan in seen if not plan.problem] == [60, 61, 62, 2**31, 60]
    assert all(type(plan.interval) is int for plan in seen)
    nameless = {plan.id for plan in seen if plan.problem.startswith("_id: expected an ObjectId")}
    # Where a page ends among those whose ids the order has no cursor for, the rest of them is passed over.
    assert len(nameless) == len(strange) if limit > len(strange) else len(nameless) >= 2
    assert sum(plan.problem.startswith("interval") for plan in seen) == 3 * len(odd)
    assert sum(plan.problem.startswith("active") for plan in seen) == 1


@pytest.mark.parametrize("absent", NAMES)
@pytest.mark.parametrize("how", ["left out", "null"])
async def test_an_absent_field_is_read_as_gos_zero_value(
    database: MongoDatabase, store: MongoStore, absent: str, how: str
) -> None:
    row = document()
    del row[absent]
    await database.insert_documents("monitor", row | ({absent: None} if how == "null" else {}))
    async with store.session() as session:
        loaded = await session.load([str(row["_id"])])
    assert loaded.broken == {}
    zero: object = {"active": False, "name": "", "type": "", "config": ""}.get(absent, 0)
    assert getattr(loaded.monitors[str(row["_id"])].monitor, absent) == zero


async def test_numbers_of_any_width_are_read(database: MongoDatabase, store: MongoStore) -> None:
    row = document(interval=60.0, timeout=Int64(7), retry_interval=-0.0, active=1)
    await database.insert_documents("monitor", row)
    async with store.session() as session:
        monitor = (await session.load([str(row["_id"])])).monitors[str(row["_id"])].monitor
    read = (monitor.interval, monitor.timeout, monitor.retry_interval, monitor.active)
    assert read == (60, 7, 0, True)
    assert [type(value) for value in read] == [int, int, int, bool]


async def test_the_drivers_own_types_can_be_encoded(database: MongoDatabase, store: MongoStore) -> None:
    """One document that could not be encoded would end one replica after the other."""
    wide = dict.fromkeys(("interval", "timeout", "max_retries", "retry_interval", "resend_interval"), Int64(60))
    window, through = {"_id": ObjectId(), "active": True, "duration": Int64(5), "interval_day": Int64(1)}, ObjectId()
    row = document(**wide, type="push", name=Code("f()"), config=Code("{}"), proxy_id=through)
    await database.insert_documents("monitor", row)
    await database.insert_documents(
        "proxies", {"_id": through, "port": Int64(1), "host": Code("h"), "protocol": "http"}
    )
    await database.insert_documents("maintenance", window | {"timezone": Code("UTC"), "strategy": "manual"})
    link = {"monitor_id": row["_id"], "maintenance_id": window["_id"]}
    await database.insert_documents("monitor_maintenance", link)
    beat = dict.fromkeys(("status", "ping", "duration", "down_count", "retries"), Int64(1))
    await database.insert_documents("heartbeat", {"monitor_id": row["_id"], "msg": Code("m"), **beat})
    async with store.session() as session:
        loaded = await session.load([str(row["_id"])])
    details = loaded.monitors[str(row["_id"])]
    assert details.proxy
    assert details.windows
    assert details.latest_heartbeat
    msgspec.json.encode(details)


async def test_a_heartbeat_with_a_date_beyond_pythons_years_is_left_out(
    database: MongoDatabase, store: MongoStore
) -> None:
    from bson.datetime_ms import DatetimeMS

    far, good = document(type="push"), document()
    await database.insert_documents("monitor", far, good)
    await database.insert_documents("heartbeat", {"monitor_id": far["_id"], "time": DatetimeMS(2**60)})
    async with store.session() as session:
        loaded = await session.load([str(far["_id"]), str(good["_id"])])
    assert set(loaded.monitors) == {str(far["_id"]), str(good["_id"])}
    assert "time: expected a time like" in str(loaded.monitors[str(far["_id"])].problems)
