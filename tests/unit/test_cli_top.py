"""The command top in a pseudo-terminal: what it shows, its keys, and that it leaves the terminal as it was."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.operations.fleet_events import FleetEvent, encode_event
from peekaping_producer.operations.heartbeat import Heartbeat
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.commands import MINIMAL, command, settings_of, start
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.kit.waiting import repeated, until, wait_until

TOP = [sys.executable, "-m", "peekaping_producer", "top"]
IN_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
BROKEN = """
import sys
from peekaping_producer.operations.top.reading import TopReader
read, calls = TopReader.read, []
async def broken(self, width_s):
    calls.append(1)
    if len(calls) > 1:
        raise RuntimeError("unforeseen")
    return await read(self, width_s)
TopReader.read = broken
sys.argv = ["peekaping-producer", "top"]
from peekaping_producer.cli.main import main
sys.exit(main())
"""


class Screen:
    """A process in a terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str], folder: Path, columns: int, lines: int) -> None:
        self.controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal = terminal
        self.mode = termios.tcgetattr(terminal)
        self.output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *argv],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=env,
            cwd=folder,
            start_new_session=True,
        )
        os.set_blocking(self.controller, False)

    def read(self) -> str:
        with suppress(BlockingIOError, OSError):
            while data := os.read(self.controller, 65_536):
                self.output += data
        return self.output.decode(errors="replace")

    @property
    def frames(self) -> list[list[str]]:
        """The lines of each frame that was drawn completely, without colors."""
        drawn = self.read().split("\x1b[H")[1:]
        return [
            re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).replace("\r", "").split("\n")
            for frame in drawn
            if "\x1b[J" in frame
        ]

    def press(self, keys: str) -> None:
        os.write(self.controller, keys.encode())

    def wait_for(self, text: str) -> list[str]:
        """Wait until the latest frame contains `text`; returns that frame."""
        found: list[str] = []

        def is_shown() -> bool:
            frames = self.frames
            found[:] = frames[-1] if frames else []
            assert self.process.poll() is None, self.read()[-3000:]
            return any(text in line for line in found)

        wait_until(is_shown, f"{text!r} in {found}")
        return found

    def end(self) -> int:
        """Wait for the end; returns the exit code, after the terminal was checked."""

        def has_ended() -> bool:
            self.read()  # a full terminal would block it
            return self.process.poll() is not None

        wait_until(has_ended, "the end of the command")
        assert termios.tcgetattr(self.terminal) == self.mode
        text = self.read()
        assert text.count(ENTER) == text.count(LEAVE) == 1
        return int(self.process.returncode)


@contextmanager
def opened(argv: list[str], env: dict[str, str], folder: Path, columns: int = 140, lines: int = 40) -> Iterator[Screen]:
    screen = Screen(argv, {**MINIMAL, "TERM": "xterm", **env}, folder, columns, lines)
    try:
        yield screen
    finally:
        if screen.process.poll() is None:
            screen.process.kill()
            screen.process.wait()
        os.close(screen.controller)
        os.close(screen.terminal)


@pytest.fixture
async def fleet(private_redis: RedisServer, server: Redis) -> AsyncIterator[dict[str, str]]:
    """Settings of a Redis with a replica, monitors and an event."""
    now_ms = int(time.time() * 1000)
    beat = Heartbeat(host="vm-a", version="0.2.0", started_ms=now_ms - 60_000)
    report = encode_report(ReplicaReport(leads=True, lease_ttl_s=10.0, heartbeat=beat))
    event = encode_event(FleetEvent(now_ms, "leader.won", "vm-a-1-ab leads.\x1b[31m", "vm-a-1-ab"))
    await Schedule(server).stats(node="vm-a-1-ab", report=report, events=[event])
    await server.zadd(KEYS.due, {f"m{n}": now_ms + 600_000 for n in range(3)})
    await server.set(KEYS.leader, "vm-a-1-ab/1", px=600_000)

    async def report_again() -> None:
        if await server.exists(KEYS.replicas):  # a server that was started again has lost it
            await Schedule(server).stats(node="vm-a-1-ab", report=report)

    async with repeated(report_again):
        yield settings_of(target_of(private_redis))


