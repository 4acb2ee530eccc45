"""docs/processes.md: its examples run as they are printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"


def run(example: int, folder: Path) -> subprocess.CompletedProcess[str]:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    script = folder / "main.py"
    script.write_text(blocks[example])
    return subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)


def test_the_example_of_the_pool(tmp_path: Path) -> None:
    done = run(0, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 2]\n", "", 0)


def test_the_example_of_a_server_and_its_workers(tmp_path: Path) -> None:
    done = run(1, tmp_path)
    assert (done.stdout, done.returncode) == ('{"command": "reply", "arguments": ["WORLD"]}\n', 0)
    received, greeted = done.stderr.splitlines()
    assert re.search(r" INFO worker-[12] __mp_main__\.Shouter: received greet$", received)
    assert re.search(r" INFO SpawnProcess-\d+ __mp_main__\.Greeter: greeted world$", greeted)


@pytest.mark.parametrize("name", ["max_deaths", "cancel_grace_s", "max_ahead", "drain_s"])
def test_the_options_exist(name: str) -> None:
    source = (PAGE.parents[1] / "peekaping_producer" / "processes" / "pool.py").read_text()
    assert f"`{name}" in PAGE.read_text() or f"({name})" in PAGE.read_text()
    assert f"{name}: " in source
