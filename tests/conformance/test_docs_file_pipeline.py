"""docs/file-pipeline.md on a real RabbitMQ: its commands run word for word, and with the rights of its example."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from peekaping_producer.transports.rabbitmq.receiver import RabbitMqReceiver
from tests.kit.commands import MINIMAL, ROOT
from tests.kit.page import Terminal, blocks
from tests.kit.pipelines import Command
from tests.kit.processes import free_port
from tests.kit.rabbitmq import RabbitMqApi, RabbitMqServer
from tests.kit.requirements import need
from tests.kit.waiting import until

EXAMPLE = ROOT / "deploy" / "examples" / "file-pipeline"
LINES = b"".join(b"line %d\n" % number for number in range(2000))


def resources(*names: str) -> list[dict[str, Any]]:
    return [each for name in names for each in yaml.safe_load_all((EXAMPLE / f"{name}.yaml").read_text())]


@pytest.fixture
def admin(rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget) -> Iterator[RabbitMqTarget]:
    """The user of the page, with all rights in the virtual host."""
    rabbitmq_node.create_user("admin", "password")
    rabbitmq_node.permit("admin", vhost_of_node.vhost)
    yield msgspec.structs.replace(vhost_of_node, user="admin", password="password")
    rabbitmq_node.delete_user("admin")


async def test_the_commands_for_this_machine_run_word_for_word(admin: RabbitMqTarget, tmp_path: Path) -> None:
    need(shutil.which("curl"), "curl")
    session = [block for block in blocks("file-pipeline.md") if "docker" not in block.commands]
    assert len(session) == 6
    commands = "".join(f"{block.commands}\necho ---\n" for block in session)
    for port in ("9465", "9466"):
        commands = commands.replace(port, str(free_port()))
    env = {
        "PATH": MINIMAL["PATH"],
        "PYTHONPATH": str(ROOT),
        "RABBITMQ_PORT": str(admin.port),
        "RABBITMQ_VHOST": admin.vhost,
    }
    printed = (await Terminal(tmp_path, env).run(commands)).split("---\n")
    for block, output in zip(session, printed, strict=False):
        assert block.output in output
    assert "Stopped; no message is unfinished." in printed[-2]
    for name in ("relay", "consume"):
        log = (tmp_path / f"{name}.log").read_text()
        assert (log.count("service.started"), log.count("service.stopped")) == (2, 1)
    assert (tmp_path / "output.txt").read_bytes() == (tmp_path / "input.txt").read_bytes()


@pytest.fixture
def limited(rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi) -> Iterator[RabbitMqTarget]:
    """What topology.yaml describes: its queue, and its user, who has its rights and no others."""
    (queue,) = (each["spec"] for each in resources("topology") if each["kind"] == "Queue")
    (rights,) = (each["spec"]["permissions"] for each in resources("topology") if each["kind"] == "Permission")
    declare(rabbitmq_api, rabbitmq, queue)
    rabbitmq_api.create_user("corti", "choose-one")
    rabbitmq_api.permit("corti", rabbitmq.vhost, **rights)
    yield msgspec.structs.replace(rabbitmq, user="corti", password="choose-one", queue=queue["name"])
    rabbitmq_api.delete_user("corti")


def declare(api: RabbitMqApi, target: RabbitMqTarget, queue: dict[str, Any]) -> None:
    body = {"durable": queue["durable"], "arguments": queue.get("arguments", {}) | {"x-queue-type": queue["type"]}}
    api.call("PUT", f"queues/{quote(target.vhost, safe='')}/{queue['name']}", body)


def declare_retention(api: RabbitMqApi, target: RabbitMqTarget) -> None:
    """What retention.yaml describes."""
    vhost = quote(target.vhost, safe="")
    for each in resources("retention"):
        spec = each["spec"]
        if each["kind"] == "Queue":
            declare(api, target, spec)
        elif each["kind"] == "Exchange":
            api.call("PUT", f"exchanges/{vhost}/{spec['name']}", {"type": spec["type"], "durable": spec["durable"]})
        else:
            api.call("POST", f"bindings/{vhost}/e/{spec['source']}/q/{spec['destination']}", {})


@pytest.mark.parametrize("retention", [False, True])
async def test_the_rights_of_the_example_are_enough(
    limited: RabbitMqTarget, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, tmp_path: Path, retention: bool
) -> None:
    env = {
        "RABBITMQ_PORT": str(limited.port),
        "RABBITMQ_VHOST": limited.vhost,
        "RABBITMQ_USER": limited.user,
        "RABBITMQ_PASS": limited.password,
        "RABBITMQ_HOST": limited.host,
    }
    if retention:
        declare_retention(rabbitmq_api, rabbitmq)
        env |= {"RABBITMQ_RETENTION": "7"}
    before = rabbitmq_api.queues(rabbitmq)
    (tmp_path / "input.txt").write_bytes(LINES)
    relay = Command(tmp_path, env, "relay", "--from", "file", "--path", "input.txt")
    consumer = Command(tmp_path, env, "consume", "--to-file", "output.txt", "--dedup")
    output = tmp_path / "output.txt"
    try:
        await until(lambda: output.exists() and output.stat().st_size >= len(LINES))
        assert (relay.terminate(), consumer.terminate()) == (0, 0)
    finally:
        for command in (relay, consumer):
            command.kill()
    assert output.read_bytes() == LINES
    after = rabbitmq_api.queues(rabbitmq)
    assert {name: each["arguments"] for name, each in after.items()} == {
        name: each["arguments"] for name, each in before.items()
    }
    assert "logs.copy" in after or not retention


async def test_the_rights_of_the_example_suffice_for_retries_and_dead_letters(
    limited: RabbitMqTarget, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    publisher, receiver = RabbitMqPublisher(limited), RabbitMqReceiver(limited, prefetch=2)
    await publisher.publish([Message("a", b"1"), Message("b", b"2")])
    deliveries = list(await receiver.receive(limit=2))
    while len(deliveries) < 2:
        deliveries += await receiver.receive(limit=1)
    await receiver.retry(deliveries[0], 1.0, "not yet")
    await receiver.dead_letter(deliveries[1], "tried")
    await publisher.close()
    await receiver.close()
    assert set(rabbitmq_api.queues(rabbitmq)) == {"logs", "logs.retry.1", "logs.dead"}
    (dead,) = rabbitmq_api.take(rabbitmq, "logs.dead")
    assert dead["properties"]["message_id"] == "b"
