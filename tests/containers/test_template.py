"""docs/template.md: the image of the service, built and run by the commands of the page."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peekaping_producer.template.creation import create_project
from tests.containers.compose import ROOT, docker, environment, inspected, need_docker
from tests.kit.processes import free_port
from tests.kit.template import blocks

NAME = f"my-service-{os.getpid()}"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    need_docker()
    made = tmp_path / NAME
    create_project(made)
    build = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(made / "wheels"))
    subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
    try:
        yield made
    finally:
        for words in (("rm", "--force", NAME), ("image", "rm", "--force", NAME)):
            subprocess.run(["docker", *words], capture_output=True, check=False)


def test_the_image_is_built_answers_and_stops_as_on_the_page(folder: Path, report: list[str]) -> None:
    port = free_port()
    (block,) = blocks("Deploy")
    commands = block.replace("my-service", NAME).replace("8000:8000", f"{port}:8000").replace(":8000/", f":{port}/")
    *until_stopped, stop, remove = commands.splitlines()
    printed = shell("\n".join(until_stopped), folder)
    assert '{"text":"Hello, world!","worker":' in printed
    assert re.search(r" INFO worker-[12] src\.worker\.Worker: execute ", printed)
    assert re.search(r"^Uid:\t10001\t", docker("exec", NAME, "cat", "/proc/1/status"), flags=re.MULTILINE)
    shell(stop, folder)
    assert inspected(NAME)["State"]["ExitCode"] == 0
    size = inspected(f"{NAME}:latest")["Size"] / 1e6
    report.append(f"image of the template: {size:.0f} MB")
    shell(remove, folder)


def shell(commands: str, folder: Path) -> str:
    """What the commands print, to stdout and stderr."""
    done = subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
