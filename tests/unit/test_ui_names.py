"""Names of monitors: few reads, bounded, and honest while the database is away."""

import asyncio

import pytest

from peekaping_producer.stores.on_demand import OnDemandStore
from peekaping_producer.ui import names as names_module
from peekaping_producer.ui.frame import Failure
from peekaping_producer.ui.names import Named, Names
from tests.kit.memory_store import MemoryStore, monitor
from tests.kit.waiting import until


class Watch:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(is_open=False)
    store.put(monitor("m1", 60), monitor("m2", 20))
    return store


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def names(store: MemoryStore, watch: Watch) -> Names:
    return Names(OnDemandStore(store), lambda: int(1000 * watch.now), clock=watch)


async def settled(names: Names) -> None:
    await until(lambda: names._reading is None or names._reading.done())


async def test_a_name_is_read_once_and_again_when_it_is_old(names: Names, store: MemoryStore, watch: Watch) -> None:
    assert names.of(["m1", "mgone", "no id"]) == {}, "no frame waits for it"
    await settled(names)
    known = {"m1": Named("name of m1", 60), "mgone": Named(None), "no id": Named(None)}
    watch.now += 30
    for _ in range(5):
        assert names.of(["m1", "mgone", "no id"]) == known
    await settled(names)
    assert store.reads.count("load") == 1
    watch.now += 31
    assert names.of(["m1"])["m1"] == known["m1"], "an old name is shown until it is read again"
    await settled(names)
    assert store.reads.count("load") == 2


async def test_at_most_one_read_a_second(names: Names, store: MemoryStore, watch: Watch) -> None:
    for number in range(50):
        names.of([f"m{number}"])
        await settled(names)
        watch.now += 0.1
    assert store.reads.count("load") == 5


async def test_the_number_of_names_is_bounded(names: Names, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "_KEPT", 10)
    for number in range(25):
        names.of([f"m{number}"])
        await settled(names)
        watch.now += 1
    assert len(names._known) == 10


async def test_a_database_that_is_away_is_reported_since_it_failed(
    names: Names, store: MemoryStore, watch: Watch
) -> None:
    store.away = True
    for _ in range(3):
        assert names.of(["m1"]) == {}
        await settled(names)
        watch.now += 1
    assert names.failure == Failure(1_000_000, "the database is away")
    store.away = False
    names.of(["m1"])
    await settled(names)
    assert names.failure is None
    assert names.of(["m1"]) == {"m1": Named("name of m1", 60)}


async def test_a_store_on_demand_is_opened_by_its_first_use_and_closed_when_idle(store: MemoryStore) -> None:
    on_demand = OnDemandStore(store, idle_s=0.01)
    async with on_demand.session() as session:
        assert await session.plans(["m1"])
        await asyncio.sleep(0.03)
        assert await session.plans(["m1"]), "it is in use"
    await until(lambda: not store.is_open)
    async with on_demand.session(), on_demand.session():
        assert store.is_open
    assert store.reads.count("open") == 2
    await on_demand.close()
    assert not store.is_open


async def test_a_store_that_is_used_again_is_not_closed(store: MemoryStore) -> None:
    on_demand = OnDemandStore(store)
    async with on_demand.session():
        pass
    on_demand._begin_to_close()
    async with on_demand.session() as session:
        await asyncio.sleep(0)
        assert await session.plans(["m1"])
        assert store.is_open
    assert on_demand._idle_s > 2 * names_module._FRESH_FOR_S
