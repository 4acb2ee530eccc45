"""How a load continues around rows that cannot be read, on a source with injected faults."""

from collections.abc import Callable
from typing import Any

import pytest

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.errors import BadRowsError
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS
from peekaping_producer.stores.loading import Loader
from peekaping_producer.stores.pages import Paged
from tests.kit.faulty_tables import IDS, LINKED, PUSH, FakeClock, Tables, bad_with
from tests.kit.pages import all_plans


async def test_a_row_that_cannot_be_read_is_found_and_breaks_only_its_monitor(tables: Tables, loader: Loader) -> None:
    tables.faults[MONITORS] = bad_with("m15", "m30")
    loaded = await loader.load(tables, IDS)
    assert loaded.broken.keys() == {"m15", "m30"}
    assert loaded.monitors.keys() == set(IDS) - {"m15", "m30"}
    assert len(tables.asked) < 40


@pytest.mark.parametrize(
    ("table", "bad", "affected", "kind"),
    [
        (LINKS, ["m15", "m30"], {"m15", "m30"}, "monitor.bad_maintenance"),
        (WINDOWS, ["w1"], LINKED, "monitor.bad_maintenance"),
        (PROXIES, ["p1"], LINKED, "monitor.bad_proxy"),
        (HEARTBEATS, ["m15", "m30"], {"m15", "m30"}, "monitor.bad_heartbeat"),
    ],
)
async def test_a_monitor_runs_without_a_row_of_another_table_that_cannot_be_read(
    tables: Tables, loader: Loader, loader_clock: FakeClock, table: str, bad: list[str], affected: set[str], kind: str
) -> None:
    before = await loader.load(tables, IDS)
    tables.faults[table] = bad_with(*bad)
    for _ in range(3):
        loaded = await loader.load(tables, IDS)
        assert (loaded.broken, loaded.waiting, loaded.degraded) == ({}, {}, {})
        assert {id_ for id_, details in loaded.monitors.items() if details.problems} == affected
        for id_ in affected:
            details = loaded.monitors[id_]
            ((found, reason),) = details.problems
            assert (found, reason) == (kind, f"{table}: {id_ if id_ in bad else bad[0]!r}: row is damaged")
            without = {"monitor.bad_proxy": "proxy", "monitor.bad_heartbeat": "latest_heartbeat"}.get(kind, "windows")
            assert not getattr(details, without)
            assert details.dangling_proxy_id is None
    tables.faults.clear()
    loader_clock.pass_rest()
    assert await loader.load(tables, IDS) == before


@pytest.mark.parametrize(
    ("table", "at", "value", "reason"),
    [
        (WINDOWS, 3, b"\xff", "maintenance 'w1': active: expected 0 or 1, got bytes"),
        (WINDOWS, 12, "abc", "maintenance 'w1': duration: expected an integer, got text"),
        (PROXIES, 5, "abc", "proxy 'p1': port: expected an integer, got text"),
        (HEARTBEATS, 4, "x", "heartbeat 'hm15': status: expected an integer, got text"),
    ],
)
async def test_a_monitor_runs_without_a_row_of_another_table_that_has_a_wrong_value(
    tables: Tables, loader: Loader, table: str, at: int, value: object, reason: str
) -> None:
    rows = tables._rows

    def with_value(name: str, key: str) -> list[tuple[Any, ...]]:
        return [(*row[:at], value, *row[at + 1 :]) if name == table else row for row in rows(name, key)]

    tables._rows = with_value  # type: ignore
    loaded = await loader.load(tables, IDS)
    assert loaded.monitors.keys() == set(IDS)
    assert [text for _, text in loaded.monitors["m15"].problems] == [reason]


async def test_a_row_of_another_table_with_too_few_columns_is_reported_with_its_table_and_key(
    tables: Tables, loader: Loader
) -> None:
    rows = tables._rows
    tables._rows = lambda table, key: [row[:-1] if table == PROXIES else row for row in rows(table, key)]  # type: ignore[method-assign]
    details = (await loader.load(tables, IDS)).monitors["m15"]
    assert details.problems == (("monitor.bad_proxy", "proxies: 'p1': its row cannot be used (ValueError)"),)


async def test_other_windows_of_a_monitor_count_beside_one_that_cannot_be_read(tables: Tables, loader: Loader) -> None:
    rows = tables._rows
    tables._rows = lambda table, key: (  # type: ignore[method-assign]
        [(key, 0, f"w{n}") for n in range(3)] if table == LINKS else rows(table, key)
    )
    tables.faults[WINDOWS] = bad_with("w1")
    details = (await loader.load(tables, ["m1"])).monitors["m1"]
    assert {window.id for window in details.windows} == {"w0", "w2"}
    assert [kind for kind, _ in details.problems] == ["monitor.bad_maintenance"]


ROWS = {MONITORS: IDS, HEARTBEATS: [f"m{n}" for n in range(3, 301, 3)]}


