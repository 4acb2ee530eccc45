"""docs/file-pipeline.md: its commands for Docker Compose, word for word, in containers."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.containers.compose import ROOT, Stack, environment
from tests.kit.page import blocks
from tests.kit.processes import free_port

pytestmark = pytest.mark.timeout(600)
EXAMPLE = ROOT / "deploy" / "examples" / "file-pipeline"


@pytest.fixture
def env(stack: Stack) -> Iterator[dict[str, str]]:
    """A project of its own, whose image is that of `stack`."""
    project = f"file-pipeline-test-{os.getpid()}"
    env = environment(TAG=stack.tag, COMPOSE_PROJECT_NAME=project, MANAGEMENT_PORT=str(free_port()))
    try:
        yield env
    finally:
        down = ["docker", "compose", "down", "--volumes", "--timeout", "1"]
        subprocess.run(down, cwd=EXAMPLE, env=env, capture_output=True, check=True)


def test_the_commands_of_the_page_run_word_for_word(env: dict[str, str]) -> None:
    session = [block for block in blocks("file-pipeline.md") if "docker" in block.commands]
    assert len(session) == 2
    script = "set -eu\n" + "".join(block.commands for block in session)
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    logs = subprocess.run(
        ["docker", "compose", "logs"], cwd=EXAMPLE, env=env, capture_output=True, text=True, check=True
    )
    assert done.returncode == 0, done.stderr + logs.stdout
    assert done.stdout.endswith(session[-1].output), done.stdout
    for service in ("relay", "consume"):  # each was killed and started again
        assert len(re.findall(rf"{service}-1 .*service\.started", logs.stdout)) == 2, logs.stdout
