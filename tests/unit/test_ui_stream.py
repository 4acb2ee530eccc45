"""The stream of frames over HTTP, with a replica in memory: who gets what, and what it costs."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web
from structlog.testing import capture_logs

from peekaping_producer.errors import RedisRefusedError
from peekaping_producer.metrics import Metrics
from peekaping_producer.settings import UiAccess
from peekaping_producer.stores.on_demand import OnDemandStore
from peekaping_producer.ui import frames as frames_module
from peekaping_producer.ui import shared_look as shared_look_module
from peekaping_producer.ui.access import AccessEndpoints
from peekaping_producer.ui.access.sessions import LIFETIME_S
from peekaping_producer.ui.app import application
from peekaping_producer.ui.details import DetailsReader
from peekaping_producer.ui.frames import Frames
from peekaping_producer.ui.names import Names
from peekaping_producer.ui.shared_look import SharedLook
from peekaping_producer.ui.static_files import StaticFiles
from tests.kit.memory_store import MemoryStore
from tests.kit.processes import HOST
from tests.kit.ui import NOW_MS, MemoryReplica, MemorySchedule, report
from tests.kit.ui_access import BEARER, TOKEN, Times, page
from tests.kit.waiting import until


class Served:
    """A page that makes a frame every 20 ms."""

    def __init__(self) -> None:
        self.replica = MemoryReplica(report("vm-a", leads=True))
        self.schedule = MemorySchedule()
        self.metrics = Metrics()
        names = Names(OnDemandStore(MemoryStore()), self.replica.now_ms)
        details = DetailsReader(self.schedule, self.replica.now_ms)
        self.look = SharedLook(self.replica, details, names, self.metrics, program="1.0.0")
        self.frames = Frames(self.look, self.metrics, slow_after_s=0.3)
        self.base = ""

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"peekaping_producer_{name}")


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(shared_look_module, "EVERY_S", 0.02)
    monkeypatch.setattr(shared_look_module, "_SAMPLED_WITHIN_S", 0.0)
    page = Served()
    runner = web.AppRunner(
        application(AccessEndpoints(UiAccess(is_public=True)), page.frames, files=StaticFiles()), shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    page.base = f"http://{HOST}:{runner.addresses[0][1]}"
    yield page
    page.frames.stop()
    await runner.cleanup()
    await page.look.stop()


@asynccontextmanager
async def open_page(served: Served) -> AsyncIterator[ClientResponse]:
    async with ClientSession() as session, session.get(f"{served.base}/api/frames") as response:
        yield response


async def next_frame(response: ClientResponse) -> dict[str, Any]:
    async for line in response.content:
        if line.startswith(b"data: "):
            frame: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            return frame
    raise AssertionError("the stream ended")


async def test_frames_are_events_with_the_headers_of_a_stream(served: Served) -> None:
    async with open_page(served) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Security-Policy" in response.headers
        assert await response.content.readline() == b"retry: 2000\n"
        assert await response.content.readline() == b"\n"
        assert await response.content.readline() == b"event: frame\n"
        assert (await next_frame(response))["node"] == "vm-a-1-abcd"
        assert (await next_frame(response))["now_ms"] == NOW_MS
    assert served.replica.samples == 1, "the first page lets the replica read its state"


async def test_pages_share_one_look_and_without_a_page_nothing_runs(served: Served) -> None:
    async with open_page(served) as first, open_page(served) as second, open_page(served) as third:
        for _ in range(10):
            for response in (first, second, third):
                await next_frame(response)
        assert served.value("ui_streams") == 3
        assert served.look.latest
        assert len(served.schedule.asked) <= served.look.latest.number + 2
        assert served.look.latest.number >= 10
    await until(lambda: served.look.readers == 0)
    assert served.value("ui_streams") == 0
    asked = len(served.schedule.asked)
    await asyncio.sleep(0.1)
    assert len(served.schedule.asked) == asked
    async with open_page(served) as response:
        await next_frame(response)
    assert served.replica.samples == 2


async def test_one_page_too_many_is_refused_and_may_come_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "MAX_STREAMS", 1)
    async with open_page(served) as first:
        await next_frame(first)
        async with open_page(served) as second:
            assert second.status == 503
            assert second.headers["Retry-After"] == "5"
            assert await second.json() == {"version": 1, "error": "1 pages are open already."}
    await until(lambda: served.look.readers == 0)
    async with open_page(served) as third:
        await next_frame(third)
    assert served.value("ui_streams_refused_total") == 1


async def test_a_page_that_does_not_read_is_dropped_and_delays_no_other(served: Served) -> None:
    """Its connection fills: frames are skipped, and none waits in the memory of the process."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (HOST, int(served.base.rpartition(":")[2])))
    with sock, capture_logs() as logged:
        await asyncio.get_running_loop().sock_sendall(sock, b"GET /api/frames HTTP/1.1\r\nHost: x\r\n\r\n")
        async with open_page(served) as response:
            await until(lambda: served.look.readers == 2)
            while served.look.readers == 2:
                await next_frame(response)
            await next_frame(response)
    assert served.value("ui_readers_dropped_total") == 1
    assert [line["event"] for line in logged] == ["ui.reader_dropped"]


