"""The pool of worker processes, with real ones: replies, errors, deaths, hung processes, stops."""

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    CommandFailedError,
    CommandKilledWorkersError,
    ItemError,
    MessageCommandError,
    WorkersUnavailableError,
)
from peekaping_producer.messages.results import no_result
from peekaping_producer.processes import MessageCommand, Pool
from peekaping_producer.processes.channel import Channel
from tests.kit import pool_handlers
from tests.kit.pool_handlers import HandlerError, TwoArgumentsError
from tests.kit.waiting import until

HANDLERS = "tests.kit.pool_handlers"
ECHO, ACT = f"{HANDLERS}:echo", f"{HANDLERS}:act"


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return Path("/proc/self").exists() or not _accepts_signals(pid)


def _accepts_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_replies_go_to_their_callers_whatever_their_size() -> None:
    sizes = [0, 1, 16_384, 16_385, 1 << 20, 5_000_000]
    async with Pool(ECHO, processes=2) as pool:
        assert len(set(pool.stats().pids)) == 2
        arguments = [bytes([size % 251]) * size for size in sizes] * 3
        assert await asyncio.gather(*map(pool.call, arguments)) == arguments
        assert await pool.call(MessageCommand("hi", [1])) == MessageCommand("hi", [1])


async def test_the_reply_is_made_in_the_process_of_what_the_function_returns() -> None:
    async with Pool(ACT, processes=1, reply_of=no_result) as pool:
        assert await pool.call(("unpicklable", None)) is None
    async with Pool(ECHO, processes=1, reply_of=len) as pool:
        assert await pool.call("four") == 4


async def test_coroutine_functions_run_in_the_process() -> None:
    async with Pool(f"{HANDLERS}:echo_later", processes=1) as pool:
        assert await asyncio.gather(*map(pool.call, range(20))) == list(range(20))


async def test_what_a_handler_raises_is_raised_in_the_caller_and_ends_no_process() -> None:
    async with Pool(ACT, processes=1) as pool:
        (pid,) = pool.stats().pids
        with pytest.raises(HandlerError, match="no luck") as raised:
            await pool.call(("raise", "no luck"))
        assert f"in worker process {pid}" in raised.value.__notes__[0]
        with pytest.raises(TwoArgumentsError, match="1 and 2") as other:
            await pool.call(("raise two", None))
        assert other.value.second == 2
        for action, named in [
            (("raise unpicklable", None), "UnpicklableError: no luck"),
            (("exit", 3), "SystemExit: 3"),
            (("raise stop", None), "the handler raised StopIteration"),
            (("unpicklable", None), "reply: expected a value that can be pickled"),
        ]:
            with pytest.raises(CommandFailedError, match=named):
                await pool.call(action)
        with pytest.raises(CommandFailedError, match="argument: expected a value that can be pickled"):
            await pool.call(lambda: None)
        assert await pool.call(("pid", None)) == pid


@pytest.mark.parametrize("handler", ["Shouter", "Plain", "start_plain"])
async def test_bad_json_is_one_clear_error_and_ends_no_process(handler: str) -> None:
    async with Pool(f"{HANDLERS}:{handler}", processes=1) as pool:
        (pid,) = pool.stats().pids
        texts: list[Any] = ["{", "[]", '{"command": 1, "arguments": []}', '{"command": "hi"}', None]
        replies = await asyncio.gather(*map(pool.call, texts), return_exceptions=True)
        assert {type(reply) for reply in replies} == {MessageCommandError}
        assert await pool.call(MessageCommand("silence", []).to_json()) is None
        reply = MessageCommand.from_json(await pool.call(MessageCommand("hi", ["é"]).to_json()))
        assert reply.arguments == ["é"]
        assert pool.stats().pids == (pid,)


async def test_a_second_reply_to_a_command_goes_to_no_other_caller() -> None:
    async with Pool(f"{HANDLERS}:Plain", processes=1) as pool:
        sent = [MessageCommand(name, []).to_json() for name in ("twice", "hi", "twice", "there")]
        assert await asyncio.gather(*map(pool.call, sent)) == sent


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
            await asyncio.wait_for(pool.call(("sleep", 0.2)), 0.05)
        assert await pool.call(("pid", None)) == pid


async def test_a_frozen_process_does_not_block_the_event_loop() -> None:
    async with Pool(ECHO, processes=1, cancel_grace_s=0.05) as pool:
        (pid,) = pool.stats().pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):  # larger than any socket buffer
            await asyncio.wait_for(pool.call(b"x" * 50_000_000), 0.2)
        assert await pool.call("after") == "after"
        assert pool.stats().pids != (pid,)


async def test_slow_commands_do_not_wait_behind_others_while_a_process_is_free() -> None:
    async with Pool(ACT, processes=2) as pool:
        await asyncio.gather(*(pool.call(("sleep", 0.05)) for _ in range(4)))
        slow = [asyncio.create_task(pool.call(("sleep", 600)))]
        await asyncio.sleep(0)
        await asyncio.gather(*(pool.call(("echo", number)) for number in range(20)))
        slow[0].cancel()


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        ("tests.kit.no_such_module:handle", "ModuleNotFoundError: No module named 'tests.kit.no_such_module'"),
        (f"{HANDLERS}:missing", "AttributeError"),
        (f"{HANDLERS}:not_callable", "expected a function or a class, got int"),
    ],
)
async def test_a_handler_that_cannot_be_imported_is_one_error(handler: str, named: str) -> None:
    pool = Pool(handler, processes=2)
    with capture_logs() as logged, pytest.raises(WorkersUnavailableError, match=named):
        await pool.open()
    assert logged == []
    assert pool.stats().pids == ()
    with pytest.raises(WorkersUnavailableError, match="the pool is closed"):
        await pool.call(1)


def test_a_handler_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="handler: expected module:name, got 'handle'"):
        Pool("handle")


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


async def test_a_class_that_never_receives_ends_without_a_loop() -> None:
    async with Pool(f"{HANDLERS}:Deaf", processes=1) as pool:
        await until(lambda: pool.stats().died > 0)


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


async def test_a_pool_can_be_opened_again() -> None:
    pool = Pool(ECHO, processes=1)
    for _ in range(2):
        async with pool:
            assert await pool.call(1) == 1


async def test_logs_of_a_process_arrive_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with Pool(ACT, processes=2) as pool:
            await asyncio.gather(*(pool.call(("log", number)) for number in range(10)))
    records = [record for record in caplog.records if record.name == pool_handlers.__name__]
    assert sorted(record.getMessage() for record in records) == [f"a line with {number}" for number in range(10)]
    assert {record.processName for record in records} <= {"worker-1", "worker-2"}
    assert os.getpid() not in {record.process for record in records}


WITHOUT_GUARD = """
import asyncio
from peekaping_producer.processes import Pool

async def main():
    async with Pool("json:dumps", processes=2):
        pass

asyncio.run(main())
"""


async def test_a_main_module_without_a_guard_is_one_error_and_no_fork_loop(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(WITHOUT_GUARD)
    process = await asyncio.create_subprocess_exec(sys.executable, script, stderr=subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"WorkersUnavailableError: worker process: worker-" in errors.splitlines()[-1]


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
