"""`demo` and `demo-queue` as a newcomer runs them: what they show, and that they leave nothing behind."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.kit.redis import need_a_binary
from tests.kit.requirements import need
from tests.kit.waiting import wait_until

DEMO = [sys.executable, "-m", "peekaping_producer", "demo", "--seconds"]
DEMO_QUEUE = [sys.executable, "-m", "peekaping_producer", "demo-queue", "--seconds"]
IN_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
FROM_A_PARENT = (
    "import subprocess, sys; demo = subprocess.Popen(sys.argv[1:]); print('demo', demo.pid, flush=True); demo.wait()"
)
WITHIN_S = 60.0


@pytest.fixture(autouse=True)
def a_server_to_embed() -> None:
    need_a_binary()
    need(shutil.which("ps"), "apt install procps")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a temporary directory of its own, in which nothing may be left, and settings that it must ignore."""
    ignored = {"DB_TYPE": "postgres", "DATABASE_URL": "postgres://nowhere/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    return {**os.environ, **ignored, "TMPDIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}


def processes() -> dict[int, tuple[int, str]]:
    """The parent and the state of every process, by pid."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in table.splitlines()]
    return {int(pid): (int(parent), state) for pid, parent, state in rows}


def family(root: int) -> set[int]:
    """`root` and all that it started, directly or not."""
    everyone = processes()
    found = {root}
    while more := {pid for pid, (parent, _) in everyone.items() if parent in found} - found:
        found |= more
    return found


def all_gone(pids: set[int]) -> bool:
    """A zombie counts as ended: PID 1 of a container may not reap."""
    everyone = processes()
    return all(everyone[pid][1].startswith("Z") for pid in pids & everyone.keys())


def require_nothing_left(pids: set[int], folder: Path) -> None:
    """The children of a demo see its end a moment later."""
    wait_until(lambda: all_gone(pids), "all its processes end")
    wait_until(lambda: list(folder.iterdir()) == [], "its directory is removed")


@contextmanager
def started(*argv: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process whose stdout is read as lines; killed where the test fails."""
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Its output up to the line with `text`."""
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} never came: {''.join(lines)}")


def whole_run(
    *argv: str, env: dict[str, str], on_line: Callable[[str], object] = lambda _line: None
) -> tuple[str, set[int]]:
    """What a demo prints, and the processes that were seen; it ends with exit code 0."""
    pids: set[int] = set()
    lines: list[str] = []
    with started(*argv, env=env) as demo:
        assert demo.stdout
        for line in demo.stdout:
            lines.append(line)
            on_line(line)
            pids |= family(demo.pid)
    output = "".join(lines)
    assert demo.returncode == 0, output
    return output, pids


class PageReader:
    """Waits for an answer of the demo's page whenever the demo prints its state, until it is about to end."""

    def __init__(self) -> None:
        self.answers = 0
        self._url = ""

    def read(self, line: str) -> None:
        if found := re.search(r"the page: (http://127\.0\.0\.1:\d+/)", line):
            self._url = found[1]
        elif (found := re.match(r" *(\d+) s  leader", line)) and int(found[1]) <= 9:
            wait_until(self._is_served, "the page of a replica that runs")
            self.answers += 1

    def _is_served(self) -> bool:
        with suppress(OSError), urlopen(f"{self._url}api/session", timeout=WITHIN_S) as response:
            return bool(response.status == 200)
        return False


def test_it_shows_checks_and_a_failover_and_leaves_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    page = PageReader()
    output, pids = whole_run(*DEMO, "14", env=environment, on_line=page.read)
    counts = re.search(r"(\d+) checks handed off, (\d+) completed", output)
    assert counts, output
    handed_off, completed = map(int, counts.groups())
    assert handed_off == completed > 20, output
    assert re.search(r"leader killed at [\d.]+ s → new leader replica [12] after [\d.]+ s", output), output
    assert "0 duplicated, 0 lost" in output
    assert page.answers >= 2, "before the kill, and after it"
    assert re.search(r"Results: \d+ up, \d+ down\. HTTP 200: \d+, .*timeout", output), output
    assert len(pids) >= 5, "the demo, Redis, two replicas and the directory's keeper"
    require_nothing_left(pids, tmp_path)


