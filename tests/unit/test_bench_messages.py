"""The checks of the bench's scenarios of messages: a wrong result is found, and has no figures."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import fakeredis
import pytest

from bench.harness import BenchHarness
from bench.messages.commands import LINE_BYTES, BenchFile, RelayProcess, lines
from bench.messages.perf_test import average
from bench.scenarios.append_latency import latencies_ms
from bench.scenarios.asynq_consumer import _require_done
from bench.scenarios.file_asynq import _holds
from peekaping_producer.messages.sources.checkpoint import Checkpoint, CheckpointFile
from peekaping_producer.targets import DatabaseTarget
from peekaping_producer.transports.asynq.task_message import TaskMessage, encode

COUNT = 5


@pytest.fixture
def file(tmp_path: Path) -> BenchFile:
    made = BenchFile(tmp_path / "input.txt")
    made.append(2)
    made.append(COUNT - 2)
    return made


@pytest.fixture
def ended_relay(file: BenchFile, tmp_path: Path) -> RelayProcess:
    """A process that ended at once, without a checkpoint."""
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    return RelayProcess(process, file, tmp_path / "times")


@pytest.fixture
async def harness() -> AsyncIterator[BenchHarness]:
    made = BenchHarness({"REDIS_URL": "redis://127.0.0.1:1/0"}, DatabaseTarget(dialect="sqlite", name="unused"))
    await made.redis.aclose()
    made.redis = fakeredis.FakeAsyncRedis()
    yield made
    await made.redis.aclose()


async def enqueue(harness: BenchHarness, bodies: list[bytes]) -> None:
    for number, body in enumerate(bodies):
        message = encode(TaskMessage(type="message", payload=body, id=f"{number}", queue="bench"))
        await harness.redis.hset(f"asynq:{{bench}}:t:{number}", "msg", message)
        await harness.redis.lpush("asynq:{bench}:pending", f"{number}")


def test_a_file_contains_the_lines_that_its_hash_is_of(file: BenchFile) -> None:
    assert file.path.read_bytes() == lines(0, COUNT)
    assert len(file.path.read_bytes().splitlines()[0]) == LINE_BYTES
    other = BenchFile(file.path.with_name("other.txt"))
    other.append(COUNT)
    assert other.sha256 == file.sha256
    other.append(1)
    assert other.sha256 != file.sha256


async def test_the_place_of_a_relay_is_that_of_its_checkpoint(ended_relay: RelayProcess, tmp_path: Path) -> None:
    (tmp_path / "times").write_text("1 10.5\n3 11.25\n")
    assert await ended_relay.checkpoint() == 0
    place = Checkpoint("g", 1, 3 * (LINE_BYTES + 1), 0, "", 0, "")
    CheckpointFile(tmp_path / "input.txt.checkpoint").store(place)
    assert await ended_relay.checkpoint() == 3
    assert ended_relay.times() == [10.5, 11.25, 11.25, 11.25]


async def test_a_relay_that_ended_is_not_waited_for(ended_relay: RelayProcess) -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        await ended_relay.confirmed()


async def test_a_queue_with_the_lines_in_their_order_is_right(harness: BenchHarness, file: BenchFile) -> None:
    await enqueue(harness, lines(0, COUNT).splitlines())
    await _holds(harness, file)


@pytest.mark.parametrize(
    ("order", "problem"), [((0, 1, 2, 3), "4 of 5"), ((0, 2, 1, 3, 4), "their order"), ((0, 1, 1, 3, 4), "their order")]
)
async def test_a_lost_a_doubled_or_a_moved_line_is_found(
    harness: BenchHarness, file: BenchFile, order: tuple[int, ...], problem: str
) -> None:
    all_lines = lines(0, COUNT).splitlines()
    await enqueue(harness, [all_lines[number] for number in order])
    with pytest.raises(AssertionError, match=problem):
        await _holds(harness, file)


async def test_tasks_that_are_not_processed_are_found(harness: BenchHarness) -> None:
    await harness.redis.set("asynq:{bench}:processed", COUNT)
    await _require_done(harness, COUNT)
    with pytest.raises(AssertionError, match="5 of 6 tasks are processed"):
        await _require_done(harness, COUNT + 1)
    await harness.redis.lpush("asynq:{bench}:active", "x")
    with pytest.raises(AssertionError, match="1 active"):
        await _require_done(harness, COUNT)


def test_latencies_are_from_each_append_to_its_confirmation() -> None:
    assert latencies_ms([1.0, 2.0], [1.5, 2.25]) == [500, 250]
    with pytest.raises(AssertionError, match="1 of 2 lines"):
        latencies_ms([1.0, 2.0], [1.5])
    with pytest.raises(AssertionError, match="before it was appended"):
        latencies_ms([1.0, 2.0], [1.5, 1.9])


def test_the_average_of_perf_test_is_read() -> None:
    assert average("id: test-1, starting consumer #0\nid: test-1, receiving rate avg: 15384 msg/s\n") == 15384
    with pytest.raises(AssertionError, match="printed no average"):
        average("connection refused")
