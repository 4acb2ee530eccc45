"""The pool of worker processes, with real ones: deaths, hung processes, stops."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    CommandKilledWorkersError,
    ItemError,
    WorkersUnavailableError,
)
from peekaping_producer.processes import Pool
from peekaping_producer.processes.channel import Channel
from tests.kit.pool_handlers import ACT, ECHO
from tests.kit.processes import gone
from tests.kit.waiting import until


async def test_a_killed_process_loses_no_command_and_few_run_twice() -> None:
    count, ahead = 5_000, 64
    async with Pool(ECHO, processes=2, max_ahead=ahead) as pool:
        before = set(pool.stats().pids)
        replies: Counter[int] = Counter()
        numbers = iter(range(count))

        async def caller() -> None:
            for number in numbers:
                replies[await pool.call(number)] += 1

        async def killer() -> None:
            for pid in before:
                os.kill(pid, signal.SIGSTOP)  # so that it has commands when it is killed
                seen = len(replies)
                await until(lambda seen=seen: len(replies) >= seen + 1_000)
                os.kill(pid, signal.SIGKILL)

        await asyncio.gather(killer(), *(caller() for _ in range(2 * ahead)))  # one process cannot hold all of them

        await until(lambda: len(pool.stats().pids) == 2)
        stats = pool.stats()
        assert replies == Counter(range(count))
        assert stats.died == 2
        assert set(stats.pids) & before == set()
        assert 2 <= stats.redelivered <= 2 * ahead
        assert stats.in_flight == stats.waiting == 0


async def test_a_command_that_kills_its_process_fails_and_the_others_do_not() -> None:
    async with Pool(ACT, processes=2, max_deaths=2) as pool:
        before = set(pool.stats().pids)
        await asyncio.gather(*(pool.call(("echo", number)) for number in range(100)))  # fast: commands are sent ahead
        calls = [pool.call(("die" if number == 50 else "echo", number)) for number in range(100)]
        with capture_logs() as logged:
            replies = await asyncio.gather(*calls, return_exceptions=True)
        poison = replies[50]
        assert isinstance(poison, CommandKilledWorkersError)
        assert isinstance(poison, ItemError)
        assert "2 dead worker processes (the last: killed by SIGKILL)" in str(poison)
        assert replies[:50] + replies[51:] == [number for number in range(100) if number != 50]
        assert [line["event"] for line in logged] == ["worker.died"] * 2
        await until(lambda: len(pool.stats().pids) == 2)
        assert set(pool.stats().pids) & before == set()


async def test_a_command_whose_process_died_once_is_executed_again(tmp_path: Path) -> None:
    async with Pool(ACT, processes=1) as pool:
        assert await pool.call(("die once", str(tmp_path / "died"))) == str(tmp_path / "died")
        assert pool.stats().redelivered == 1


async def test_a_grandchild_that_holds_the_connection_open_hides_no_death() -> None:
    async with Pool(ACT, processes=1, max_deaths=1) as pool:
        with pytest.raises(CommandKilledWorkersError):
            await asyncio.wait_for(pool.call(("fork and die", 20)), 15)


async def test_a_process_that_is_stuck_on_a_canceled_command_is_replaced() -> None:
    async with Pool(ACT, processes=1, cancel_grace_s=0.05) as pool:
        (pid,) = pool.stats().pids
        await asyncio.gather(*(pool.call(("echo", number)) for number in range(100)))
        stuck = asyncio.create_task(pool.call(("sleep", 600)))
        others = [asyncio.create_task(pool.call(("echo", number))) for number in range(10)]
        canceled = asyncio.create_task(pool.call(("sleep", 600)))  # before it begins
        await asyncio.sleep(0)
        stuck.cancel()
        canceled.cancel()
        assert await asyncio.gather(*others) == list(range(10))
        stats = pool.stats()
        assert (stats.killed, stats.died) == (1, 0)
        assert stats.pids != (pid,)


async def test_a_canceled_command_that_ends_by_itself_kills_no_process() -> None:
    async with Pool(ACT, processes=1, cancel_grace_s=30) as pool:
        (pid,) = pool.stats().pids
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.call(("sleep", 1)), 0.05)
        assert await pool.call(("pid", None)) == pid


async def test_a_frozen_process_does_not_block_the_event_loop() -> None:
    async with Pool(ECHO, processes=1, cancel_grace_s=0.05) as pool:
        (pid,) = pool.stats().pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):  # larger than any socket buffer
            await asyncio.wait_for(pool.call(b"x" * 50_000_000), 0.2)
        assert await pool.call("after") == "after"
        assert pool.stats().pids != (pid,)


async def test_processes_that_cannot_start_any_more_are_reported_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "pool_handler_of_a_test.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    module.write_text("import os\ndef handle(argument):\n    return os.getpid() if argument else os._exit(1)\n")
    async with Pool("pool_handler_of_a_test:handle", processes=2, max_deaths=100) as pool:
        working = module.read_text()
        module.write_text("raise RuntimeError('a slip')")
        with capture_logs() as logged, pytest.raises(WorkersUnavailableError, match="RuntimeError: a slip"):
            await pool.call(0)
        with pytest.raises(WorkersUnavailableError, match="a slip"):  # at once
            await pool.call(1)
        module.write_text(working + "#\n" * 100)
        with capture_logs() as then:
            await until(lambda: len(pool.stats().pids) == 2)
        assert [line["event"] for line in logged + then].count("worker.start_failed") == 1
        assert [line["event"] for line in then if line["event"] == "worker.recovered"] == ["worker.recovered"]
        assert await pool.call(1) in pool.stats().pids


async def test_replies_that_arrived_before_a_process_died_are_read_although_writing_fails() -> None:
    ours, theirs = multiprocessing.Pipe()
    frames: list[bytes] = []
    ended: list[bool] = []
    channel = Channel(ours, frames.extend, lambda: ended.append(True))
    theirs.send_bytes(b"one")
    theirs.send_bytes(b"two")
    theirs.close()
    channel.send(b"a command")
    channel._write()  # before the event loop reads
    assert frames == []
    channel.drain()
    assert (frames, ended) == ([b"one", b"two"], [True])
    channel.close()


async def test_a_stop_waits_for_what_was_sent() -> None:
    pool = Pool(ACT, processes=2)
    await pool.open()
    calls = [asyncio.create_task(pool.call(("sleep", 0.02))) for _ in range(20)]
    await asyncio.sleep(0)
    pids = pool.stats().pids
    await pool.close()
    assert await asyncio.gather(*calls) == [0.02] * 20
    assert all(map(gone, pids))
    with pytest.raises(WorkersUnavailableError, match="the pool is closed; open it first"):
        await pool.call(1)


async def test_a_stop_under_load_leaves_no_process() -> None:
    pool = Pool(ACT, processes=3)
    await pool.open()
    pids = pool.stats().pids
    calls = [asyncio.create_task(pool.call(("sleep", 600))) for _ in range(10)]
    await asyncio.sleep(0)
    os.kill(pids[0], signal.SIGSTOP)
    await pool.close(drain_s=0.1)
    assert all(map(gone, pids))
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(reply) for reply in replies} == {WorkersUnavailableError}


async def test_a_canceled_stop_leaves_no_process() -> None:
    pool = Pool(ACT, processes=1)
    await pool.open()
    pids = pool.stats().pids
    call = asyncio.create_task(pool.call(("sleep", 600)))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.close(drain_s=600), 0.1)
    assert all(map(gone, pids))
    with pytest.raises(WorkersUnavailableError):
        await call


PARENT = """
import asyncio, sys, time
from pathlib import Path
from peekaping_producer.processes import Pool

