"""docs/api.md: its commands run as they are printed, and print what the page shows."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from urllib.parse import quote

from peekaping_producer.targets import RabbitMqTarget
from tests.kit.commands import MINIMAL
from tests.kit.processes import free_port, listens
from tests.kit.requirements import need
from tests.kit.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
LOGIN = "RABBITMQ_HOST=localhost RABBITMQ_USER=admin RABBITMQ_PASS=password "


def commands() -> list[tuple[str, str]]:
    """Each command, and the output that the page shows."""
    blocks = re.findall(r"^```bash\n(.*?)^```\n(?:```json\n(.*?)^```)?", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [(command, output) for command, output in blocks]


class Shell:
    """A shell in which `peekaping-producer` is this checkout."""

    def __init__(self, folder: Path, target: RabbitMqTarget, port: int) -> None:
        program = folder / "peekaping-producer"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m peekaping_producer "$@"\n')
        program.chmod(0o755)
        self._folder = folder
        self._port = str(port)
        user, password, vhost = (quote(text, safe="") for text in (target.user, target.password, target.vhost))
        self._login = f"RABBITMQ_URL=amqp://{user}:{password}@{target.host}:{target.port}/{vhost} "
        self._env = {**MINIMAL, "PATH": f"{folder}:{os.environ['PATH']}", "LOG_LEVEL": "info", "METRICS_ADDR": "off"}

    async def start(self, command: str) -> Process:
        """Start it with this server's login and a free port in place of 5000."""
        text = command.replace(LOGIN, f"exec env {self._login}PORT={self._port} ").replace(":5000", f":{self._port}")
        return await asyncio.create_subprocess_exec(
            "bash", "-c", text, cwd=self._folder, env=self._env, stdout=PIPE, stderr=(self._folder / "err").open("ab")
        )


async def stop(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_the_commands_print_what_the_page_shows(rabbitmq: RabbitMqTarget, tmp_path: Path) -> None:
    need(shutil.which("curl"), "curl")
    port = free_port()
    shell = Shell(tmp_path, rabbitmq, port)
    (serve, _), *requests, (consume, messages) = commands()
    assert LOGIN in serve
    assert LOGIN in consume
    assert len(requests) == 4
    server = await shell.start(serve)
    try:
        await until(lambda: listens(port))
        for command, output in requests:
            out, _ = await (await shell.start(command)).communicate()
            assert TIMESTAMP.sub("T", out.decode()) == TIMESTAMP.sub("T", output.removesuffix("\n"))
        consumer = await shell.start(consume)
        try:
            assert consumer.stdout
            printed = [await consumer.stdout.readline() for _ in messages.splitlines()]
            assert b"".join(printed).decode() == messages
        finally:
            await stop(consumer)
    finally:
        await stop(server)
