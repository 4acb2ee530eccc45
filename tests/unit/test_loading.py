"""How a load continues around tables and rows that do not answer, on a source with injected faults."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.stores.errors import BadRowsError, StatementTimeoutError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS
from peekaping_producer.stores.loading import Loader
from peekaping_producer.stores.pages import Paged
from peekaping_producer.stores.rows import Row
from peekaping_producer.stores.side_table import ENTRY_BYTES

NUMBERS = [5, 16, 3, 30, 10]


class FakeClock:
    """Seconds that pass only when a test moves them."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def pass_rest(self) -> None:
        self.now_s += Limits().retry_after_s + 0.1


class Tables:
    """A TableReader: ids m0, m1, ...; every third is a push monitor, and every fifth has a proxy and a window."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.faults: dict[str, Callable[[Sequence[str]], Exception | None]] = {}
        self.odd: dict[str, tuple[int, Any]] = {}
        self.size = 10

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        self.asked.append((table, list(keys)))
        if error := self._fault_of(table, keys):
            raise error
        return [row for key in keys for row in self._rows(table, key)]

    def _fault_of(self, table: str, keys: Sequence[str]) -> Exception | None:
        return self.faults[table](keys) if table in self.faults else None

    def _rows(self, table: str, key: str) -> list[tuple[Any, ...]]:
        number = int(key[1:]) if key[1:].isdigit() else 0
        match table:
            case "monitors":
                kind, proxy = "push" if number % 3 == 0 else "http", "p1" if number % 5 == 0 else None
                row: list[Any] = [key, self.size, key, "name", kind, *NUMBERS, True, "{}", proxy]
                if key in self.odd:
                    at, value = self.odd[key]
                    row[at] = value
                return [tuple(row)]
            case "plans":
                return [(key, 0, True, 60)]
            case "monitor_maintenances":
                return [(key, 0, "w1")] if number % 5 == 0 else []
            case "maintenances":
                return [(key, 10, key, True, "manual", *[None] * 8)]
            case "proxies":
                return [(key, 10, key, "http", "h", 1, False, None, "")]
            case _:
                return [(key, 10, f"h{key}", key, 1, None, 1, 1, 1, 1, True, "2026-11-22 12:00:00", None, True)]

    def count(self, table: str) -> int:
        return sum(each == table for each, _ in self.asked)


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def loader(clock: FakeClock) -> Loader:
    return Loader(Limits(), clock)


IDS = [f"m{n}" for n in range(1, 101)]
PUSH = {f"m{n}" for n in range(3, 101, 3)}
LINKED = {f"m{n}" for n in range(5, 101, 5)}


def late_with(*bad: str) -> Callable[[Sequence[str]], Exception | None]:
    return lambda keys: StatementTimeoutError("no answer in time") if set(bad) & set(keys) else None


def bad_with(*bad: str) -> Callable[[Sequence[str]], Exception | None]:
    return lambda keys: BadRowsError("row is damaged") if set(bad) & set(keys) else None


async def test_a_load_reads_each_table_once_and_only_for_monitors_that_need_it(tables: Tables, loader: Loader) -> None:
    loaded = await loader.load(tables, IDS)
    assert loaded.monitors.keys() == set(IDS)
    assert [table for table, _ in tables.asked] == [MONITORS, LINKS, WINDOWS, PROXIES, HEARTBEATS]
    assert set(tables.asked[-1][1]) == PUSH
    assert tables.asked[2:4] == [(WINDOWS, ["w1"]), (PROXIES, ["p1"])]
    tables.asked.clear()
    await loader.load(tables, ["m1", "m2"])
    assert [table for table, _ in tables.asked] == [MONITORS, LINKS]


@pytest.mark.parametrize("table", [LINKS, WINDOWS, PROXIES, HEARTBEATS])
@pytest.mark.parametrize(
    "error", [StatementTimeoutError("late"), StoreRefusedError("no right"), BadRowsError("damaged")]
)
async def test_a_side_table_that_fails_is_read_again_only_later(
    tables: Tables, loader: Loader, clock: FakeClock, table: str, error: StoreError
) -> None:
    before = await loader.load(tables, IDS)
    tables.faults[table] = lambda _: error
    await loader.load(tables, IDS)
    tables.asked.clear()
    loaded = await loader.load(tables, IDS)
    if table in {LINKS, HEARTBEATS} or not isinstance(error, StatementTimeoutError | BadRowsError):
        assert tables.count(table) == 0
    if not isinstance(error, BadRowsError):
        waits = PUSH if table == HEARTBEATS else set()
        assert loaded.waiting.keys() == waits
        assert loaded.monitors == {id_: details for id_, details in before.monitors.items() if id_ not in waits}
    tables.faults.clear()
    clock.pass_rest()
    assert await loader.load(tables, IDS) == before


async def test_monitors_wait_only_for_rows_that_do_not_come(tables: Tables, loader: Loader, clock: FakeClock) -> None:
    tables.faults[HEARTBEATS] = late_with("m33", "m66")
    assert (await loader.load(tables, IDS)).waiting.keys() == {"m33", "m66"}
    tables.asked.clear()
    assert (await loader.load(tables, IDS)).waiting.keys() == {"m33", "m66"}
    assert tables.count(HEARTBEATS) == 1, "they are not asked for with the others"
    for _ in range(3):
        clock.pass_rest()
        tables.asked.clear()
        assert (await loader.load(tables, IDS)).waiting.keys() == {"m33", "m66"}
        assert [keys for table, keys in tables.asked if table == HEARTBEATS][1:] in ([["m33"]], [["m66"]])
    tables.faults[HEARTBEATS] = late_with("m66")
    for _ in range(2):
        clock.pass_rest()
        waiting = (await loader.load(tables, IDS)).waiting
    assert waiting.keys() == {"m66"}


async def test_single_late_rows_one_after_another_mean_the_table(tables: Tables, loader: Loader) -> None:
    tables.faults[HEARTBEATS] = lambda _: StatementTimeoutError("late")
    for id_ in ("m3", "m6", "m9", "m12"):
        assert (await loader.load(tables, [id_])).waiting.keys() == {id_}
    assert tables.count(HEARTBEATS) == 2


async def test_other_loads_do_not_wait_while_one_tries_a_table_again(
    tables: Tables, loader: Loader, clock: FakeClock
) -> None:
    tables.faults[HEARTBEATS] = lambda _: StatementTimeoutError("late")
    await loader.load(tables, IDS)
    clock.pass_rest()
    tables.asked.clear()
    await asyncio.gather(*(loader.load(tables, IDS[:50]) for _ in range(5)))
    assert tables.count(HEARTBEATS) == 1 + 4, "one of the five asks, for all and for parts"


async def test_a_lost_connection_ends_the_load_unless_the_table_causes_it(tables: Tables, loader: Loader) -> None:
    tables.faults[HEARTBEATS] = lambda _: StoreUnavailableError("the connection broke")
    with pytest.raises(StoreUnavailableError, match="broke"):
        await loader.load(tables, IDS)
    loaded = await loader.load(tables, IDS)
    assert loaded.waiting.keys() == PUSH
    assert loaded.monitors.keys() == set(IDS) - PUSH


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
    tables: Tables, loader: Loader, clock: FakeClock, table: str, bad: list[str], affected: set[str], kind: str
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
    clock.pass_rest()
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
    tables: Tables, loader: Loader, clock: FakeClock, table: str, are_bad: Callable[[int], bool]
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
        clock.pass_rest()
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
    tables: Tables, loader: Loader, clock: FakeClock
) -> None:
    ids = ROWS[HEARTBEATS]
    bad = set(ids[:30])
    tables.faults[HEARTBEATS] = bad_with(*bad)
    await loader.load(tables, ids)
    tables.faults[HEARTBEATS] = bad_with(*bad - {ids[0], ids[29]})
    for _ in range(5):
        clock.pass_rest()
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
    rows, seen = PlanPages(*bad), list[Plan]()
    while len(page := await rows.page_of_plans(seen[-1].id if seen else None, limit)) == limit:
        seen += page
    seen += page
    assert [plan.id for plan in seen] == rows.ids
    assert [plan.id for plan in seen if plan.problem] == bad


async def test_last_known_rows_are_bounded(tables: Tables) -> None:
    loader = Loader(Limits(cache_bytes=10 * ENTRY_BYTES))
    await loader.load(tables, IDS)
    tables.faults[LINKS] = lambda _: StatementTimeoutError("late")
    loaded = await loader.load(tables, IDS)
    with_windows = {id_ for id_, details in loaded.monitors.items() if details.windows}
    assert len(with_windows) == 10
    assert with_windows < LINKED


async def test_a_deleted_window_is_not_kept(tables: Tables, loader: Loader) -> None:
    await loader.load(tables, ["m5"])
    rows = tables._rows
    tables._rows = lambda table, key: [] if table == WINDOWS else rows(table, key)  # type: ignore[method-assign]
    assert (await loader.load(tables, ["m5"])).monitors["m5"].windows == ()
    tables.faults[WINDOWS] = lambda _: StatementTimeoutError("late")
    assert (await loader.load(tables, ["m5"])).monitors["m5"].windows == ()
