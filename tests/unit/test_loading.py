"""How a load continues around tables and rows that do not answer, on a source with injected faults."""

import asyncio

import pytest

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.stores.errors import BadRowsError, StatementTimeoutError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import HEARTBEATS, LINKS, MONITORS, PROXIES, WINDOWS
from peekaping_producer.stores.loading import Loader
from peekaping_producer.stores.side_table import ENTRY_BYTES
from tests.kit.faulty_tables import IDS, LINKED, PUSH, FakeClock, Tables, late_with


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
    tables: Tables, loader: Loader, loader_clock: FakeClock, table: str, error: StoreError
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
    loader_clock.pass_rest()
    assert await loader.load(tables, IDS) == before


async def test_side_tables_that_did_not_answer_at_the_start_are_read_later(
    tables: Tables, loader: Loader, loader_clock: FakeClock
) -> None:
    late = {HEARTBEATS: "heartbeats: late", WINDOWS: "maintenances: late"}
    loader.postpone(late)
    loaded = await loader.load(tables, IDS)
    assert (tables.count(HEARTBEATS), tables.count(WINDOWS)) == (0, 0)
    assert set(loaded.waiting.values()) == {late[HEARTBEATS]}
    assert loaded.degraded == {WINDOWS: late[WINDOWS]}
    loader_clock.pass_rest()
    assert (await loader.load(tables, IDS)).waiting == {}


async def test_monitors_wait_only_for_rows_that_do_not_come(
    tables: Tables, loader: Loader, loader_clock: FakeClock
) -> None:
    tables.faults[HEARTBEATS] = late_with("m33", "m66")
    assert (await loader.load(tables, IDS)).waiting.keys() == {"m33", "m66"}
    tables.asked.clear()
    assert (await loader.load(tables, IDS)).waiting.keys() == {"m33", "m66"}
    assert tables.count(HEARTBEATS) == 1, "they are not asked for with the others"
    for _ in range(3):
        loader_clock.pass_rest()
        tables.asked.clear()
        assert (await loader.load(tables, IDS)).waiting.keys() == {"m33", "m66"}
        assert [keys for table, keys in tables.asked if table == HEARTBEATS][1:] in ([["m33"]], [["m66"]])
    tables.faults[HEARTBEATS] = late_with("m66")
    for _ in range(2):
        loader_clock.pass_rest()
        waiting = (await loader.load(tables, IDS)).waiting
    assert waiting.keys() == {"m66"}


async def test_single_late_rows_one_after_another_mean_the_table(tables: Tables, loader: Loader) -> None:
    tables.faults[HEARTBEATS] = lambda _: StatementTimeoutError("late")
    for id_ in ("m3", "m6", "m9", "m12"):
        assert (await loader.load(tables, [id_])).waiting.keys() == {id_}
    assert tables.count(HEARTBEATS) == 2


async def test_other_loads_do_not_wait_while_one_tries_a_table_again(
    tables: Tables, loader: Loader, loader_clock: FakeClock
) -> None:
    tables.faults[HEARTBEATS] = lambda _: StatementTimeoutError("late")
    await loader.load(tables, IDS)
    loader_clock.pass_rest()
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
