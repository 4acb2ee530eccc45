"""docs/sender.md: its commands run word for word, with a real RabbitMQ, and print what the page shows."""

import json
import os
import re
import shutil
import sysconfig
from pathlib import Path
from urllib.parse import quote

from peekaping_producer.settings import Settings
from peekaping_producer.targets import RabbitMqTarget
from tests.kit.commands import MINIMAL
from tests.kit.page import ROOT, Terminal, blocks, stop
from tests.kit.processes import listens
from tests.kit.rabbitmq import RabbitMqApi
from tests.kit.requirements import need
from tests.kit.waiting import until

PAGE = ROOT / "docs" / "sender.md"
PORT = 3000
QUEUE = Settings().rabbitmq_queue
"""The default of the commands; the page sets none."""
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "migrations", "peekaping_producer", "deploy/examples/sender")
CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d{3})?"), r"TIME\1"),
    (re.compile(r"(['\"]id['\"]: ?)['\"][\w-]+['\"]"), r"\1ID"),
)
"""What differs between two runs, and what replaces it."""


def stable(text: str) -> str:
    for pattern, replacement in CHANGING:
        text = pattern.sub(replacement, text)
    return text


def checkout(folder: Path) -> Path:
    """A copy of what is installed, since the page creates files in it."""
    for name in SOURCES:
        source, copy = ROOT / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
        else:
            shutil.copy(source, copy)
    return folder


def environment(target: RabbitMqTarget) -> dict[str, str]:
    """The broker of the test, as the page exports another broker; pip finds the dependencies without a download."""
    user, password, vhost = (quote(text, safe="") for text in (target.user, target.password, target.vhost))
    return {
        "PATH": MINIMAL["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
        "RABBITMQ_URL": f"amqp://{user}:{password}@{target.host}:{target.port}/{vhost}",
        "LOG_LEVEL": "info",
        "METRICS_ADDR": "off",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this as the value of --build-isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


async def test_the_commands_print_what_the_page_shows(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, tmp_path: Path
) -> None:
    need(shutil.which("curl"), "curl")
    need(not listens(PORT), f"port {PORT}, which another program uses")
    terminal = Terminal(checkout(tmp_path), environment(rabbitmq))
    serve, health, send, consume, example, *_ = blocks("sender.md")
    server = await terminal.start(serve.commands)
    try:
        await until(lambda: listens(PORT))
        assert stable(await terminal.run(health.commands)) == stable(health.output.removesuffix("\n"))
        (troubleshooting,) = re.findall("^    (curl .+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        assert '"healthy"' in await terminal.run(f"export API_URL=http://localhost:{PORT}\n{troubleshooting}")
        assert stable(await terminal.run(send.commands)) == stable(send.output)
        consumer = await terminal.start(consume.commands)
        try:
            assert consumer.stdout
            assert stable((await consumer.stdout.readline()).decode()) == stable(consume.output)
        finally:
            await stop(consumer)
    finally:
        await stop(server)
    assert rabbitmq_api.take(rabbitmq, QUEUE) == []
    assert "python producer.py" in example.commands


async def test_the_example_installs_and_sends(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, tmp_path: Path
) -> None:
    need(not listens(PORT), f"port {PORT}, which another program uses")
    env = environment(rabbitmq)
    serve, _, _, _, example, *_ = blocks("sender.md")
    server = await Terminal(tmp_path, env).start(serve.commands)
    try:
        await until(lambda: listens(PORT))
        folder = checkout(tmp_path)
        of_example = env | {"PYTHONPATH": sysconfig.get_path("purelib")}  # not this checkout: what pip installs
        printed = await Terminal(folder, of_example).run(example.commands)
    finally:
        await stop(server)
    assert "Successfully installed peekaping-producer" in printed
    assert " INFO Successfully sent message to API: {" in printed
    assert "GITHUB_TOKEN=***" in printed
    (message,) = rabbitmq_api.take(rabbitmq, QUEUE)
    assert json.loads(message["payload"])["environment"] == "prod"
    (installed,) = folder.glob("deploy/examples/sender/.venv/lib/python*/site-packages/peekaping_producer")
    assert installed.is_dir()
