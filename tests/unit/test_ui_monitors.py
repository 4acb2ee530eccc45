"""Documents of monitors over HTTP: few reads, and answers while a dependency is away."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from structlog.testing import capture_logs

from peekaping_producer.brokers.monitor_state import MonitorStateReader
from peekaping_producer.errors import RedisUnavailableError, StoreUnavailableError
from peekaping_producer.operations.explain import silent as silent_module
from peekaping_producer.operations.explain.reading import Readers
from peekaping_producer.operations.explain.silent import SilentMonitors
from peekaping_producer.operations.status import Status
from peekaping_producer.schedule import Schedule
from peekaping_producer.settings import UiAccess
from peekaping_producer.stores.on_demand import OnDemandStore
from peekaping_producer.stores.rows import plan_of
from peekaping_producer.targets import DatabaseTarget
from peekaping_producer.ui import monitors as monitors_module
from peekaping_producer.ui.access import AccessEndpoints
from peekaping_producer.ui.app import application
from peekaping_producer.ui.monitors import Monitors
from peekaping_producer.ui.rendering.nodes import VERSION
from peekaping_producer.ui.static_files import StaticFiles
from tests.kit.memory_store import MemoryStore, monitor
from tests.kit.nodes import named, text_of
from tests.kit.processes import HOST
from tests.kit.waiting import until


class Served:
    """Monitors of a store in memory; Redis is away."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = MemoryStore(is_open=False)
        self.silent_reads = 0
        self.silent_failure: Exception | None = None
        self.scheduled: list[str] = []
        states, schedule = cast(MonitorStateReader, None), cast(Schedule, self)
        readers = Readers(states, schedule, OnDemandStore(self.store), self._fleet, "UTC")
        self.monitors = Monitors(readers, self._read_silent, clock=lambda: self.now)
        self.base = ""

    async def _fleet(self) -> Status:
        raise RedisUnavailableError("Connection refused.")

    async def find(self, prefix: str, limit: int) -> list[str]:
        """In place of the schedule."""
        return [id_ for id_ in self.scheduled if id_.startswith(prefix)][:limit]

    async def _read_silent(self, now: datetime) -> SilentMonitors:
        self.silent_reads += 1
        if self.silent_failure:
            raise self.silent_failure
        return SilentMonitors(now, 3, 0, ())

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with ClientSession() as session, session.get(self.base + path) as response:
            return response.status, await response.json()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    page = Served()
    access = AccessEndpoints(UiAccess(is_public=True))
    runner = web.AppRunner(
        application(access, page.monitors, files=StaticFiles()), shutdown_timeout=0.1, lingering_time=0
    )
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    page.base = f"http://{HOST}:{runner.addresses[0][1]}"
    yield page
    await runner.cleanup()


async def test_requests_for_one_monitor_within_a_second_share_a_document(served: Served) -> None:
    served.store.put(monitor("m123"))
    for _ in range(5):
        status, document = await served.get("/api/monitors/m123")
        assert (status, document["name"], document["verdict"]) == (200, "name of m123", "redis.unavailable")
    assert document["errors"] == {"redis": "Connection refused.", "database": None}
    assert served.store.reads.count("load") == 1
    served.now += 1
    await served.get("/api/monitors/m123")
    assert served.store.reads.count("load") == 2


async def test_the_view_of_a_monitor_shares_its_document(served: Served) -> None:
    served.store.put(monitor("m123"))
    await served.get("/api/monitors/m123")
    status, view = await served.get("/api/views/monitors/m123")
    assert (status, view["version"], view["name"], view["held"]) == (200, VERSION, "name of m123", False)
    assert (view["code"], view["sentence"].partition(",")[0]) == ("redis.unavailable", "Redis cannot be read")
    assert "Connection refused." in text_of(["", *view["body"]])
    assert served.store.reads.count("load") == 1