@pytest.mark.parametrize("table", [MONITORS, HEARTBEATS])
@pytest.mark.parametrize(
    "are_bad",
    [lambda n: n < 30, lambda n: n >= 70, lambda n: n < 10 or n >= 60, lambda n: n % 2, lambda n: n != 25],
    ids=["first", "last", "both ends", "every other", "all but one"],
)
async def test_many_bad_rows_leave_the_good_ones_readable(
    tables: Tables, loader: Loader, loader_clock: FakeClock, table: str, are_bad: Callable[[int], bool]
) -> None:
    ids = ROWS[table]
    bad = {id_ for n, id_ in enumerate(ids) if are_bad(n)}
    tables.faults[table] = bad_with(*bad)
    good: set[str] = set()
    for _ in range(12):
        try:
            loaded = await loader.load(tables, [id_ for id_ in ids if id_ not in good] if table == MONITORS else ids)
        except BadRowsError as error:  # a worker reads these again in smaller parts
            ids = [id_ for id_ in ids if id_ not in error.keys]
        else:
            good |= {id_ for id_, details in loaded.monitors.items() if not details.problems}
        loader_clock.pass_rest()
    assert good == set(ROWS[table]) - bad
    if table == HEARTBEATS:
        tables.asked.clear()
        loaded = await loader.load(tables, ids)
        assert loaded.monitors.keys() | loaded.waiting.keys() == set(ids)
        assert good <= loaded.monitors.keys()
        assert tables.count(HEARTBEATS) <= 1 + 8, "bad rows are read separately, and few of them"


async def test_bad_rows_at_both_ends_silence_no_monitor(tables: Tables, loader: Loader) -> None:
    ids = ROWS[HEARTBEATS]
    bad = {*ids[:10], *ids[60:]}
    tables.faults[HEARTBEATS] = bad_with(*bad)
    loaded = await loader.load(tables, ids)
    assert loaded.monitors.keys() == set(ids)
    assert {id_ for id_, details in loaded.monitors.items() if details.problems} == bad
    tables.asked.clear()
    assert (await loader.load(tables, ids)).monitors.keys() == set(ids)
    assert tables.count(HEARTBEATS) == 1, "bad rows are not read again at once"


async def test_a_bad_row_that_was_repaired_is_found_among_many(
    tables: Tables, loader: Loader, loader_clock: FakeClock
) -> None:
    ids = ROWS[HEARTBEATS]
    bad = set(ids[:30])
    tables.faults[HEARTBEATS] = bad_with(*bad)
    await loader.load(tables, ids)
    tables.faults[HEARTBEATS] = bad_with(*bad - {ids[0], ids[29]})
    for _ in range(5):
        loader_clock.pass_rest()
        loaded = await loader.load(tables, ids)
    assert {id_ for id_, details in loaded.monitors.items() if details.problems} == bad - {ids[0], ids[29]}


async def test_monitors_wait_if_no_row_of_a_table_can_be_read(tables: Tables, loader: Loader) -> None:
    tables.faults[HEARTBEATS] = lambda _: BadRowsError("the server failed")
    loaded = await loader.load(tables, IDS)
    assert loaded.waiting.keys() == PUSH
    assert loaded.broken == {}


async def test_the_load_fails_if_no_row_can_be_read(tables: Tables, loader: Loader) -> None:
    tables.faults[MONITORS] = lambda _: BadRowsError("the server failed")
    with pytest.raises(StoreUnavailableError, match="the server failed"):
        await loader.load(tables, IDS)
    assert len(tables.asked) < 60


async def test_a_plan_that_cannot_be_read_is_a_problem(tables: Tables, loader: Loader) -> None:
    tables.faults[PLANS] = bad_with("m15")
    plans = await loader.plans(tables, IDS)
    assert {id_ for id_, plan in plans.items() if plan.problem} == {"m15"}
    assert plans["m15"].interval == 0


@pytest.mark.parametrize("value", [None, b"\xff", 7.5, [], object()])
@pytest.mark.parametrize("at", range(3, 13))
async def test_any_value_of_a_column_breaks_only_its_monitor(
    tables: Tables, loader: Loader, at: int, value: object
) -> None:
    tables.odd["m7"] = (at, value)
    loaded = await loader.load(tables, IDS)
    assert loaded.monitors.keys() >= set(IDS) - {"m7"}
    assert {*loaded.monitors, *loaded.broken, *loaded.waiting} == set(IDS)


@pytest.mark.parametrize("at", [4, 10, 12])
async def test_an_unexpected_exception_of_one_row_breaks_only_its_monitor(
    tables: Tables, loader: Loader, at: int
) -> None:
    class Hostile(str):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("s3cret")

        __hash__ = str.__hash__
        __bool__ = __str__ = __eq__  # type: ignore[assignment]

    tables.odd["m7"] = (at, Hostile("x"))
    loaded = await loader.load(tables, IDS)
    assert loaded.monitors.keys() == set(IDS) - {"m7"}
    assert "s3cret" not in loaded.broken["m7"]


class PlanPages(Paged):
    """Pages of m00, m01, ...; a page that holds a bad one fails."""

    def __init__(self, *bad: str) -> None:
        self.ids = [f"m{n:02}" for n in range(50)]
        self.bad = set(bad)
        self.asked = 0

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        self.asked += 1
        page = [id_ for id_ in self.ids if id_ > (after or "")][:limit]
        if self.bad & set(page):
            raise BadRowsError("damaged")
        return [Plan(id_, 60) for id_ in page]

    async def next_id(self, after: str | None) -> str | None:
        return next((id_ for id_ in self.ids if id_ > (after or "")), None)


@pytest.mark.parametrize("limit", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("bad", [[], ["m00"], ["m07", "m08"], ["m49"]])
async def test_an_unreadable_row_is_a_problem_in_its_page(limit: int, bad: list[str]) -> None:
    rows = PlanPages(*bad)
    seen = await all_plans(rows, limit)
    assert [plan.id for plan in seen] == rows.ids
    assert [plan.id for plan in seen if plan.problem] == bad
