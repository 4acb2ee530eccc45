"""docs/sender.md, its commands for Docker word for word: the image is built, and sends to `serve` on this host."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from peekaping_producer.targets import RabbitMqTarget
from tests.conformance.test_docs_sender import PORT, QUEUE, environment
from tests.containers.compose import ROOT, docker, inspected, need_docker
from tests.kit.page import Terminal, blocks, stop
from tests.kit.processes import listens
from tests.kit.rabbitmq import RabbitMqApi
from tests.kit.requirements import need
from tests.kit.waiting import until

pytestmark = pytest.mark.timeout(600)
IMAGE = "peekaping-sender:latest"
BASE = f"peekaping-producer:sender-test-{os.getpid()}"
"""Of this test: others build peekaping-producer:latest."""
DOCKER = ("DOCKER_HOST", "DOCKER_CONFIG")


@pytest_asyncio.fixture
async def terminal(rabbitmq: RabbitMqTarget, tmp_path: Path) -> AsyncIterator[Terminal]:
    """A shell in the checkout, with `serve` of the page running; images and containers are removed afterwards."""
    need_docker()
    need(not listens(PORT), f"port {PORT}, which another program uses")
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    of_docker = {name: os.environ[name] for name in DOCKER if name in os.environ}
    terminal = Terminal(tmp_path, {**environment(rabbitmq), **of_docker, "BASE": BASE})
    server = await terminal.start(blocks("sender.md")[5].commands)
    try:
        await until(lambda: listens(PORT))
        yield terminal
    finally:
        await stop(server)
        docker("image", "rm", "--force", IMAGE, BASE)


async def test_the_image_is_built_and_sends_and_ends_at_once(
    terminal: Terminal, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    printed = await terminal.run(blocks("sender.md")[6].commands, within_s=550)
    assert f"Built {IMAGE}\n" in printed
    lines = printed.partition(f"Built {IMAGE}\n")[2].splitlines()
    assert [line.split(" ", 2)[1] for line in lines] == ["INFO"] * 4, lines
    assert "API_URL=http://host.docker.internal:3000, ENVIRONMENT=prod, GITHUB_TOKEN=***, " in lines[0]
    assert " INFO Successfully sent message to API: {" in lines[3]
    (message,) = rabbitmq_api.take(rabbitmq, QUEUE)
    assert json.loads(message["payload"])["environment"] == "prod"
    assert inspected(IMAGE)["Config"]["User"] == "10001:10001"

    container = docker("run", "--detach", "-e", "API_URL=http://127.0.0.1:1", IMAGE).strip()

    async def waits() -> bool:
        return "Waiting 30 seconds" in await terminal.run(f"docker logs {container}")

    try:
        await until(waits)
        docker("stop", "--time", "20", container)  # process 1 of a container ignores signals that it does not handle
        assert inspected(container)["State"]["ExitCode"] == 143
        log = await terminal.run(f"docker logs {container}")
        assert log.endswith("WARNING Ended by SIGTERM: 0 of 1 messages sent\n")
    finally:
        docker("rm", "--force", container)
