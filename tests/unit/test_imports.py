"""What each command imports: a short command must not load what only others need."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.commands import MINIMAL
from tests.kit.processes import free_port

_RUN = """
import contextlib, json, sys
from peekaping_producer.cli.entry import main
sys.argv = ["peekaping-producer", *sys.argv[1:]]
with contextlib.suppress(SystemExit):
    main()
print(json.dumps(sorted(sys.modules)))
"""
_DATABASES = {"asyncpg", "aiomysql", "pymysql", "motor", "pymongo", "bson", "aiosqlite", "sqlite3"}
_SERVERS = {"aiohttp", "aiormq", "prometheus_client", "uvloop", "lupa"}
_REDIS = {"redis", "hiredis"}
_PACKAGES = {"api", "demo", "messages", "migrate", "pipeline", "processes"}
_PACKAGES |= {"producer", "sender", "template", "ui", "web"}


def loaded_by(folder: Path, *words: str) -> set[str]:
    """The modules in memory after the command; it finds no Redis, and an empty file in place of a database."""
    settings = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port())}
    settings |= {"DB_TYPE": "sqlite", "DB_NAME": str(folder / "no.db")}
    argv = [sys.executable, "-c", _RUN, *words]
    done = subprocess.run(argv, env={**MINIMAL, **settings}, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["status", "--help"], _DATABASES | _SERVERS | _REDIS | {"structlog"}),
        (["completion", "bash"], _DATABASES | _SERVERS | _REDIS | {"structlog"}),
        (["status", "--next", "10m"], _DATABASES | _SERVERS),
        (["events"], _DATABASES | _SERVERS),
        (["top"], _DATABASES | _SERVERS),
        (["explain", "3f0d5a9e"], (_DATABASES - {"aiosqlite", "sqlite3"}) | _SERVERS),
    ],
    ids=["help", "completion", "status", "events", "top", "explain"],
)
def test_a_command_loads_no_library_that_only_others_need(tmp_path: Path, words: list[str], without: set[str]) -> None:
    modules = loaded_by(tmp_path, *words)
    assert {name.partition(".")[0] for name in modules} & without == set()
    ours = {name.split(".")[1] for name in modules if name.startswith("peekaping_producer.")}
    assert ours & _PACKAGES == set()


def test_what_is_loaded_is_found(tmp_path: Path) -> None:
    """The check can fail: these commands need what the others must not load."""
    assert {"redis", "structlog", "peekaping_producer.operations.status"} <= loaded_by(tmp_path, "status")
    assert "aiosqlite" in loaded_by(tmp_path, "explain", "3f0d5a9e")