async def test_redis_refuses_the_look_and_frames_continue(served: Served) -> None:
    with capture_logs() as logged:
        async with open_page(served) as response:
            reason = "'NOPERM this user'"
            assert reason not in str((await next_frame(response))["body"])
            served.schedule.error = RedisRefusedError("NOPERM this user", "NOPERM")
            while reason not in str((await next_frame(response))["body"]):
                pass
            for _ in range(3):
                await next_frame(response)
            served.schedule.error = None
            while reason in str((await next_frame(response))["body"]):
                pass
    assert [line["event"] for line in logged] == ["ui.look_failed", "ui.look_recovered"]


async def test_redis_that_hangs_delays_no_frame(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_page(served) as response:
        await next_frame(response)
        monkeypatch.setattr(served.schedule, "look", lambda **_: asyncio.sleep(60))
        for _ in range(5):
            await next_frame(response)


async def test_a_fault_of_the_program_is_logged_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_seen: object) -> None:
        raise ZeroDivisionError

    with capture_logs() as logged:
        async with open_page(served) as response:
            await next_frame(response)
            with monkeypatch.context() as patched:
                patched.setattr(shared_look_module, "build_frame", fail)
                await until(lambda: bool(logged))
                await asyncio.sleep(0.1)
            await next_frame(response)
    assert [line["event"] for line in logged] == ["ui.frame_failed"]


async def test_a_silent_stream_gets_comments(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "_HEARTBEAT_AFTER_S", 0.01)
    monkeypatch.setattr(shared_look_module, "EVERY_S", 60.0)
    async with open_page(served) as response:
        assert b":\n" in [await response.content.readline() for _ in range(8)]


async def test_a_stop_ends_the_streams(served: Served) -> None:
    async with open_page(served) as response:
        await next_frame(response)
        served.frames.stop()
        async with asyncio.timeout(30):
            await response.content.read()
        async with open_page(served) as refused:
            assert refused.status == 503


async def fleet_of(served: Served) -> tuple[int, dict[str, Any]]:
    async with ClientSession() as session, session.get(f"{served.base}/api/fleet") as response:
        return response.status, await response.json()


async def test_the_fleet_as_a_document(served: Served) -> None:
    """Of a look that ends with the request, or of an open page."""
    status, fleet = await fleet_of(served)
    assert (status, fleet["version"], fleet["node"], fleet["now_ms"]) == (200, 1, "vm-a-1-abcd", NOW_MS)
    assert [replica["name"] for replica in fleet["replicas"]] == ["vm-a"]
    assert (served.look.readers, served.replica.samples) == (0, 1)
    async with open_page(served) as response:
        await next_frame(response)
        assert (await fleet_of(served))[0] == 200
        assert (served.look.readers, served.replica.samples) == (1, 2)


async def test_no_document_of_the_fleet_without_a_frame(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "_NEXT_WITHIN_S", 0.01)
    monkeypatch.setattr(shared_look_module, "_SAMPLED_WITHIN_S", 60.0)
    status, document = await fleet_of(served)
    assert (status, document["error"][:44]) == (503, "The state of the fleet could not be read; th")
    served.frames.stop()
    assert await fleet_of(served) == (503, {"version": 1, "error": "This replica stops."})


async def test_many_requests_for_the_fleet_refuse_no_page(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "MAX_STREAMS", 1)
    monkeypatch.setattr(shared_look_module, "_SAMPLED_WITHIN_S", 0.3)
    asked = [asyncio.create_task(fleet_of(served)) for _ in range(50)]
    await until(lambda: served.look.readers > 1)
    async with open_page(served) as response:
        assert response.status == 200
        await next_frame(response)
        assert served.value("ui_streams") == 1
    assert {status for status, _ in await asyncio.gather(*asked)} == {200}
    await until(lambda: served.look.readers == 0)
    assert served.value("ui_streams") == 0


async def test_clients_that_go_away_leave_no_look(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_look_module, "_SAMPLED_WITHIN_S", 0.3)
    asked = [asyncio.create_task(fleet_of(served)) for _ in range(20)]
    await until(lambda: served.look.readers > 1)
    for request in asked:
        request.cancel()
    await until(lambda: served.look.readers == 0)
    assert served.look.latest is None


async def test_the_fleet_is_not_an_old_frame_while_none_can_be_made(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_seen: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(frames_module, "_NEXT_WITHIN_S", 0.1)
    with capture_logs() as logged:
        async with open_page(served) as response:
            await next_frame(response)
            monkeypatch.setattr(shared_look_module, "build_frame", fail)
            await until(lambda: bool(logged))
            assert (await fleet_of(served))[0] == 503


async def test_a_stream_ends_with_the_session_of_its_page(served: Served) -> None:
    times = Times()
    frames = Frames(served.look, served.metrics, now=lambda: times.unix)
    async with page(UiAccess(token=TOKEN), times, frames=frames.routes()) as running, ClientSession() as session:
        cookie = (await running.log_in()).cookie
        address = f"http://{HOST}:{running.port}/api/frames"
        async with (
            session.get(address, headers={"Cookie": cookie}) as by_cookie,
            session.get(address, headers=BEARER) as by_token,
        ):
            await next_frame(by_cookie)
            times.go_on(LIFETIME_S)
            async with asyncio.timeout(30):
                await by_cookie.content.read()
            await next_frame(by_token)
        async with session.get(address, headers={"Cookie": cookie}) as refused:
            assert refused.status == 401
        frames.stop()
