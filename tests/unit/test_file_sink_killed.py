"""The file sink in a process that is killed again and again."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from tests.kit.waiting import wait_until

LINES = 25_000
"""So many that a test that is slow to look does not find a process that has ended."""
KILLS = 4


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def kill_while_it_writes(command: list[str], output: Path, written: int) -> int:
    """Kill the process once it has written so many bytes; returns its pid."""
    process = subprocess.Popen(command)
    until = size(output) + written
    wait_until(lambda: size(output) >= until or process.poll() is not None, every_s=0.0005)
    assert process.poll() is None, "ended by itself"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return process.pid


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    output, acknowledged = tmp_path / "output.txt", tmp_path / "acknowledged"
    command = [sys.executable, "-m", "tests.kit.sink_process", str(LINES), str(output), str(acknowledged)]
    randomness = random.Random(5)
    pids = {kill_while_it_writes(command, output, randomness.randint(1, 20_000)) for _ in range(KILLS)}
    assert len(pids) == KILLS
    assert 0 < size(output) < LINES * 12
    subprocess.run(command, check=True, timeout=60)
    assert output.read_bytes() == b"".join(b"line %06d\n" % number for number in range(LINES))