async def main():
    async with Pool("tests.kit.pool_handlers:act", processes=2) as pool:
        call = asyncio.create_task(pool.call(("touch and sleep", sys.argv[1])))
        while not Path(sys.argv[1]).exists():
            await asyncio.sleep(0.01)
        print(*pool.stats().pids, flush=True)
        await call

asyncio.run(main())
"""


async def test_the_processes_of_a_killed_parent_end(tmp_path: Path) -> None:
    await _assert_children_end_with(PARENT, count=2, argument=str(tmp_path / "executing"))


PARENT_ELSEWHERE = """
import multiprocessing
from tests.kit import pool_handlers

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=pool_handlers.watch_parent)
    child.start()
    child.join()
"""


async def test_a_process_ends_with_its_parent_where_the_kernel_does_not_see_to_it() -> None:
    await _assert_children_end_with(PARENT_ELSEWHERE, count=1)


async def _assert_children_end_with(script: str, *, count: int, argument: str = "") -> None:
    """Run a script that prints the pids of its children; kill it, and wait for their end."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, argument, stdout=subprocess.PIPE)
    assert parent.stdout
    pids = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(pids) == count
    assert not any(map(gone, pids))
    parent.kill()
    await parent.wait()
    await until(lambda: all(map(gone, pids)))
