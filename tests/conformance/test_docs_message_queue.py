"""docs/message-queue.md without containers: its commands as they are printed, against a RabbitMQ of their own."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kit import http, rabbitmq
from tests.kit.commands import ROOT
from tests.kit.message_queue import EXAMPLE, documented, path_with_python
from tests.kit.processes import HOST, free_port
from tests.kit.rabbitmq import RabbitMqServer
from tests.kit.waiting import until


@pytest.fixture
def node() -> Iterator[RabbitMqServer]:
    """A node with statistics: the scripts count the messages of a queue by them."""
    with rabbitmq.running(statistics=True) as running:
        yield running


def environment(node: RabbitMqServer, folder: Path) -> dict[str, str]:
    """What a user would write to `.env` to use other ports, and another login."""
    producer, consumer = free_port(), free_port()
    target = node.target
    return {
        "PATH": path_with_python(folder, os.environ["PATH"]),
        "PYTHONPATH": str(ROOT),
        "RABBITMQ_HOST": target.host,
        "RABBITMQ_PORT": str(target.port),
        "RABBITMQ_USER": target.user,
        "RABBITMQ_PASS": target.password,
        "MANAGEMENT_URL": node.url,
        "PORT": str(producer),
        "PRODUCER_URL": f"http://{HOST}:{producer}",
        "METRICS_ADDR": f"{HOST}:{consumer}",
        "CONSUMER_URL": f"http://{HOST}:{consumer}",
        "FLASK_ENV": "production",
        "LOG_LEVEL": "INFO",
    }


@contextmanager
def started(command: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A service in a terminal of its own, which ends by Ctrl-C."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=EXAMPLE, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0, log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, cwd=EXAMPLE, env=env, capture_output=True, text=True, check=False)


async def test_the_commands_run_without_containers(node: RabbitMqServer, tmp_path: Path) -> None:
    env = environment(node, tmp_path)
    (docker, _), (producer, _), (consumer, _), (tests, _) = documented("Without containers")
    assert docker.startswith("docker compose up")
    with (
        started(producer, env | {"METRICS_ADDR": "off"}, tmp_path / "producer.log"),
        started(consumer, env, tmp_path / "consumer.log"),
    ):
        for address in (env["PRODUCER_URL"] + "/health", env["CONSUMER_URL"] + "/readyz"):
            host, _, path = address.removeprefix("http://").partition("/")
            await until(lambda host=host, path=path: answers(host, f"/{path}"), address)
        for command in tests.splitlines():
            done = await asyncio.to_thread(run, command, env)
            assert done.returncode == 0, done.stdout + done.stderr
    assert "Processed a message." in (tmp_path / "consumer.log").read_text()


def test_the_system_test_fails_where_the_system_does(tmp_path: Path) -> None:
    env = {"PATH": path_with_python(tmp_path, os.environ["PATH"]), "PRODUCER_URL": f"http://{HOST}:{free_port()}"}
    done = run("python scripts/test_system.py", env)
    assert done.returncode == 1
    assert done.stdout.startswith("health        FAILED")


async def answers(address: str, path: str) -> bool:
    try:
        return (await http.get(address, path))[0] == 200
    except OSError:
        return False