async def test_a_text_that_many_match_is_answered_with_candidates(served: Served) -> None:
    served.store.put(*(monitor(f"m1230{number}") for number in range(30)))
    status, document = await served.get("/api/monitors/m1230")
    assert (status, document["verdict"], len(document["candidates"])) == (200, None, 20)
    status, view = await served.get("/api/views/monitors/m1230")
    assert (status, view["code"], view["sentence"]) == (200, None, "Several monitors match.")
    assert len(named(["", *view["body"]], "Link")) == 20
    status, document = await served.get("/api/monitors?q=NAME")
    assert (status, len(document["monitors"]), document["more"]) == (200, 20, 1)


async def test_a_database_that_is_away(served: Served) -> None:
    served.store.away = True
    status, document = await served.get("/api/monitors?q=name")
    assert status == 503
    assert document["error"].startswith("Names cannot be searched without the database: use an id, ")
    assert document["error"].endswith(": the database is away.")
    served.scheduled = [f"m123{number:02}" for number in range(30)]
    status, document = await served.get("/api/monitors?q=m123")
    assert (status, len(document["monitors"]), document["more"]) == (200, 20, 1)
    assert document["database_error"] == "the database is away"
    unknown = {"name": None, "interval_s": None, "active": None, "problem": ""}
    assert document["monitors"][0] == {"id": "m12300", **unknown}
    status, document = await served.get("/api/monitors/m123")
    assert (status, document["errors"]["database"]) == (200, "the database is away")
    for path in ("/api/monitors/no+id", "/api/views/monitors/no+id"):
        status, document = await served.get(path)
        assert (status, document["version"]) == (503, 1)
        assert "expected a whole id, since neither Redis nor the database can be read, got 'no+id'" in document["error"]


async def test_silent_monitors_are_read_once_in_half_a_minute(served: Served) -> None:
    at = [(await served.get("/api/silent"))[1]["at"] for _ in range(3)]
    status, view = await served.get("/api/views/silent")
    assert (status, view["version"]) == (200, VERSION)
    assert text_of(view["body"][-1]) == f"Read at {at[0][11:19]}"
    assert (len(set(at)), served.silent_reads) == (1, 1), "the time of reading is that of the first"
    served.now += 31
    served.silent_failure = StoreUnavailableError("no answer")
    for path in ("/api/silent", "/api/views/silent"):
        assert (await served.get(path))[0] == 503
    assert served.silent_reads == 3


async def test_a_list_of_silent_monitors_that_takes_too_long(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors_module, "_SILENT_WITHIN_S", 0.05)
    monkeypatch.setattr(served.monitors, "_read_silent", lambda _now: asyncio.sleep(60))
    status, document = await served.get("/api/silent")
    assert (status, document["error"].partition(" s. ")[2]) == (
        503,
        "Run in a terminal: peekaping-producer explain --silent.",
    )


async def test_of_many_silent_monitors_the_first_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.put(*(monitor(f"m{number:04}") for number in range(1200)))
    monkeypatch.setattr(silent_module, "store_for", lambda *_, **__: store)
    found = await silent_module.read_silent(DatabaseTarget(dialect="memory", name=""), datetime.now(UTC))
    assert (found.compared, found.silent) == (1200, 1200)
    assert [one.plan.id for one in found.listed] == [f"m{number:04}" for number in range(silent_module.MAX_LISTED)]
    assert found.listed[0].name == "name of m0000"


async def test_members_of_other_bytes_hide_no_monitor_while_the_database_is_away(served: Served) -> None:
    served.store.away = True
    served.scheduled = ["m123\udcff", "m12300", "m12301"]
    status, document = await served.get("/api/monitors?q=m123")
    assert (status, [one["id"] for one in document["monitors"]]) == (200, ["m12300", "m12301"])


async def test_a_search_reports_why_a_monitor_is_not_scheduled(served: Served) -> None:
    served.store.put(monitor("m1"), monitor("m2", active=False), monitor("m3", 0))
    _, document = await served.get("/api/monitors?q=name")
    found = {one["id"]: (one["interval_s"], one["active"], one["problem"]) for one in document["monitors"]}
    assert found == {
        "m1": (60, True, ""),
        "m2": (None, False, ""),
        "m3": (None, True, plan_of("m3", True, 0).problem),
    }
    assert found["m3"][2].startswith("interval: expected")


