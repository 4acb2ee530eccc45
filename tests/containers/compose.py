"""`docker` and `docker compose` as a test calls them."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from peekaping_producer.settings import Settings
from tests.kit.log_lines import log_lines
from tests.kit.requirements import need

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
_OF_THE_STACK = {name.upper() for name in Settings.model_fields} | {"COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "TAG"}


def environment(**variables: str) -> dict[str, str]:
    """This shell's, less what a compose file would read: the `.env` of the test counts alone."""
    return {name: text for name, text in os.environ.items() if name not in _OF_THE_STACK} | variables


def run(*argv: str | Path, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """What the command printed to stdout. AssertionError with all that it printed where it fails."""
    done = subprocess.run(
        argv, cwd=ROOT, env=env or environment(), input=stdin, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def docker(*argv: str, stdin: str | None = None) -> str:
    """One `docker` command."""
    return run("docker", *argv, stdin=stdin)


def inspected(name: str) -> dict[str, Any]:
    """The document that `docker inspect` prints for a container or an image."""
    (found,) = json.loads(docker("inspect", name))
    return found  # type: ignore[no-any-return]


def need_docker() -> None:
    """A Docker Engine that answers, and Compose."""
    need(shutil.which("docker") and _succeeds("docker", "info"), "a running Docker: make containers")
    need_compose()


def need_compose() -> None:
    """Compose alone: it reads files without an engine."""
    need(shutil.which("docker") and _succeeds("docker", "compose", "version"), "Docker Compose 2: make containers")


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


class Stack:
    """The project's compose file as a project of its own; its containers are the replicas of the producer."""

    def __init__(self, project: str, env_file: Path, *files: Path) -> None:
        self.tag = project
        self.env = environment(TAG=project)
        self.options = ["--project-name", project, "--env-file", str(env_file)]
        self.options += [word for file in files for word in ("--file", str(file))]

    def compose(self, *argv: str, stdin: str | None = None) -> str:
        """One `docker compose` command."""
        return run("docker", "compose", *self.options, *argv, env=self.env, stdin=stdin)

    def sql(self, statement: str) -> str:
        """What psql answers in the database's container."""
        command = ["psql", "--username=peekaping", "--no-align", "--tuples-only", "-v", "ON_ERROR_STOP=1", "peekaping"]
        return self.compose("exec", "-T", "postgres", *command, stdin=statement).strip()

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, also of those that have ended."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def health(self) -> list[str]:
        """`healthy`, `starting` or `unhealthy` of each replica; of one that does not run, its state."""
        states = [inspected(each)["State"] for each in self.containers("producer")]
        return [state["Health"]["Status"] if state["Status"] == "running" else state["Status"] for state in states]

    def lines(self, container: str) -> list[dict[str, Any]]:
        """A replica's log. What it prints is JSON alone."""
        done = subprocess.run(["docker", "logs", container], capture_output=True, check=True)
        assert done.stdout == b""
        return log_lines(done.stderr)
