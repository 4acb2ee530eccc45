"""A stderr that blocks or fails: no write waits, dropped lines are counted, and the others keep their order."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from peekaping_producer.logs.stream import QueuedStream

ROOT = Path(__file__).parents[2]


class Pipe:
    """A small pipe and its reader."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        self.dropped: list[tuple[int, float]] = []

    def stream(self, **options: int) -> QueuedStream:
        stream = QueuedStream(self.writer, **options)
        stream.on_dropped = lambda lines, seconds: self.dropped.append((lines, seconds))
        return stream

    def read_all(self, stream: QueuedStream) -> list[str]:
        """All lines, read until the stream is drained."""
        got = bytearray()
        os.set_blocking(self.reader, False)
        while not stream.drain(0.01):
            self._take(got)
        self._take(got)
        return got.decode().split("\n")[:-1]

    def _take(self, got: bytearray) -> None:
        try:
            while some := os.read(self.reader, 65536):
                got += some
        except BlockingIOError:
            pass


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.reader, pipe.writer):
        with suppress(OSError):  # a test closed it
            os.close(descriptor)


def test_lines_arrive_whole_and_in_order(pipe: Pipe) -> None:
    stream = pipe.stream()
    for number in range(1000):
        print("line", number, file=stream)
    assert pipe.read_all(stream) == [f"line {number}" for number in range(1000)]
    assert pipe.dropped == []


def test_writes_to_a_pipe_without_reader_return_at_once_and_drops_are_counted(pipe: Pipe) -> None:
    stream = pipe.stream(max_bytes=10_000)
    stream.write(f"{0:99}\n")
    assert stream.drain(30)
    began_at = time.monotonic()
    for number in range(1, 20_000):
        stream.write(f"{number:99}\n")
    assert time.monotonic() - began_at < 10
    assert not stream.drain(0.05)
    lines = [int(line) for line in pipe.read_all(stream)]
    assert lines == sorted(lines)
    assert lines[0] == 0, "the line that was in the pipe before"
    assert lines[-90:] == list(range(19_910, 20_000)), "the newest are kept"
    assert sum(count for count, _ in pipe.dropped) == 20_000 - len(lines)
    assert stream.dropped_lines == 20_000 - len(lines)
    assert len(pipe.dropped) <= 2, "once at the end, and possibly once while the writer started"
    assert 0 <= pipe.dropped[0][1] < 60


def test_a_queue_that_was_full_works_again(pipe: Pipe) -> None:
    stream = pipe.stream(max_bytes=1000)
    for _ in range(2):
        for number in range(500):
            stream.write(f"{number:99}\n")
        pipe.read_all(stream)
    reported = len(pipe.dropped)
    assert reported >= 2  # more if the queue became shorter and full again between two lines
    stream.write("last\n")
    assert pipe.read_all(stream) == ["last"]
    assert len(pipe.dropped) == reported


def test_one_line_longer_than_the_queue_is_kept(pipe: Pipe) -> None:
    stream = pipe.stream(max_bytes=100)
    stream.write("x" * 100_000 + "\n")
    assert [len(line) for line in pipe.read_all(stream)] == [100_000]
    assert pipe.dropped == []


@pytest.mark.parametrize("close", ["reader", "nothing"])
def test_a_file_that_cannot_be_written_raises_nothing(pipe: Pipe, close: str) -> None:
    if close == "reader":
        os.close(pipe.reader)
        pipe.reader = -1  # the number may be another file's by the end of the test
        stream = pipe.stream()
    else:
        with open("/dev/full", "wb") as full:
            stream = QueuedStream(full.fileno())
    for _ in range(100):
        stream.write("line\n")
    assert stream.drain(30), "they are dropped, and drain does not wait for them"


def test_a_full_disk_that_has_room_again(tmp_path: Path) -> None:
    """A limit of the file's size simulates a full disk; an incomplete line does not garble the next."""
    script = """
import resource, signal, sys
from peekaping_producer.logs.stream import QueuedStream
resource.setrlimit(resource.RLIMIT_FSIZE, (25, resource.RLIM_INFINITY))
stream = QueuedStream(1)
stream.on_dropped = lambda lines, _: stream.write(f"dropped {lines}\\n")
for number in range(5):
    stream.write(f"line {number} ...\\n")
    assert stream.drain(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
stream.write("room\\n")
assert stream.drain(30)
"""
    out = tmp_path / "out"
    with out.open("wb") as file:
        assert run(script, stdout=file) == 0
    assert out.read_text().splitlines() == ["line 0 ...", "line 1 ...", "lin", "room", "dropped 3"]


