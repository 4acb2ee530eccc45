"""The override files beside Peekaping's own compose files: what Compose makes of both, and a replica that runs so."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.containers.compose import HERE, ROOT, Stack, docker, environment, inspected, need_compose
from tests.containers.conftest import REDIS_PASSWORD

OVERRIDES = ROOT / "deploy" / "peekaping"
SERVER = "DB_HOST=database\nDB_NAME=peekaping\nDB_USER=root\n"
ENV = {
    "postgres": f"DB_TYPE=postgres\nDB_PORT=5432\nDB_PASS='p@ss #1'\n{SERVER}",
    "mongo": f"DB_TYPE=mongo\nDB_PORT=27017\nDB_PASS=p%40ss\n{SERVER}",
    "sqlite": "DB_TYPE=sqlite\nDB_NAME=/app/data/peekaping.db\n",
}
"""Peekaping's own variables for each database; what follows is the same in all."""
TO_WAL = "import sqlite3; sqlite3.connect('/app/data/peekaping.db').execute('PRAGMA journal_mode = WAL')"
COMMON = 'REDIS_HOST="redis"\nREDIS_PORT=6379\nMODE=prod\nTZ="America/New_York"\nSERVER_PORT=8034\n'


@pytest.fixture(params=list(ENV))
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(database: str, tmp_path: Path) -> Path:
    """Peekaping's folder, with its `.env` and the overrides, as documented."""
    need_compose()
    shutil.copy(HERE / "peekaping" / f"{database}.yml", tmp_path / f"docker-compose.prod.{database}.yml")
    for each in OVERRIDES.iterdir():
        shutil.copy(each, tmp_path)
    (tmp_path / ".env").write_text(ENV[database] + COMMON)
    return tmp_path


def documented(database: str) -> list[str]:
    """The files that the docs' command for this database names, in their order."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    (command,) = re.findall(
        rf"^    docker compose (-f docker-compose\.prod\.{database}\.yml .*) up -d", text, re.MULTILINE
    )
    files: list[str] = command.split()
    return files


def services(folder: Path, *options: str) -> dict[str, Any]:
    """What Compose would start."""
    done = subprocess.run(
        ["docker", "compose", *options, "config", "--format", "json"],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)["services"]
    return document


def test_the_override_replaces_the_producer_and_nothing_else(database: str, folder: Path) -> None:
    before = services(folder, "-f", f"docker-compose.prod.{database}.yml")
    after = services(folder, *documented(database))
    theirs, ours = before.pop("producer"), after.pop("producer")
    assert after == before
    assert (ours["image"], ours["pull_policy"]) == ("peekaping-producer:latest", "never")
    assert ours["deploy"]["replicas"] == 2
    assert ours["read_only"] is True
    for kept in ("environment", "networks", "depends_on", "restart"):
        assert ours[kept] == theirs[kept], kept
    assert ours.get("volumes") == theirs.get("volumes")
    assert (ours.get("user") == "0:0") is (database == "sqlite")
    assert not {"command", "entrypoint", "healthcheck", "container_name", "ports"} & {
        name for name, value in ours.items() if value is not None
    }


def test_the_variables_of_peekaping_are_valid_settings(database: str, folder: Path, stack: Stack) -> None:
    given = services(folder, *documented(database))["producer"]["environment"]
    options = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
    # The override mounts the data folder; without it the path of a SQLite file is refused.
    docker("run", "--rm", "--tmpfs", "/app/data", *options, f"peekaping-producer:{stack.tag}", "check-config")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_with_sqlite_a_replica_reads_files_of_any_owner(folder: Path, stack: Stack) -> None:
    """The files as Peekaping leaves them: made by root, in a folder of the host's user, in WAL mode, and not open."""
    data = folder / ".data" / "sqlite"
    image = f"peekaping-producer:{stack.tag}"
    data.mkdir(parents=True)
    volume = ["--user", "0:0", "--volume", f"{data}:/app/data"]
    docker("run", "--rm", *volume, "--env-file", str(folder / ".env"), image, "migrate")
    docker("run", "--rm", *volume, "--entrypoint", "python", image, "-c", TO_WAL)
    docker("run", "--rm", *volume, "--entrypoint", "chown", image, "1000:1000", "/app/data")
    ours = services(folder, *documented("sqlite"))["producer"]
    name = f"{stack.tag}-sqlite"
    docker(
        *("run", "--detach", "--name", name, "--network", f"{stack.tag}_default", "--read-only", "--tmpfs", "/tmp"),
        *("--env-file", str(folder / ".env"), "--env", "REDIS_HOST=redis", "--env", "REDIS_DB=7", "--env", "TZ=UTC"),
        *("--user", ours["user"], "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *(word for each in ours["cap_add"] for word in ("--cap-add", each)),
        *("--env", f"REDIS_PASSWORD={REDIS_PASSWORD}", "--volume", f"{data}:/app/data", image),
    )
    try:
        deadline = time.monotonic() + 60
        while "producer.started" not in [line["event"] for line in stack.lines(name)]:
            assert inspected(name)["State"]["Running"], stack.lines(name)
            assert time.monotonic() < deadline, stack.lines(name)
            time.sleep(0.2)
    finally:
        docker("rm", "--force", name)
        docker("run", "--rm", *volume, "--entrypoint", "sh", image, "-c", "rm -rf /app/data/*")