async def test_the_fleet_is_shown_and_keys_work(tmp_path: Path, fleet: dict[str, str], server: Redis) -> None:
    async def is_watched() -> bool:
        return bool(await server.exists(KEYS.watched))

    def look(loop: asyncio.AbstractEventLoop) -> None:
        with opened(TOP, fleet, tmp_path) as screen:
            frame = screen.wait_for("Every check is on time.")
            asyncio.run_coroutine_threadsafe(until(is_watched, "replicas report every second"), loop).result()
            text = "\n".join(frame)
            assert frame[0].endswith("vm-a leads")
            assert "scheduled 3" in text
            assert "leader.won" in text
            assert all(line.isprintable() for line in frame)
            assert frame[-1].startswith("q quit")
            screen.press("0")
            screen.wait_for("handed off each 10 s")
            screen.press("1\x1b[A")  # an arrow is no key
            screen.wait_for("handed off each s")
            screen.press("p")
            screen.wait_for("frozen")
            screen.press("p")
            screen.wait_for("q quit")
            screen.press("/m0\r")
            screen.wait_for("DB_")
            screen.press(" ")
            screen.wait_for("q quit")
            screen.press("q")
            assert screen.end() == 0

    await asyncio.to_thread(look, asyncio.get_running_loop())


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda screen: screen.press("\x03"), 130),
        (lambda screen: screen.process.send_signal(signal.SIGTERM), 143),
        (lambda screen: screen.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
async def test_a_signal_ends_it_and_the_terminal_is_restored(
    tmp_path: Path, fleet: dict[str, str], end: object, code: int
) -> None:
    def run() -> None:
        with opened(TOP, fleet, tmp_path) as screen:
            screen.wait_for("vm-a")
            assert termios.tcgetattr(screen.terminal) != screen.mode
            end(screen)  # type: ignore[operator]
            assert screen.end() == code
            assert screen.read().rstrip().endswith(f"ended by {signal.Signals(code - 128).name}")

    await asyncio.to_thread(run)


async def test_an_unforeseen_error_restores_the_terminal(tmp_path: Path, fleet: dict[str, str]) -> None:
    def run() -> None:
        with opened([sys.executable, "-c", BROKEN], fleet, tmp_path) as screen:
            wait_until(lambda: screen.read() and screen.process.poll() is not None)
            assert screen.end() == 1
            text = screen.read()
            assert text.index(LEAVE) < text.index("RuntimeError: unforeseen")

    await asyncio.to_thread(run)


async def test_ctrl_z_restores_the_terminal_until_it_goes_on(tmp_path: Path, fleet: dict[str, str]) -> None:
    def run() -> None:
        with opened(TOP, fleet, tmp_path) as screen:
            screen.wait_for("vm-a")
            screen.press("\x1a")
            wait_until(lambda: screen.read().endswith(LEAVE))
            wait_until(lambda: termios.tcgetattr(screen.terminal) == screen.mode)
            drawn = len(screen.frames)
            screen.process.send_signal(signal.SIGCONT)
            wait_until(lambda: len(screen.frames) > drawn)
            assert termios.tcgetattr(screen.terminal) != screen.mode
            screen.press("q")
            wait_until(lambda: screen.read() and screen.process.poll() is not None)
            assert termios.tcgetattr(screen.terminal) == screen.mode

    await asyncio.to_thread(run)


async def test_redis_that_goes_away_is_named_and_awaited(
    tmp_path: Path, fleet: dict[str, str], private_redis: RedisServer
) -> None:
    with opened(TOP, fleet, tmp_path) as screen:
        await asyncio.to_thread(screen.wait_for, "Every check is on time.")
        await private_redis.stop()
        frame = await asyncio.to_thread(screen.wait_for, "Redis has not answered since ")
        assert any(line.startswith("As of ") for line in frame)
        await private_redis.start()
        await asyncio.to_thread(screen.wait_for, "No replica runs: ")
        screen.press("q")
        assert await asyncio.to_thread(screen.end) == 0


async def test_narrow_resized_and_without_colors(tmp_path: Path, fleet: dict[str, str]) -> None:
    def run() -> None:
        with opened(TOP, {**fleet, "NO_COLOR": "1"}, tmp_path, columns=30, lines=10) as screen:
            frame = screen.wait_for("Every check is on time.")
            assert len(frame) == 10
            assert max(map(len, frame)) <= 30
            fcntl.ioctl(screen.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
            frame = screen.wait_for("REPLICA")
            assert 50 < max(map(len, frame)) <= 100
            assert not re.search(r"\x1b\[\d+m", screen.read())
            screen.press("q")
            assert screen.end() == 0

    await asyncio.to_thread(run)


async def test_colors(tmp_path: Path, fleet: dict[str, str]) -> None:
    def run() -> None:
        with opened(TOP, fleet, tmp_path) as screen:
            screen.wait_for("Every check is on time.")
            assert "\x1b[32mEvery check is on time.\x1b[0m" in screen.read()

    await asyncio.to_thread(run)


async def test_without_a_terminal_it_prints_lines(tmp_path: Path, fleet: dict[str, str]) -> None:
    process = await start(TOP, {**MINIMAL, **fleet}, tmp_path)
    assert process.stdout
    async with asyncio.timeout(60):
        lines = [(await process.stdout.readline()).decode() for _ in range(2)]
    process.terminate()
    await process.communicate()
    for line in lines:
        assert re.fullmatch(r"\d\d:\d\d:\d\d  Every check is on time; 3 scheduled, 0 overdue; .*vm-a leads\n", line)
    assert process.returncode == 143


async def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path, fleet: dict[str, str]) -> None:
    def run() -> None:
        with opened(TOP, {**fleet, "TERM": "dumb"}, tmp_path) as screen:
            wait_until(lambda: "Every check is on time; " in screen.read())
            assert "\x1b" not in screen.read()

    await asyncio.to_thread(run)


async def test_no_redis_at_the_start(tmp_path: Path) -> None:
    ended = await command(tmp_path, "top", REDIS_HOST="127.0.0.1", REDIS_PORT=str(free_port()))
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (3, "", 1)
