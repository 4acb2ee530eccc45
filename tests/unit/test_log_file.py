"""LOG_FILE: log lines are also appended to a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.commands import MINIMAL, ROOT, command

SCRIPT = """
import os, sys
from peekaping_producer import logs
from peekaping_producer.logs.setup import configure
logs.unblock_stderr()
configure(sys.argv[1], "info", "svc", ["h0rse"], file=sys.argv[2])
import structlog
structlog.get_logger().warning("a.b", message="One h0rse.")
logs.drain()
os._exit(0)
"""


@pytest.mark.parametrize("mode", ["dev", "prod"])
def test_lines_go_to_stderr_and_without_colors_to_the_file(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "a.log"
    file.write_text("earlier\n")
    env = {**MINIMAL, "FORCE_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode, file], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    earlier, line = file.read_text().splitlines()
    assert earlier == "earlier"
    if mode == "prod":
        assert done.stderr == line + "\n"
        assert json.loads(line)["message"] == "One ***."
    else:
        assert "\x1b[" in done.stderr
        assert "\x1b[" not in line
        assert line.split()[1:] == ["[warning", "]", "a.b", "One", "***.", "service=svc"]


def test_the_file_may_be_stdout(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w") as stdout:
        stdout.write("before\n")
        stdout.flush()
        argv = [sys.executable, "-c", SCRIPT, "prod", "/dev/stdout"]
        done = subprocess.run(argv, cwd=ROOT, env=MINIMAL, stdout=stdout, stderr=subprocess.PIPE, text=True, check=True)
        stdout.write("after\n")
    assert out.read_text() == f"before\n{done.stderr}after\n"


async def test_a_file_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "a.log")
    ended = await command(tmp_path, "consume", "--to-stdout", "--log-file", path, METRICS_ADDR="off")
    expected = f"LOG_FILE: expected the path of a writable file, got {path!r} ({os.strerror(2)})"
    assert (ended.code, ended.err) == (2, f"peekaping-producer: {expected}\n")
