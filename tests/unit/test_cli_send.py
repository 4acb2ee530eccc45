"""`send` as a process: settings, outputs, exit codes, signals, and the modules that it loads."""

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from peekaping_producer.cli.main import main
from tests.kit.commands import MINIMAL, SECRET, command, run, start
from tests.kit.endpoint import Endpoint, hang, running_endpoint
from tests.kit.waiting import until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) .+")
AWAY = "http://127.0.0.1:1"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Endpoint]:
    async with running_endpoint() as api:
        yield api


async def test_the_lines_of_a_run_are_on_stderr_and_in_the_file(tmp_path: Path, api: Endpoint) -> None:
    log_file = tmp_path / "sender.log"
    log_file.write_text("earlier\n")
    settings = {"LOG_FILE": str(log_file), "GITHUB_TOKEN": SECRET, "ENVIRONMENT": "Test", "SEND_USER_AGENT": "Mine/1"}
    ended = await command(tmp_path, "send", API_URL=f"{api.url}/", **settings)
    assert (ended.code, ended.out) == (0, "")
    assert log_file.read_text() == f"earlier\n{ended.err}"
    configuration, created, sending, success = ended.err.splitlines()
    assert all(LINE.fullmatch(line) for line in ended.err.splitlines())
    for text in (f"API_URL={api.url}/, ", "ENVIRONMENT=test, ", "GITHUB_TOKEN=***, ", f"LOG_FILE={log_file}"):
        assert text in configuration
    assert " INFO Message created: " in created
    assert sending.endswith(" INFO Sending message to API (attempt 1/3)")
    assert success.endswith(" INFO Successfully sent message to API: what is wrong")
    assert "h0rse" not in ended.err
    ((path, body, headers),) = api.requests
    assert path == "/api/messages"
    assert json.loads(body)["environment"] == "test"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", json.loads(body)["datetime"])
    assert headers["User-Agent"] == "Mine/1"
    assert SECRET not in str(headers)


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
async def test_only_strict_reports_a_message_that_was_not_sent_by_the_exit_code(
    tmp_path: Path, options: list[str], code: int
) -> None:
    ended = await command(tmp_path, "send", *options, API_URL=AWAY, SEND_RETRY_DELAY="0", PUSHGATEWAY_URL=AWAY)
    assert ended.code == code
    assert ended.err.count(" ERROR Request failed (attempt ") == 3
    assert " ERROR Failed to send message to API after 3 attempts\n" in ended.err
    assert f" ERROR Push to Pushgateway failed: {AWAY}/metrics/job/" in ended.err.splitlines()[-1]


async def test_count_messages_are_sent_over_one_connection(tmp_path: Path, api: Endpoint) -> None:
    api.answers = [201, 500, 201]
    ended = await command(
        tmp_path, "send", "--strict", "--count", "5", API_URL=api.url, SEND_ATTEMPTS="1", LOG_LEVEL="error"
    )
    assert ended.code == 1
    assert [line.partition("Z ")[2] for line in ended.err.splitlines()] == [
        "ERROR API returned error 500: what is wrong",
        "ERROR Failed to send message to API after 1 attempts",
    ]
    assert (len(api.requests), len(api.peers)) == (5, 1)


async def test_a_run_of_several_messages_ends_with_their_count(tmp_path: Path, api: Endpoint) -> None:
    api.answers = [201, 500]
    ended = await command(tmp_path, "send", "--count", "2", API_URL=api.url, SEND_ATTEMPTS="1")
    assert ended.err.endswith(" INFO 1 of 2 messages sent\n")


async def test_bad_settings_are_reported_at_once(tmp_path: Path) -> None:
    ended = await command(tmp_path, "send", API_URL="api:3000", ENVIRONMENT="staging", SEND_ATTEMPTS="0", DB_TYPE="x")
    assert (ended.code, ended.err.splitlines()) == (
        2,
        [
            "peekaping-producer: API_URL: expected an http:// or https:// URL, got a text without a scheme",
            "peekaping-producer: ENVIRONMENT: expected prod | test, got 'staging'",
            "peekaping-producer: SEND_ATTEMPTS: expected 1 to 100, got '0'",
        ],
    )


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many", "1000001", "10000000"])
def test_count_is_a_whole_number(capsys: pytest.CaptureFixture[str], count: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["send", f"--count={count}"])
    assert f"--count: expected a whole number from 1 to 1000000, got '{count}'" in capsys.readouterr().err