async def test_one_search_at_a_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.monitors._searching, "_wait_s", 0.05)
    held = asyncio.Event()

    async def slow(_text: str, _limit: int) -> list[object]:
        await held.wait()
        return []

    monkeypatch.setattr(served.store, "find", slow)
    first = asyncio.create_task(served.get("/api/monitors?q=x"))
    await until(lambda: served.monitors._searching._free.locked())
    status, document = await served.get("/api/monitors?q=y")
    reason = "This was not done, because other requests of this kind are still running. Try again."
    assert (status, document["error"]) == (503, reason)
    held.set()
    assert (await first)[0] == 200


async def test_kept_documents_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors_module, "_MAX_KEPT", 3)
    for number in range(10):
        await served.get(f"/api/monitors/m{number}")
    assert len(served.monitors._explained) == 3
    served.now += 5
    await served.get("/api/monitors/m0")
    assert len(served.monitors._explained) == 1


async def test_clients_that_go_at_once_are_not_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    port = int(served.base.rpartition(":")[2])
    body = b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    search = b"GET /api/monitors?q=x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with capture_logs() as logged:
        for request in (body, search, b"\x16\x03\x01garbage\r\n\r\n", body[:30]):
            for wait_s in (0.0, 0.02):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.write(request)
                await asyncio.sleep(wait_s)
                reset = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                writer.close()
        await asyncio.sleep(0.1)
        assert (await served.get("/api/session"))[0] == 200
    assert (logged, caplog.records) == ([], [])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/monitors?q=%00", 200),
        ("GET", f"/api/monitors?q={'x' * 301}", 400),
        ("PUT", "/api/monitors", 405),
        ("GET", "/api/nothing", 404),
        ("GET", "/monitors/x/y", 404),
    ],
)
async def test_every_answer_is_a_document_with_the_headers_that_confine_the_page(
    served: Served, method: str, path: str, status: int
) -> None:
    async with ClientSession() as session, session.request(method, served.base + path) as response:
        assert response.status == status
        assert (await response.json())["version"] == 1
        assert response.headers["Cache-Control"] == "no-store"
        assert "require-trusted-types-for 'script'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Server"] == "peekaping-producer"


async def test_a_browser_gets_the_page_at_an_unknown_address(served: Served) -> None:
    async with ClientSession(headers={"Accept": "text/html,*/*;q=0.8"}) as session:
        for path in ("/monitors/x/y", "/nothing"):
            async with session.get(served.base + path) as response:
                assert (response.status, response.content_type) == (404, "text/html")
                assert "<!doctype html>" in await response.text()
                assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        async with session.post(f"{served.base}/nothing") as response:
            assert (response.status, response.content_type) == (404, "application/json")


async def test_the_shell_and_its_files_can_be_cached(served: Served) -> None:
    async with ClientSession() as session:
        async with session.get(f"{served.base}/monitors/m1") as shell:
            text = await shell.text()
            assert shell.headers["Cache-Control"] == "no-cache"
            etag = shell.headers["ETag"]
        async with session.get(f"{served.base}/", headers={"If-None-Match": etag}) as shell:
            assert (shell.status, await shell.read()) == (304, b"")
        name = text.partition('src="')[2].partition('"')[0]
        async with session.get(served.base + name, auto_decompress=False) as script:
            assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert script.headers["Content-Encoding"] == "gzip"
            assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"


async def test_a_body_must_be_whole_and_small_and_only_a_post_has_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.ui.middleware.BODY_TIMEOUT_S", 0.5)
    port = int(served.base.rpartition(":")[2])

    async def send(head: str, body: bytes = b"") -> bytes:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(f"{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode() + body)
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()

    assert b" 400 " in (await send("GET /api/silent HTTP/1.1\r\nContent-Length: 1", b"x")).partition(b"\r\n")[0]
    partial = await send("POST /api/login HTTP/1.1\r\nContent-Length: 10", b"x")
    assert b"HTTP/1.1 408" in partial
    large = await send("POST /api/login HTTP/1.1\r\nContent-Length: 20000", b"x" * 20000)
    assert b"HTTP/1.1 413" in large
