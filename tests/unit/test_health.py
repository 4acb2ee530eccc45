"""The HTTP endpoint, tested over HTTP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession
from structlog.testing import capture_logs

from peekaping_producer.errors import ConfigError
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.producer.loops.vitals import Vitals
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.web.server import HealthServer
from tests.kit.memory_store import MemoryStore
from tests.kit.processes import HOST, free_port
from tests.kit.requirements import need
from tests.kit.vitals import TIMED, FakeSchedule, FakeSync, Watch, vitals_of

PATHS = ["/livez", "/readyz", "/metrics"]
DOCUMENTED = {
    "is_leader": "gauge",
    "leader_transitions_total": "counter",
    "due_depth": "gauge",
    "lease_depth": "gauge",
    "oldest_due_age_seconds": "gauge",
    "schedule_lag_seconds": "histogram",
    "claimed_total": "counter",
    "handed_off_total": "counter",
    "missed_ticks_total": "counter",
    "leases_reclaimed_total": "counter",
    "sync_duration_seconds": "histogram",
    "sync_last_success_timestamp_seconds": "gauge",
    "events_total": "counter",
    "redis_errors_total": "counter",
    "store_errors_total": "counter",
    "build_info": "gauge",
}


@dataclass
class Served:
    vitals: Vitals
    sync: FakeSync
    worker: Loop
    metrics: Metrics
    watch: Watch
    health: HealthServer
    port: int

    async def send(self, request: bytes) -> bytes:
        """Send these bytes; return all that the server sends until it closes."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(request)
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()

    async def get(self, path: str) -> tuple[int, str]:
        async with ClientSession() as session, session.get(f"http://{HOST}:{self.port}{path}") as response:
            return response.status, await response.text()


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    watch, metrics = Watch(), Metrics("1.2.3")
    for module in TIMED:
        monkeypatch.setattr(module, "time", watch)
    sync, worker = FakeSync(), Loop("worker-0", Dependencies(metrics), uses=())
    vitals = vitals_of(FakeSchedule(), MemoryStore(), metrics, sync=sync, watched=[worker])
    health = HealthServer(vitals, metrics)
    with capture_logs() as logged:
        health.bind(HOST, 0, required=True)
        await health.serve()
    yield Served(vitals, sync, worker, metrics, watch, health, logged[-1]["port"])
    await health.stop()


async def test_port_0_binds_a_free_port_that_is_logged(served: Served) -> None:
    assert served.port > 0
    status, _ = await served.get("/livez")
    assert status == 200


async def test_livez_fails_for_a_stalled_loop_only(served: Served) -> None:
    served.worker.progressed()
    status, text = await served.get("/livez")
    assert (status, json.loads(text)) == (200, {"alive": True, "stalled": []})
    served.watch.now += 14
    status, text = await served.get("/livez")
    assert (status, json.loads(text)) == (503, {"alive": False, "stalled": ["worker-0: 14 s"]})


async def test_readyz_contains_the_reasons(served: Served) -> None:
    status, text = await served.get("/readyz")
    assert status == 503
    assert json.loads(text)["reasons"].keys() == {"redis_unavailable", "database_unavailable"}
    await served.vitals.run_once()
    served.sync.found = [Condition("monitors_set_aside", "One failed.")]
    status, text = await served.get("/readyz")
    answer = json.loads(text)
    verdict = answer.pop("verdict")
    assert (verdict["code"], verdict["sentence"].split(":")[0]) == ("no_replica", "No replica runs")
    assert 'verdict{code="no_replica"} 1.0' in (await served.get("/metrics"))[1]
    assert (status, answer) == (
        200,
        {"ready": True, "reasons": {}, "notes": ["monitors_set_aside: One failed."]},
    )
    served.vitals._conditions.draining = True
    status, text = await served.get("/readyz")
    assert (status, json.loads(text)["reasons"]) == (503, {"draining": "The replica is stopping."})


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_metrics_contains_every_documented_name(served: Served, name: str) -> None:
    status, text = await served.get("/metrics")
    assert status == 200
    assert f"# TYPE peekaping_producer_{name} {DOCUMENTED[name]}\n" in text