async def test_a_log_file_that_cannot_be_written_keeps_no_message_from_being_sent(
    tmp_path: Path, api: Endpoint
) -> None:
    ended = await command(tmp_path, "send", "--strict", API_URL=api.url, LOG_FILE=str(tmp_path / "none" / "x.log"))
    assert (ended.code, len(api.requests)) == (0, 1)
    assert f" ERROR LOG_FILE: expected the path of a writable file, got '{tmp_path}/none/x.log' " in ended.err


async def test_a_log_file_on_a_full_disk_is_reported_once(tmp_path: Path, api: Endpoint) -> None:
    ended = await command(tmp_path, "send", "--strict", API_URL=api.url, LOG_FILE="/dev/full")
    assert (ended.code, len(api.requests)) == (0, 1)
    assert ended.err.count("ERROR") == 1
    assert " ERROR LOG_FILE: /dev/full cannot be written (No space left on device)\n" in ended.err


async def started(tmp_path: Path, text: str, **settings: str) -> Process:
    """The process, once a line contains `text`."""
    env = {**MINIMAL, **settings, "LOG_FILE": str(tmp_path / "log")}
    process = await start([sys.executable, "-m", "peekaping_producer", "send"], env, tmp_path)
    assert process.stderr
    while text not in (line := (await process.stderr.readline()).decode()):
        assert line, f"ended without {text}"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("when", ["in the wait", "in a request"])
async def test_a_signal_ends_it_at_once(tmp_path: Path, api: Endpoint, number: signal.Signals, when: str) -> None:
    api.answers = [500 if when == "in the wait" else hang]
    text = "Waiting 30 seconds before retry..." if when == "in the wait" else "Sending message to API (attempt 1/3)"
    process = await started(tmp_path, text, API_URL=api.url)
    await until(lambda: len(api.requests) == 1)
    process.send_signal(number)
    async with asyncio.timeout(25):  # less than the wait
        _, rest = await process.communicate()
    assert process.returncode == 128 + number
    assert rest.decode().partition("Z ")[2] == f"WARNING Ended by {number.name}: 0 of 1 messages sent\n"
    assert (tmp_path / "log").read_text().endswith(rest.decode())
    assert len(api.requests) == 1


LOADED = """
import sys
from peekaping_producer.cli.entry import main
try:
    code = main()
except SystemExit as exit:
    code = exit.code
print(*sorted(sys.modules), sep="\\n")
sys.exit(code)
"""


async def loaded_by(tmp_path: Path, *words: str, **settings: str) -> set[str]:
    """The modules in memory at the end of a command."""
    ended = await run([sys.executable, "-c", LOADED, *words], {**MINIMAL, **settings}, tmp_path)
    assert ended.code == 0, ended.err
    return set(ended.out.split())


def rooms(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("peekaping_producer.")}


def libraries(modules: set[str]) -> set[str]:
    """Packages that are not of Python itself."""
    return {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)


HEAVY = {
    *("structlog", "rich", "prometheus_client", "stamina", "tenacity", "redis", "aiormq", "asyncpg", "aiomysql"),
    *("pymysql", "motor", "pymongo", "bson", "aiosqlite", "watchdog", "shtab", "google"),
}


async def test_send_loads_only_what_it_needs(tmp_path: Path, api: Endpoint) -> None:
    modules = await loaded_by(tmp_path, "send", API_URL=api.url)
    assert len(api.requests) == 1
    assert rooms(modules) == {
        *("cli", "sender", "settings", "transports", "logs", "service", "errors", "targets"),
        *("monitors", "operations"),  # settings: time zones; cli: probe
    }
    assert {name for name in modules if name.startswith("peekaping_producer.transports.")} == {
        "peekaping_producer.transports.http_endpoint"
    }
    assert libraries(modules) & HEAVY == set()
    assert "aiohttp.web" not in modules


async def test_metrics_load_their_library(tmp_path: Path, api: Endpoint) -> None:
    modules = await loaded_by(tmp_path, "send", API_URL=api.url, PUSHGATEWAY_URL=api.url)
    assert len(api.requests) == 2
    assert libraries(modules) & HEAVY == {"prometheus_client"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["send", "--help"]])
async def test_help_and_version_load_no_client(tmp_path: Path, words: list[str]) -> None:
    modules = await loaded_by(tmp_path, *words)
    assert libraries(modules) & (HEAVY | {"aiohttp"}) == set()
    assert rooms(modules) == {"cli", "settings", "logs", "service", "errors", "targets", "monitors", "operations"}