def test_relay_and_api_are_killed_and_all_that_was_sent_arrives(environment: dict[str, str], tmp_path: Path) -> None:
    output, pids = whole_run(*DEMO_QUEUE, "5", env=environment)
    killed = {name: int(pid) for name, pid in re.findall(r"killing (\w+) \(SIGKILL, pid (\d+)\)", output)}
    started_again = {name: int(pid) for name, pid in re.findall(r"(\w+) started again \(pid (\d+)\)", output)}
    assert killed.keys() == started_again.keys() == {"relay", "serve"}, output
    assert not killed.items() & started_again.items()
    lines = re.search(r"Lines: ([\d,]+) written, ([\d,]+) arrived; output.txt is byte-equal to input.txt", output)
    messages = re.search(r"Messages: ([\d,]+) accepted, ([\d,]+) handled, [\d,]+ doubled, 0 lost", output)
    for counts in (lines, messages):
        assert counts, output
        assert counts[1] == counts[2] != "0", output
    assert len(pids) >= 7, "the demo, Redis, four commands and the directory's keeper"
    require_nothing_left(pids, tmp_path)


def ctrl_c_in_a_terminal(*demo_argv: str, shown: bytes, env: dict[str, str]) -> tuple[str, set[int]]:
    """The screen, without colors, of a demo that is interrupted once it has `shown` this, and its processes."""
    master, slave = pty.openpty()
    argv = [sys.executable, "-c", IN_A_TERMINAL, *demo_argv]
    demo = subprocess.Popen(argv, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    pids: set[int] = set()
    output = b""
    with suppress(OSError):  # EIO: the other side is closed
        while chunk := os.read(master, 65536):
            output += chunk
            if not pids and re.search(shown, output):
                pids = family(demo.pid)
                os.write(master, b"\x03")
    os.close(master)
    assert demo.wait(WITHIN_S) == 0, output.decode()
    return re.sub(r"\x1b\[[\d;]*m", "", output.decode()), pids


def test_ctrl_c_in_a_terminal_ends_the_live_table_in_order(environment: dict[str, str], tmp_path: Path) -> None:
    screen, pids = ctrl_c_in_a_terminal(*DEMO, "60", shown=rb"handed off, ([6-9]|\d\d+) completed", env=environment)
    assert all(word in screen for word in ("Mail gateway", "refused", "keyword found", "leader  replica")), screen
    assert "\x1b[?25h" in screen.rpartition("Mail gateway")[2], "the cursor is shown again"
    assert re.search(r"Ran [\d.]+ s: \d+ checks handed off", screen), screen
    assert len(pids) >= 5
    require_nothing_left(pids, tmp_path)


def test_ctrl_c_while_the_relay_is_down_loses_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    screen, pids = ctrl_c_in_a_terminal(*DEMO_QUEUE, "6", shown=rb"killing relay", env=environment)
    assert all(word in screen for word in ("file → queue → file", "equal so far", "doubled", "relay")), screen
    assert "\x1b[?25h" in screen.rpartition("equal so far")[2], "the cursor is shown again"
    assert "output.txt is byte-equal to input.txt" in screen
    assert len(pids) >= 6
    require_nothing_left(pids, tmp_path)


def test_a_killed_demo_takes_everything_with_it(environment: dict[str, str], tmp_path: Path) -> None:
    with started(*DEMO, "60", env=environment) as demo:
        lines_until(demo, "leader: replica")
        pids = family(demo.pid)
        demo.kill()
    assert len(pids) >= 5
    require_nothing_left(pids, tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_its_parent_is_killed(how: signal.Signals, environment: dict[str, str], tmp_path: Path) -> None:
    with started(sys.executable, "-c", FROM_A_PARENT, *DEMO, "60", env=environment) as parent:
        pid = int(lines_until(parent, "demo")[-1].split()[1])
        lines_until(parent, "leader: replica")
        pids = family(pid)
        parent.send_signal(how)
        parent.wait(WITHIN_S)
        assert parent.stdout
        parent.stdout.close()  # its last lines have no reader
        require_nothing_left(pids, tmp_path)
    assert len(pids) >= 5