async def test_metrics_have_labels_and_the_version(served: Served) -> None:
    served.metrics.handed_off.labels("enqueued").inc(5)
    served.metrics.events.labels("monitor.updated", "hinted").inc()
    served.metrics.schedule_lag.observe_all([0.004, 7.0])
    _, text = await served.get("/metrics")
    assert 'peekaping_producer_handed_off_total{outcome="enqueued"} 5.0' in text
    assert 'peekaping_producer_events_total{result="hinted",type="monitor.updated"} 1.0' in text
    assert 'peekaping_producer_schedule_lag_seconds_bucket{le="0.005"} 1.0' in text
    assert 'peekaping_producer_schedule_lag_seconds_bucket{le="+Inf"} 2.0' in text
    assert 'peekaping_producer_build_info{version="1.2.3"} 1.0' in text


async def test_there_are_no_other_pages(served: Served) -> None:
    assert (await served.get("/nothing"))[0] == 404
    assert (await served.get("/")) == (200, "peekaping-producer: /livez /readyz /metrics\n")


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_is_read_only(served: Served, path: str) -> None:
    """No page changes anything, so none requires a token."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        reply = await served.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        assert reply.startswith(b"HTTP/1.1 405 "), method
        assert b"Allow: GET,HEAD\r\n" in reply
    head, _, body = (
        await served.send(f"HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    ).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))
    assert body == b""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["Content-Length: 1000000000", "Content-Length: 1", "Transfer-Encoding: chunked"])
async def test_a_body_is_refused_unread(served: Served, path: str, header: str) -> None:
    for method in ("GET", "HEAD"):
        reply = await served.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n".encode())
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close\r\n" in reply
    reply = await served.send(
        f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert not reply.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /livez HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer canary\x00\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\nAuthorization : Bearer canary\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\nAuthorization: " + b"canary" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"canary" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /livez HTTP/9.9\r\ncanary\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\nContent-Length: canary\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\ncanary canary\r\n\r\n",
        b"\x16\x03\x01canary",
    ],
)
async def test_a_malformed_request_is_refused_and_not_logged(
    served: Served, caplog: pytest.LogCaptureFixture, request_text: bytes
) -> None:
    """A client cannot write to the log."""
    reply = await served.send(request_text)
    assert b"400 Bad Request" in reply
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []
    assert (await served.get("/livez"))[0] == 200


async def test_a_page_that_breaks_is_logged(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.vitals, "stalled", lambda: 1 / 0)
    assert (await served.get("/livez"))[0] == 500
    assert "ZeroDivisionError" in caplog.text


async def test_a_port_in_use_is_an_error_if_required_and_a_warning_otherwise() -> None:
    metrics = Metrics()
    health = HealthServer(vitals_of(FakeSchedule(), MemoryStore(), metrics), metrics)
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"free host:port, or off, got {HOST}:{port}, which is in use"):
            health.bind(HOST, port, required=True)
        with capture_logs() as logged:
            health.bind(HOST, port, required=False)
    assert [(line["event"], line["log_level"]) for line in logged] == [("health.no_port", "warning")]
    assert str(port) in logged[0]["message"]
    await health.stop()


async def test_an_address_of_another_machine_is_refused() -> None:
    metrics = Metrics()
    health = HealthServer(vitals_of(FakeSchedule(), MemoryStore(), metrics), metrics)
    with pytest.raises(ConfigError, match=r"METRICS_ADDR: .*192\.0\.2\.1:\d+, which cannot be used"):
        health.bind("192.0.2.1", free_port(), required=True)


async def test_an_unknown_host_is_refused() -> None:
    metrics = Metrics()
    health = HealthServer(vitals_of(FakeSchedule(), MemoryStore(), metrics), metrics)
    with pytest.raises(ConfigError, match=r"no-such-host\.invalid:1, which cannot be used \((?!Unknown)"):
        health.bind("no-such-host.invalid", 1, required=True)


@pytest.mark.parametrize("host", ["", "::"])
async def test_all_interfaces_include_ipv4_and_ipv6(host: str) -> None:
    need(socket.has_dualstack_ipv6(), "IPv6")
    metrics = Metrics()
    health = HealthServer(vitals_of(FakeSchedule(), MemoryStore(), metrics), metrics)
    health.bind(host, 0, required=True)
    with capture_logs() as logged:
        await health.serve()
    for address in ("127.0.0.1", "[::1]"):
        async with ClientSession() as session, session.get(f"http://{address}:{logged[-1]['port']}/livez") as response:
            assert response.status == 200
    await health.stop()
