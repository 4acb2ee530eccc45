"""The pool of worker processes, with real ones: replies, errors, handlers, logs."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    CommandFailedError,
    MessageCommandError,
    WorkersUnavailableError,
)
from peekaping_producer.messages.results import no_result
from peekaping_producer.processes import MessageCommand, Pool
from tests.kit import pool_handlers
from tests.kit.pool_handlers import ACT, ECHO, HANDLERS, HandlerError, TwoArgumentsError
from tests.kit.waiting import until


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


async def test_a_class_that_never_receives_ends_without_a_loop() -> None:
    async with Pool(f"{HANDLERS}:Deaf", processes=1) as pool:
        await until(lambda: pool.stats().died > 0)


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
