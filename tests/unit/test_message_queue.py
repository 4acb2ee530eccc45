"""The files of deploy/examples/message-queue: valid, and consistent with each other and with the settings."""

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.operations import probe
from peekaping_producer.settings import Settings
from tests.kit import processes
from tests.kit.commands import ROOT
from tests.kit.message_queue import EXAMPLE

COMPOSE = EXAMPLE / "docker-compose.yml"
SETTINGS = {name.upper() for name in Settings.model_fields}


def services() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return document


def test_the_compose_file_follows_the_specification() -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_services_have_their_known_names_and_ports_of_this_host_only() -> None:
    ports = {
        name: [re.sub(r"\$\{\w+:-([\d-]+)\}", r"\1", port) for port in each["ports"]]
        for name, each in services().items()
        if "ports" in each
    }
    assert ports == {
        "rabbitmq": ["127.0.0.1:5672:5672", "127.0.0.1:15672:15672"],
        "producer": ["127.0.0.1:5000:5000"],
    }


def test_the_services_are_checked_confined_and_have_time_to_drain() -> None:
    for name in ("producer", "consumer"):
        service = services()[name]
        assert service["environment"].keys() <= SETTINGS
        assert service["depends_on"] == {"rabbitmq": {"condition": "service_healthy"}}
        assert service["healthcheck"]["test"][-2:] == ["/opt/peekaping-producer/probe.py", "--ready"]
        assert float(service["healthcheck"]["timeout"].removesuffix("s")) > probe.TIMEOUT_S
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        grace_s: float = Settings.model_fields["shutdown_grace"].default
        assert float(service["stop_grace_period"].removesuffix("s")) > grace_s
    assert services()["consumer"]["environment"]["METRICS_ADDR"] == "0.0.0.0:8000"
    assert "container_name" not in services()["consumer"]  # there may be several


def test_the_variables_of_the_env_file_are_settings_or_read_by_compose() -> None:
    names = set(re.findall(r"^#?([A-Z_]+)=", (EXAMPLE / ".env.example").read_text(), re.MULTILINE))
    read = set(re.findall(r"\$\{(\w+):-", COMPOSE.read_text()))
    assert names <= SETTINGS | read
    assert read - names == {"TAG"}


def test_the_requirements_name_this_checkout() -> None:
    (checkout,) = re.findall(r"^(\.\S+)$", (EXAMPLE / "requirements.txt").read_text(), re.MULTILINE)
    assert (EXAMPLE / checkout).resolve() == ROOT


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("up", "docker compose up --build --detach"),
        ("down", "docker compose down"),
        ("logs", "docker compose logs --follow"),
        ("scale-consumer", "docker compose up --detach --no-recreate --scale consumer=3 consumer"),
        ("clean", "docker compose down --volumes --remove-orphans"),
    ],
)
@pytest.mark.parametrize("compose", ["docker compose", "docker-compose"])
def test_make_runs_compose(target: str, command: str, compose: str, tmp_path: Any) -> None:
    """With the plugin `docker compose` where there is one, otherwise with `docker-compose`."""
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\nexit {int(compose != 'docker compose')}\n")
    docker.chmod(0o755)
    done = subprocess.run(
        ["make", "--dry-run", target],
        cwd=EXAMPLE,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [command.replace("docker compose", compose)]


def test_the_monitor_explains_that_rabbitmq_does_not_run() -> None:
    argv = [sys.executable, EXAMPLE / "scripts" / "monitor.py"]
    env = {"MANAGEMENT_PORT": str(processes.free_port())}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"http://localhost:{env['MANAGEMENT_PORT']}: expected an answer" in done.stderr
    assert "Start RabbitMQ (make up)" in done.stderr
