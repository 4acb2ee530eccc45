"""The health check of a container: its answers, and its low cost compared with an idle replica."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.operations import probe
from peekaping_producer.settings import Settings, load_settings
from peekaping_producer.settings.source import read_dotenv
from tests.containers.measure import cost_s, cpu_s
from tests.kit.commands import run
from tests.kit.databases import sqlite_target
from tests.kit.processes import HOST, free_port
from tests.kit.replicas import environment, replicas
from tests.kit.requirements import need
from tests.kit.waiting import until

COMMAND = [sys.executable, "-m", "peekaping_producer", "probe"]
CHECK = [sys.executable, "-I", "-S", probe.__file__]
"""As the image's health check runs it."""
ALIVE = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"alive": true, "stalled": []}'
STALLED = b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"alive": false, "stalled": ["worker-1"]}'


async def probed(address: str, *options: str, command: Sequence[str] = CHECK) -> tuple[int, str]:
    """Exit code and the one line that it printed, on stdout for 0 and on stderr otherwise."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    env["METRICS_ADDR"] = address
    ended = await run([*command, *options], env)
    silent, line = (ended.err, ended.out) if ended.code == 0 else (ended.out, ended.err)
    assert (silent, line.count("\n")) == ("", 1)
    return ended.code, line.rstrip("\n")


@asynccontextmanager
async def server(
    answer: bytes, host: str = HOST, *, seconds_between_bytes: float = 0
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Its port, and the first lines of the requests it got. Without an answer it leaves them waiting."""
    requests: list[bytes] = []
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        for byte in answer if seconds_between_bytes else ():
            writer.write(bytes([byte]))
            await asyncio.wait([asyncio.ensure_future(done.wait())], timeout=seconds_between_bytes)
        if answer and not seconds_between_bytes:
            writer.write(answer)
        if not answer:
            await done.wait()
        writer.close()

    listening = await asyncio.start_server(serve, host, 0)
    try:
        yield listening.sockets[0].getsockname()[1], requests
    finally:
        done.set()
        listening.close()


@pytest.mark.parametrize("command", [COMMAND, CHECK], ids=["command", "image"])
async def test_an_answer_of_200_is_success(command: list[str]) -> None:
    async with server(ALIVE) as (port, requests):
        assert await probed(f"{HOST}:{port}", command=command) == (
            0,
            f'http://{HOST}:{port}/livez: 200 {{"alive": true, "stalled": []}}',
        )
        assert (await probed(f"{HOST}:{port}", "--ready", command=command))[0] == 0
    assert requests == [b"GET /livez HTTP/1.0", b"GET /readyz HTTP/1.0"]


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("0.0.0.0", "0.0.0.0:{}"),
        ("0.0.0.0", ":{}"),
        ("0.0.0.0", "*:{}"),
        ("::", "[::]:{}"),
        ("::1", "[::1]:{}"),
        (HOST, "localhost:{}"),
        (HOST, " 127.0.0.1:{}\n"),
    ],
)
async def test_every_address_that_a_replica_may_listen_on_is_reached(listens: str, asked: str) -> None:
    try:
        async with server(ALIVE, listens) as (port, _):
            assert (await probed(asked.format(port)))[0] == 0
    except OSError as error:
        need(False, f"IPv6: {error}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (STALLED, 'expected 200, got 503: {"alive": false, "stalled": ["worker-1"]}'),
        (b"HTTP/1.1 404 Not Found\r\n\r\n404: Not Found", "expected 200, got 404: 404: Not Found"),
        (b"HTTP/1.1 503 \r\n\r\nfirst\nsecond\x1b[31m\x00", "expected 200, got 503: first second [31m"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n" + b"x" * 100_000, "got 500: " + "x" * 300),
        (b"-ERR unknown command 'GET'\r\n", "expected 200, got no HTTP: -ERR unknown command 'GET'"),
        (b"\xff\xfe\x00", "expected 200, got no HTTP:"),
        (b"HTTP/1.1\r\n\r\n", "expected 200, got "),
    ],
)
async def test_any_other_answer_is_failure(answer: bytes, words: str) -> None:
    async with server(answer) as (port, _):
        code, line = await probed(f"{HOST}:{port}")
    assert (code, words in line) == (1, True), line
    assert line.isprintable()
    assert len(line) < 500


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("off", "METRICS_ADDR: expected host:port, got 'off' (probes are disabled)"),
        ("", "METRICS_ADDR: expected host:port, got '' (probes are disabled)"),
        ("127.0.0.1:0", "METRICS_ADDR: expected a fixed port, got '127.0.0.1:0'"),
        ("9464", "METRICS_ADDR: expected host:port or [IPv6]:port, got '9464'"),
        ("fd00::9471", "METRICS_ADDR: expected host:port or [IPv6]:port, got 'fd00::9471'"),
        ("::1", "METRICS_ADDR: expected host:port or [IPv6]:port, got '::1'"),
        ("127.0.0.1:http", "METRICS_ADDR: expected host:port or [IPv6]:port, got '127.0.0.1:http'"),
        ("127.0.0.1:65536", "METRICS_ADDR: expected host:port"),
        ("127.0.0.1:" + "9" * 5000, "METRICS_ADDR: expected host:port"),
        ("redis://user:secret@host:x", "METRICS_ADDR: expected host:port or [IPv6]:port, got ***"),
        ("no-such-host.invalid:9464", "http://no-such-host.invalid:9464/livez: expected an answer, got "),
        (f"{'a' * 300}:9464", "expected an answer, got "),
        ("\x1b[31m\r\nX: y:9464", "expected an answer, got "),
    ],
)
async def test_an_address_that_cannot_be_asked_is_named(address: str, words: str) -> None:
    for command in (COMMAND, CHECK):
        code, line = await probed(address, command=command)
        assert (code, words in line) == (1, True), line
        assert line.startswith("peekaping-producer: ")
        assert line.isprintable()
        assert "secret" not in line


