"""docs/message-queue.md in containers: its commands as they are printed, and what they leave behind."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.compose import docker, environment, inspected, need_docker
from tests.kit.message_queue import EXAMPLE, documented, path_with_python
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.timeout(900)
SERVICES = {"rabbitmq": 1, "producer": 1, "consumer": 1}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


class Example:
    """The example as a project of its own; `env` is that of a reader's shell."""

    def __init__(self, project: str, folder: Path) -> None:
        self.project = project
        self.env = environment(COMPOSE_PROJECT_NAME=project, TAG=project)
        self.env["PATH"] = path_with_python(folder, self.env["PATH"])

    def shell(self, commands: str) -> str:
        """What the commands print. Fails if one of them does."""
        done = subprocess.run(
            ["bash", "-ec", commands], cwd=EXAMPLE, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{commands}{done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, commands: str, text: str) -> None:
        """Run commands until they print `text`; then Ctrl-C."""
        process = subprocess.Popen(
            ["bash", "-ec", commands], cwd=EXAMPLE, env=self.env, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout
        try:
            assert any(text.encode() in line for line in process.stdout), f"{commands}: ended without {text!r}"
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate()

    def containers(self, service: str) -> list[str]:
        return self.shell(f"docker compose ps --quiet {service}").split()

    def require_healthy(self, **services: int) -> None:
        """Wait until so many containers of each service are healthy."""
        expected = {name: ["healthy"] * count for name, count in (SERVICES | services).items()}

        def health() -> dict[str, list[str]]:
            return {
                name: [inspected(each)["State"]["Health"]["Status"] for each in self.containers(name)]
                for name in expected
            }

        wait_until(lambda: health() == expected, f"{expected}", within_s=120, every_s=1)


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    need_docker()
    example = Example(f"message-queue-test-{os.getpid()}", tmp_path)
    try:
        yield example
    except BaseException:
        print(example.shell("docker compose logs --no-color --tail 50"))
        raise
    finally:
        example.shell("docker compose down --volumes --timeout 1")
        docker("image", "rm", "--force", f"peekaping-producer:{example.project}")


def test_the_commands_run_in_containers(example: Example) -> None:
    (up, _), (send, answers), (tests, _), (look, _), (scale, _), (end, _) = documented("In containers")
    example.shell(up)
    example.require_healthy()
    assert TIMESTAMP.sub("T", example.shell(send)) == TIMESTAMP.sub("T", answers.rstrip("\n"))
    printed = example.shell(tests)
    assert re.search(r"^load +ok .* requests/s, p50 .* p99 ", printed, re.MULTILINE), printed
    assert re.search(r"^nothing lost +ok ", printed, re.MULTILINE), printed

    printed = example.shell(look)
    assert '"status":"healthy"' in printed
    for metric in ("messages_produced_total", "messages_consumed_total"):
        assert re.search(rf"^{metric} [1-9]", printed, re.MULTILINE), metric
    assert re.search(r"^logs +0 +0 +1 ", printed, re.MULTILINE), printed

    scale, logs = scale.splitlines(keepends=True)
    example.shell(scale)
    example.require_healthy(consumer=3)
    example.follow(logs, "Processed a message.")

    consumers = example.containers("consumer")
    example.shell("docker compose stop consumer")
    assert [inspected(each)["State"]["ExitCode"] for each in consumers] == [0, 0, 0]
    example.shell(send.replace("test1", "kept"))
    down, up, clean = end.splitlines()
    example.shell(down)
    example.shell(up)
    example.require_healthy()
    wait_until(lambda: '"id": "kept"' in example.shell("docker compose logs consumer"), "it was kept", every_s=0.5)
    example.shell(clean)
    assert not docker("volume", "ls", "--quiet", "--filter", f"name={example.project}").strip()
