"""The page of real replicas, on real servers that fail."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from msgspec.structs import replace

from peekaping_producer.schedule.keys import KEYS
from tests.kit.commands import SECRET
from tests.kit.consumer import at_work
from tests.kit.databases import monitor_row
from tests.kit.fault_proxy import FaultProxy
from tests.kit.fleet import Fleet
from tests.kit.processes import HOST
from tests.kit.ui_client import ANY_PORT, page_of, port_of
from tests.kit.waiting import until

HOSTILE = '<img src=x onerror=alert(1)>\u202e\n"'


@pytest.fixture
async def redis_proxy(fleet: Fleet) -> AsyncIterator[FaultProxy]:
    """In front of the Redis of replicas that are started later."""
    proxy = FaultProxy(int(fleet.environment()["REDIS_PORT"]))
    await proxy.up()
    fleet.settings["REDIS_PORT"] = str(proxy.port)
    yield proxy
    await proxy.down()


@pytest.fixture
async def database_proxy(fleet: Fleet) -> AsyncIterator[FaultProxy]:
    """In front of the database of replicas that are started later."""
    proxy = FaultProxy(fleet.database.target.port or 0)
    await proxy.up()
    fleet.target = replace(fleet.database.target, host=HOST, port=proxy.port)
    yield proxy
    await proxy.down()


def is_complete(state: dict[str, Any]) -> bool:
    """Whether both replicas have reported what they do, and the chart shows what was, and what comes.

    The parts are up to 5 s old; monitors that are in a claim are not due.
    """
    nodes = {replica["node"]: replica["leads"] for replica in state["replicas"]}
    return (
        (state["replicas_heard"], state["replicas_known"]) == (2, 2)
        and sorted(nodes.values()) == [False, True]
        and state["leader"] is not None
        and nodes.get(state["leader"]["node"], False)
        and state["verdict"]["level"] == "good"
        and sum(state["seconds"]["handed_off"]) > 60
        and max(state["seconds"]["due"][:10]) >= 20
        and "producer.started" in [event["kind"] for event in state["events"]]
    )


async def test_two_replicas_one_is_killed_the_other_stops(fleet: Fleet) -> None:
    ids = [*await fleet.monitors(20), *await fleet.monitors(20, interval=10)]
    stays, dies = fleet.start(**ANY_PORT), fleet.start()
    async with at_work(fleet.consumer), page_of(stays) as page, aclosing(page.frames()) as frames:
        await page.fleet(is_complete)
        status, document = await page.get(f"/api/monitors/{ids[0]}")
        assert (status, document["id"], document["errors"]) == (200, ids[0], {"redis": None, "database": None})
        dies.kill()
        state = await page.fleet(lambda state: any(replica["is_silent"] for replica in state["replicas"]))
        assert state["replicas_known"] == 2
        await anext(frames)
        began_at = time.monotonic()
        stopped = asyncio.create_task(asyncio.to_thread(stays.terminate))
        async for _frame in frames:
            pass
        assert await stopped == 0
        assert time.monotonic() - began_at < 15, "an open page delays no stop"


async def test_a_monitor_is_found_by_its_hostile_name(fleet: Fleet) -> None:
    id_ = fleet.database.new_id()
    await fleet.database.insert("monitors", monitor_row(id_, name=HOSTILE, interval=3600))
    await fleet.monitors(30, interval=3600)
    replica = fleet.start(**ANY_PORT)
    async with page_of(replica) as page:
        status, found = await page.get("/api/monitors?q=onerror")
        assert (status, [one["id"] for one in found["monitors"]], found["more"]) == (200, [id_], 0)
        name = found["monitors"][0]["name"]
        assert "<img" in name, "it is for the browser to escape HTML"
        assert name.isprintable()
        status, many = await page.get("/api/monitors?q=m")
        assert (status, len(many["monitors"]), many["more"]) == (200, 20, 1)
        for path, expected in (
            ("/api/monitors?q=", 400),
            ("/api/monitors", 400),
            (f"/api/monitors?q={'x' * 400}", 400),
            ("/api/monitors/507f1f77bcf86cd799439011", 200),
            ("/api/monitors/%00%ff", 200),
            ("/api/nothing", 404),
            ("/static/none.js", 404),
            ("/static/..%2f..%2fserver.py", 404),
        ):
            status, document = await page.get(path)
            assert (path, status, document["version"]) == (path, expected, 1)
        _, foreign = await page.get("/api/monitors/507f1f77bcf86cd799439011")
        assert foreign["verdict"] == "row.absent"
        _, silent = await page.get("/api/silent")
        assert silent["silent"] == 31
    assert SECRET not in "".join(map(str, replica.lines()))
    fleet.terminate()


async def test_redis_goes_and_comes_back(fleet: Fleet, redis_proxy: FaultProxy) -> None:
    (id_,) = await fleet.monitors(1, interval=3600)
    replica = fleet.start(**ANY_PORT)
    async with page_of(replica) as page:
        before = await page.fleet(lambda state: state["scheduled"] == 1)
        await redis_proxy.down()
        state = await page.fleet(lambda state: state["redis_failure"] and state["details_failure"])
        assert state["verdict"]["code"] == "redis_unavailable"
        assert before["now_ms"] <= state["details_failure"]["since_ms"] <= state["now_ms"]
        assert state["scheduled"] == 1, "what is known stays"
        assert state["read_ms"] < state["now_ms"]
        status, document = await page.get(f"/api/monitors/{id_}")
        assert (status, document["verdict"]) == (200, "redis.unavailable")
        assert document["errors"]["redis"]
        await redis_proxy.up()
        await page.fleet(lambda state: not state["redis_failure"] and not state["details_failure"])

    def looks() -> list[object]:
        return [line["event"] for line in replica.lines() if str(line["event"]).startswith("ui.look")]

    await until(lambda: looks() == ["ui.look_failed", "ui.look_recovered"])


async def test_the_database_goes_and_comes_back(fleet: Fleet, database_proxy: FaultProxy) -> None:
    """The monitor becomes due only when the database is away: the name of one that was due before may be known."""
    (id_,) = await fleet.monitors(1, interval=86400)
    replica = fleet.start(**ANY_PORT)
    await until(lambda: "claim.handed_off" in replica.events())
    async with page_of(replica) as page:
        await page.fleet(lambda state: state["scheduled"] == 1)
        await database_proxy.down()
        await fleet.redis.zadd(KEYS.due, {id_: time.time() * 1000}, xx=True)
        state = await page.fleet(lambda state: state["database_failure"] and state["longest_overdue"])
        assert (state["longest_overdue"][0]["id"], state["longest_overdue"][0]["name"]) == (id_, None)
        state = await page.fleet(lambda state: state["verdict"]["code"] == "late_database")
        assert state["verdict"]["level"] == "bad"
        status, document = await page.get(f"/api/monitors/{id_}")
        assert (status, document["errors"]["redis"]) == (200, None)
        assert document["errors"]["database"]
        status, document = await page.get("/api/monitors?q=name")
        assert (status, document["error"].split(":")[0]) == (503, "Names cannot be searched without the database")
        assert (await page.get("/api/silent"))[0] == 503
        await database_proxy.up()
        await page.fleet(lambda state: state["verdict"]["level"] == "good" and not state["database_failure"])


async def test_a_thousand_connections_delay_no_hand_off(fleet: Fleet) -> None:
    """A hundred pages, others that send nothing or half a request: the replica keeps its descriptors and its time."""
    await fleet.monitors(50)
    replica = fleet.start(**ANY_PORT, METRICS_ADDR=f"{HOST}:0")
    port = await port_of(replica)

    async def figures() -> dict[str, float]:
        _, metrics = await replica.get("/metrics")
        return {
            name.removeprefix("peekaping_producer_"): float(value)
            for name, value in (line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
        }

    async def are_refused() -> bool:
        return (await figures())["ui_connections_refused_total"] >= 1000 - 256

    async with at_work(fleet.consumer), AsyncExitStack() as stack:
        await fleet.all_ran()
        before = await figures()
        for number in range(1000):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, (HOST, port))
            head = b"GET /api/frames HTTP/1.1\r\nHost: localhost\r\n"
            connection.send((head + b"\r\n", head, b"")[number % 3])
        await until(are_refused, "the replica keeps its descriptors")
        await fleet.goes_on(ticks=5)
        after = await figures()
    assert after["ui_streams"] > 50
    handed_off, in_time = (
        after[name] - before[name] for name in ("schedule_lag_seconds_count", 'schedule_lag_seconds_bucket{le="1.0"}')
    )
    # A pause of a busy machine delays single batches; these connections would delay all of them.
    assert handed_off >= 5 * 50
    assert in_time > handed_off / 2
    assert not fleet.consumer.duplicated()
    fleet.terminate()


async def test_a_port_in_use_is_an_error_only_if_it_is_set(fleet: Fleet) -> None:
    with socket.create_server((HOST, 0)) as taken:
        replica = fleet.start(UI_ADDR=f"{HOST}:{taken.getsockname()[1]}")
        await until(lambda: not replica.runs)
    assert replica.process.returncode == 2
    assert "UI_ADDR: expected a free host:port, or off, got 127.0.0.1" in replica.log_file.read_text()
