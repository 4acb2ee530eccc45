"""The checks of the bench: a wrong result is found, and neither timed nor waited for."""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import fakeredis
import pytest

from bench import __main__ as bench
from bench import harness as harness_module
from bench.figures import Figure, read
from bench.harness import BenchHarness
from bench.queue_checks import first_and_last_ms, lateness_ms
from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.brokers.asynq_keys import PENDING, TASK_ID_PREFIX, TASK_KEY_PREFIX
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget
from tests.kit.requirements import need

IDS = ["m1", "m2", "m3"]
INTERVAL = 60
TICK_MS = 1_800_000_000_000


@pytest.fixture
async def here() -> AsyncIterator[BenchHarness]:
    """A harness on a Redis in memory, in which all of IDS were handed off, 1 ms after each other."""
    made = BenchHarness({"REDIS_URL": "redis://127.0.0.1:1/0"}, DatabaseTarget(dialect="sqlite", name="unused"))
    await made.redis.aclose()
    made.redis = fakeredis.FakeAsyncRedis()
    for n, each in enumerate(IDS):
        await hand_off(made, each, TICK_MS + n)
    yield made
    await made.redis.aclose()


async def hand_off(here: BenchHarness, id_: str, at_ms: int, monitor_in_payload: str | None = None) -> None:
    payload = b'{"monitor_id": "%s"}' % (monitor_in_payload or id_).encode()
    message = encode_message(HealthCheckTask(id_, INTERVAL, 16, payload))
    task_id = TASK_ID_PREFIX + id_
    await here.redis.hset(
        TASK_KEY_PREFIX + task_id, mapping={"msg": message, "state": "pending", "pending_since": at_ms * 1_000_000}
    )
    await here.redis.lpush(PENDING, task_id)
    await here.redis.zadd(KEYS.due, {id_: TICK_MS + INTERVAL * 1000})


async def test_a_right_result_gives_the_times_of_the_first_and_the_last_hand_off(here: BenchHarness) -> None:
    first, last, in_first_batch = await first_and_last_ms(here.redis, IDS, INTERVAL)
    assert (first, in_first_batch) == (TICK_MS, 1)
    assert last == pytest.approx(TICK_MS + 2, abs=0.01)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("LREM", PENDING, 0, TASK_ID_PREFIX + "m1"), "1 of 3 monitors have no pending task"),
        (("LPUSH", PENDING, TASK_ID_PREFIX + "m1"), "pending twice"),
        (("LPUSH", PENDING, TASK_ID_PREFIX + "m4"), "tasks of other monitors"),
        (("ZADD", KEYS.lease, TICK_MS, "m1"), "monitors are still leased"),
        (("ZREM", KEYS.due, "m1"), "2 of 3 monitors are due again"),
        (("ZADD", KEYS.due, TICK_MS + 1, "m1"), "not aligned"),
    ],
)
async def test_a_wrong_result_is_found(here: BenchHarness, command: tuple[str | int, ...], message: str) -> None:
    await here.redis.execute_command(*command)  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError, match=message):
        await first_and_last_ms(here.redis, IDS, INTERVAL)


async def test_a_payload_of_another_monitor_is_wrong(here: BenchHarness) -> None:
    await here.redis.lrem(PENDING, 0, TASK_ID_PREFIX + "m1")
    await hand_off(here, "m1", TICK_MS, monitor_in_payload="m2")
    with pytest.raises(AssertionError):
        await first_and_last_ms(here.redis, IDS, INTERVAL)


async def test_lateness_counts_from_the_due_time_and_is_never_early(here: BenchHarness) -> None:
    assert await lateness_ms(here.redis, {"m1": TICK_MS - 5.0, "m3": TICK_MS - 5.0}) == pytest.approx(
        [5.0, 7.0], abs=0.01
    )
    with pytest.raises(AssertionError, match="before it was due"):
        await lateness_ms(here.redis, {"m1": TICK_MS + 5.0})


async def test_a_producer_that_ends_is_not_waited_for(here: BenchHarness) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])  # noqa: ASYNC220
    with pytest.raises(AssertionError, match="exit code 3"):
        await here.all_handed_off(len(IDS) + 1, [ended])


async def test_a_lost_tick_is_not_waited_for(here: BenchHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness_module, "STALLED_S", 0.1)
    with pytest.raises(AssertionError, match=r"no progress .* at 3 of 4 monitors handed off"):
        await here.all_handed_off(len(IDS) + 1, [])
    await here.redis.zadd(KEYS.lease, {"m1": TICK_MS})
    with pytest.raises(AssertionError, match=r"no progress .* at 2 of 3"):
        await here.all_handed_off(len(IDS), [])


@pytest.mark.parametrize(
    ("arguments", "measured", "code"),
    [(["herd"], 4.0, 0), (["herd"], 6.0, 1), (["herd", "--quick"], 6.0, 0), (["herd", "--quick"], None, 1)],
)
def test_the_exit_code_reports_a_missed_requirement_or_a_wrong_result(
    arguments: list[str], measured: float | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measure(*_: object) -> list[Figure]:
        assert measured is not None, "leases are left"
        return [Figure("herd", "s", [measured], required=5)]

    monkeypatch.setattr(bench, "_measure", measure)
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    assert bench.main() == code


def test_a_wrong_scenario_stays_in_the_report_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def measure(name: str, *_: object) -> list[Figure]:
        if name == "cold":
            raise AssertionError("leases are left")
        return [Figure(name, "s", [1.0])]

    monkeypatch.setattr(bench, "_measure", measure)
    monkeypatch.setattr(sys, "argv", ["bench", "herd", "cold", "start", "--json", str(tmp_path / "report")])
    assert bench.main() == 1
    report = read(tmp_path / "report")
    assert [each.name for each in report.figures] == ["herd", "start"]
    assert report.wrong == {"cold": "leases are left"}


def test_connections_of_another_process_or_to_another_port_do_not_count() -> None:
    need(Path("/proc/self/net/tcp").exists(), "/proc of Linux")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = (
            f"import socket; s = [socket.create_connection(('127.0.0.1', {port})) for _ in '123']; print(); input()"
        )
        ours = socket.create_connection(("127.0.0.1", port))
        command = [sys.executable, "-c", connect]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert harness_module.connections(process, port) == 3
            assert harness_module.connections(process, ours.getsockname()[1]) == 0
            process.communicate(b"\n")
        ours.close()


def test_a_connection_that_the_kernel_lists_twice_is_one() -> None:
    row = "0: 0100007F:8E2A 0100007F:B647 01 00000000:00000000 00:00000000 00000000 0 0 {} 1 0 20 4 30 10 -1"
    table = "\n".join(["  sl  local_address rem_address", row.format(77), row.format(78), row.format(77)])
    assert harness_module._inodes_connected_to(0xB647, table) == {"socket:[77]", "socket:[78]"}
    assert harness_module._inodes_connected_to(0x8E2A, table) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hurd"], "SCENARIO: expected one of throughput"),
        (["--rounds", "0"], "expected a whole number from 1, got '0'"),
        (["--monitors", "many"], "expected a whole number from 1, got 'many'"),
        (["--go-producer", sys.executable, "--store", "sqlite"], "expected --store postgres, got --store sqlite"),
        (["--go-producer", "/nowhere/producer"], "expected an executable file, got /nowhere/producer"),
    ],
)
def test_bad_arguments_are_reported(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit):
        bench.main()
    assert message in capsys.readouterr().err
