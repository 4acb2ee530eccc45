"""The progress of a process on a terminal."""

import asyncio
import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from peekaping_producer.pipeline import progress_line
from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.commands import MINIMAL, ROOT
from tests.kit.waiting import until

SCRIPT = """
import asyncio, os, sys
from peekaping_producer import logs
from peekaping_producer.logs.setup import configure
from peekaping_producer.pipeline import progress_line
from peekaping_producer.service.aio import cancel_and_wait
logs.unblock_stderr()
configure("dev", "info", "svc", [])
import structlog

async def main():
    showing = asyncio.create_task(progress_line.show(lambda: "7 lines"))
    await asyncio.sleep(0)
    structlog.get_logger().info("a.b")
    logs.drain()
    await cancel_and_wait(showing)

asyncio.run(main())
print("end")
"""


def run(stdout: int, stderr: int) -> None:
    env = {**MINIMAL, "NO_COLOR": "1"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, stdout=stdout, stderr=stderr, timeout=30, check=True
    )


def written_to(terminal: int) -> bytes:
    """All that the process wrote; it arrives in pieces, also after the process has ended."""
    written = b""
    while b"end\r\n" not in written:
        written += os.read(terminal, 4096)
    return written


def screen(written: bytes) -> list[str]:
    """The lines that remain visible."""
    lines = written.decode().replace("\r\n", "\n").split("\n")
    return [line.rpartition("\r\x1b[K")[2] for line in lines]


def test_log_lines_are_above_the_line_which_remains_at_the_end(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    run(theirs, theirs)
    log, progress, end, _ = screen(written_to(ours))
    assert "a.b" in log
    assert "lines" not in log
    assert (progress, end) == ("7 lines", "end")


def test_a_log_that_is_no_terminal_contains_no_escape_sequences(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    reading, writing = os.pipe()
    run(theirs, writing)
    os.close(writing)
    assert b"\x1b" not in os.read(reading, 4096)
    os.close(reading)
    assert screen(written_to(ours))[0] == "7 lines"


def test_a_background_job_shows_nothing_beside_the_job_in_the_foreground(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    shell = (
        "import fcntl, os, subprocess, sys, termios\n"
        "os.setsid()\n"
        "fcntl.ioctl(1, termios.TIOCSCTTY, 0)\n"
        f"subprocess.run([sys.executable, '-c', {SCRIPT!r}], process_group=0, check=True)"
    )
    env = {**MINIMAL, "NO_COLOR": "1"}
    subprocess.run(
        [sys.executable, "-c", shell], cwd=ROOT, env=env, stdout=theirs, stderr=theirs, timeout=30, check=True
    )
    written = written_to(ours)
    assert b"a.b" in written
    assert b"7 lines" not in written


def test_nothing_is_shown_without_a_terminal() -> None:
    reading, writing = os.pipe()
    run(writing, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert "7 lines" not in pipe.read()


def test_a_terminal_that_is_stopped_does_not_stop_the_process(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    termios.tcflow(theirs, termios.TCOOFF)
    script = SCRIPT.replace('print("end")', "")
    subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=MINIMAL, stdout=theirs, stderr=theirs, timeout=30, check=True
    )


async def test_a_terminal_that_is_closed_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    calls = 0

    def progress() -> str:
        nonlocal calls
        calls += 1
        return "7 lines"

    stream = os.fdopen(theirs, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(progress_line, "_EVERY_S", 0.01)
    showing = asyncio.create_task(progress_line.show(progress))
    await until(lambda: calls > 0)
    os.close(ours)
    closed_at = calls
    await until(lambda: calls >= closed_at + 3)
    await cancel_and_wait(showing)
    assert showing.cancelled()
    with suppress(OSError):
        stream.close()