async def test_a_port_that_nothing_listens_on_is_refused() -> None:
    port = free_port()
    code, line = await probed(f"{HOST}:{port}")
    assert (code, f"{HOST}:{port}/livez: expected an answer, got connection refused" in line) == (1, True)


@pytest.mark.parametrize("byte_every_s", [0.0, 1.0], ids=["silent", "a byte a second"])
async def test_a_replica_that_is_frozen_fails_within_three_seconds(byte_every_s: float) -> None:
    answer = ALIVE if byte_every_s else b""
    async with server(answer, seconds_between_bytes=byte_every_s) as (port, _):
        started_at = time.monotonic()
        code, line = await probed(f"{HOST}:{port}")
        assert 2.9 < time.monotonic() - started_at < 20, "a byte a second would take more than a minute"
    assert (code, "expected an answer within 3 s, got none" in line) == (1, True), line


@pytest.mark.parametrize(
    ("environ", "dotenv", "expected"),
    [
        (None, None, "127.0.0.1:9464"),
        (None, "METRICS_ADDR=10.0.0.1:1\n", "10.0.0.1:1"),
        (None, "#METRICS_ADDR=a:1\n METRICS_ADDR = \"b:2\" \r\nMETRICS_ADDR='c:3'\nexport METRICS_ADDR=d:4", "c:3"),
        ("e:5", "METRICS_ADDR=b:2", "e:5"),
        ("", "METRICS_ADDR=b:2", "b:2"),
        ("", None, ""),
        (None, "METRICS_ADDR=", ""),
        (None, "\ufeffMETRICS_ADDR=b:2", "b:2"),
    ],
)
def test_the_address_is_looked_for_where_run_looks_for_it(
    environ: str | None, dotenv: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METRICS_ADDR", raising=False)
    if environ is not None:
        monkeypatch.setenv("METRICS_ADDR", environ)
    if dotenv is not None:
        (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        assert read_dotenv(tmp_path / ".env").get("METRICS_ADDR", "") == expected or environ
    assert probe.configured([".env"]) == expected


def test_the_last_env_file_with_an_address_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METRICS_ADDR", raising=False)
    files = [str(tmp_path / name) for name in ("first", "second", "third")]
    for path, text in zip(files, ("METRICS_ADDR=a:1", "METRICS_ADDR=b:2", "TZ=UTC"), strict=True):
        Path(path).write_text(text)
    assert probe.configured(files) == "b:2"
    assert load_settings({"service"}, environ={}, env_files=list(map(Path, files))).metrics_addr == "b:2"


def test_the_default_is_that_of_the_settings() -> None:
    assert Settings.model_fields["metrics_addr"].default == probe.DEFAULT_ADDRESS


@pytest.mark.parametrize("around", ["", " ", "\n", '"', "'", "\ufeff", "\u200b\r\n"])
@pytest.mark.parametrize(
    "text", ["127.0.0.1:9464", "0.0.0.0:1", "localhost:65535", "[::1]:9464", "::1:9464", "[::]:80", ":9464", "*:9464"]
)
def test_an_address_is_read_as_the_settings_read_it(
    text: str, around: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRICS_ADDR", f"{around}{text}{around}")
    host, port = load_settings({"service"}).metrics_address or ("", 0)
    assert probe.address(probe.configured([".env"])) == (host or HOST, port)


async def test_the_probe_imports_nothing_heavy() -> None:
    script = (
        "import sys; before = set(sys.modules); sys.argv[1:] = ['probe']\n"
        "from peekaping_producer.cli.entry import main\n"
        "main(); print(*sorted(set(sys.modules) - before))"
    )
    env = {"PYTHONPATH": str(Path(probe.__file__).parents[2]), "METRICS_ADDR": "off"}
    ended = await run([sys.executable, "-S", "-c", script], env)
    assert "peekaping_producer.operations.probe" in ended.out
    assert {name for name in ended.out.split() if not name.startswith("peekaping_producer")} <= {"_socket"}


@pytest.mark.skipif(sys.platform != "linux", reason="requires Linux: /proc shows the time of each thread")
async def test_the_health_check_costs_little_beside_an_idle_replica(private_redis: RedisServer, tmp_path: Path) -> None:
    """Most of it is Python's start, which differs by half between builds: what the image's costs is measured there."""
    target = sqlite_target(tmp_path)
    await migrate(target)
    address = f"{HOST}:{free_port()}"
    with replicas(tmp_path, environment(private_redis.port, target, METRICS_ADDR=address)) as (replica,):
        await until(lambda: {"leader.won", "health.listening"} <= set(replica.events()))
        before_s = cpu_s(replica.process.pid)
        await asyncio.sleep(10)  # the CPU time of these seconds is measured
        idle_s = (cpu_s(replica.process.pid) - before_s) * 3
        env = {"METRICS_ADDR": address}
        bare_s = await asyncio.to_thread(cost_s, [sys.executable, "-I", "-S", "-c", "pass"], env)
        check_s = await asyncio.to_thread(cost_s, CHECK, env)
        assert replica.terminate() == 0
    print(f"in 30 s: idle {idle_s * 1e3:.0f} ms; one check {check_s * 1e3:.1f} ms, Python alone {bare_s * 1e3:.1f} ms")
    assert check_s < 2 * bare_s
    assert check_s < idle_s / 5