def test_a_descriptor_that_is_closed_and_reused_gets_no_line(pipe: Pipe, tmp_path: Path) -> None:
    stream = pipe.stream()
    with (tmp_path / "other").open("wb") as other:
        os.dup2(other.fileno(), pipe.writer)
    stream.write("line\n")
    assert pipe.read_all(stream) == ["line"]
    assert (tmp_path / "other").read_bytes() == b""


def test_a_non_blocking_file_loses_no_line(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    stream = pipe.stream()
    for number in range(1000):
        stream.write(f"{number:99}\n")
    assert not stream.drain(0.05)
    assert len(pipe.read_all(stream)) == 1000


def test_lines_of_several_threads_are_not_mixed(pipe: Pipe) -> None:
    stream = pipe.stream()
    threads = [threading.Thread(target=lambda: [stream.write("x" * 200 + "\n") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(pipe.read_all(stream)) == {"x" * 200}


def test_a_destructor_that_logs_during_a_write_does_not_deadlock(pipe: Pipe) -> None:
    stream = pipe.stream()

    def write() -> None:
        with stream._changed:  # the garbage collector may run here
            stream.write("from a destructor\n")

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert pipe.read_all(stream) == ["from a destructor"]


def test_unencodable_text_is_escaped_and_an_incomplete_line_is_written_by_drain(pipe: Pipe) -> None:
    stream = pipe.stream()
    stream.write("\udc80é\nhalf")
    stream.write(" a line")
    assert pipe.read_all(stream) == ["\\udc80é", "half a line"]


def test_an_error_in_on_dropped_does_not_end_the_writer(pipe: Pipe) -> None:
    stream = pipe.stream(max_bytes=1000)

    def fail(_lines: int, _seconds: float) -> None:
        raise RuntimeError

    stream.on_dropped = fail
    for number in range(500):
        stream.write(f"{number:99}\n")
    pipe.read_all(stream)
    stream.write("last\n")
    assert pipe.read_all(stream) == ["last"]


# Whole processes

LOGS = """
import sys, time
from peekaping_producer import logs
from peekaping_producer.logs.setup import configure
logs.unblock_stderr()
configure("prod", "debug", "svc", ())
import structlog
log = structlog.get_logger()
"""


def run(script: str, **options: object) -> int:
    """The exit code of a Python program; negative if a signal ended or stopped it."""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, **options)  # type: ignore[call-overload]
    try:
        give_up_at = time.monotonic() + 30
        while time.monotonic() < give_up_at:
            pid, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return -os.WSTOPSIG(status)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return int(process.returncode)
            time.sleep(0.01)
        raise AssertionError("the program did not end within 30 s")
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


FLOOD = LOGS + "for number in range(2000): log.info('a.b', number=number)\n"


def test_an_exit_waits_at_most_a_second_for_a_reader(pipe: Pipe) -> None:
    began_at = time.monotonic()
    assert run(FLOOD + "sys.exit(7)", stderr=pipe.writer) == 7
    assert time.monotonic() - began_at < 20


def test_the_last_lines_before_an_exit_arrive(tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as file:
        assert run(FLOOD + "raise SystemExit(3)", stderr=file) == 3
        assert run(LOGS + "raise ValueError('the last')", stderr=file) == 1
    lines = (tmp_path / "err").read_text().splitlines()
    assert len(lines) == 2001
    assert "process.uncaught" in lines[-1]


def test_all_that_writes_to_stderr_returns_at_once(pipe: Pipe) -> None:
    """Errors in destructors, in the logging module and in threads, warnings, and prints."""
    script = LOGS + (
        "import logging, threading, warnings\n"
        "class Bad:\n    def __del__(self): raise ValueError\n"
        "class Broken(logging.Handler):\n    def emit(self, record): self.handleError(record)\n"
        "logging.getLogger('x').addHandler(Broken())\n"
        "for _ in range(300):\n"
        "    Bad()\n    print('x' * 99, file=sys.stderr)\n    logging.getLogger('x').error('y' * 99)\n"
        "    warnings.warn('z' * 99)\n"
        "    t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()\n"
        "sys.exit(7)"
    )
    assert run(script, stderr=pipe.writer) == 7


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_a_stderr_that_is_closed_or_full_changes_no_exit_code(closed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "peekaping_producer", "run"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DB_TYPE": "no such"}
    ended = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], env=env, cwd=tmp_path, timeout=60)
    assert ended.returncode == 2


def test_a_socket_does_not_get_the_descriptor_of_a_closed_stderr(tmp_path: Path) -> None:
    script = LOGS + "import socket; s = socket.socket(); sys.exit(0 if s.fileno() > 2 else 1)"
    assert run(f"import os; os.close(0); os.close(1); os.close(2)\n{script}", stderr=subprocess.DEVNULL) == 0


def test_a_terminal_frozen_by_ctrl_s_blocks_nothing(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    termios.tcflow(theirs, termios.TCOOFF)
    assert run(FLOOD + "sys.exit(7)", stderr=theirs) == 7


def test_a_terminal_with_tostop_does_not_stop_a_background_process(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    attributes = termios.tcgetattr(theirs)
    attributes[3] |= termios.TOSTOP
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    in_background = (
        "import fcntl, os, subprocess, sys, termios\n"
        "fcntl.ioctl(2, termios.TIOCSCTTY, 0)\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], process_group=0)\n"
        "_, status = os.waitpid(child.pid, os.WUNTRACED)\n"
        "stopped = os.WIFSTOPPED(status)\n"
        "child.kill()\n"
        "sys.exit(99 if stopped else os.waitstatus_to_exitcode(status))"
    )
    write = LOGS + "log.info('a.b'); sys.exit(0 if logs.drain(30) else 1)"
    ended = subprocess.run(
        [sys.executable, "-c", in_background, write], cwd=ROOT, stderr=theirs, start_new_session=True, timeout=60
    )
    assert ended.returncode == 0
    assert b"a.b" in os.read(ours, 4096)


def test_a_fifo_whose_reader_comes_and_goes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = LOGS + (
        "log.info('before'); logs.drain(30); print('ready', flush=True); sys.stdin.readline()\n"
        "log.info('lost'); logs.drain(30); print('ready', flush=True); sys.stdin.readline()\n"
        "log.info('after'); logs.drain(30)"
    )
    writer = os.open(fifo, os.O_WRONLY)
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer
    )
    os.close(writer)
    assert process.stdin
    assert process.stdout
    process.stdout.readline()
    assert b"before" in os.read(first, 4096)
    os.close(first)
    process.stdin.write(b"\n")
    process.stdin.flush()
    process.stdout.readline()
    second = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    process.communicate(b"\n", timeout=30)
    text = os.read(second, 4096).decode()
    os.close(second)
    assert process.returncode == 0
    assert '"after"' in text
    assert '"lost"' not in text
    assert '"event": "logs.dropped"' in text
    assert '"count": 1' in text


def test_signals_are_not_delivered_to_the_writer(pipe: Pipe) -> None:
    """SIGTERM could otherwise be delivered to a thread that is blocked in a write."""
    script = FLOOD + (
        "import signal, os\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(5))\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
    )
    assert run(script, stderr=pipe.writer) == 5
    assert signal.SIGTERM


@pytest.mark.parametrize(
    ("stdout", "problem"), [("/dev/full", b"cannot write to stdout: No space left on device"), ("", b"")]
)
def test_a_stdout_that_cannot_be_written_is_one_line(stdout: str, problem: bytes, tmp_path: Path) -> None:
    """Without a path stdout is a pipe whose reader has closed, which needs no message."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(stdout or os.dup(writer), "wb") as out:
        os.close(writer)
        ended = subprocess.run(
            [sys.executable, "-m", "peekaping_producer", "check-config"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DB_TYPE": "sqlite",
                "DB_NAME": "x",
                "REDIS_HOST": "h",
            },
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert problem in ended.stderr
    assert b"Exception ignored" not in ended.stderr
