"""A real MariaDB, or the server of MYSQL_URL: shared by the whole session, or private to a test."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha1
from typing import Any, Self

import aiomysql
import msgspec
import pytest
import pytest_asyncio
from pymysql.err import OperationalError

from peekaping_producer.targets import DatabaseTarget
from tests.kit import processes
from tests.kit.databases import Row, SqlDatabase
from tests.kit.given import borrowed, database_in
from tests.kit.requirements import need

PASSWORD = "s3cret@:/?#%é'\"\\日"
"""Contains what breaks a concatenated address, and a letter outside Latin-1."""
DATABASE = "peekaping_tests"
_UNLIKE_OURS = (
    "--default-time-zone=+05:45",
    "--sql-mode=ANSI_QUOTES,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,ONLY_FULL_GROUP_BY",
    "--character-set-server=latin1",
    "--skip-character-set-client-handshake",
    "--autocommit=0",
)
"""Unusual settings of a server, on which no read may depend."""


_FILES = {"datadir": "data", "socket": "socket", "pid-file": "pid", "init-file": "init.sql"}
_FAST = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=64M")


class MysqlServer(processes.DatabaseServer):
    """A MariaDB; the options of start() are like --max-connections=10."""

    @property
    def target(self) -> DatabaseTarget:
        """The empty database peekaping_tests, as a user that may do everything."""
        return DatabaseTarget(
            dialect="mysql", host=processes.HOST, port=self.port, name=DATABASE, user="peekaping", password=PASSWORD
        )

    def _command(self, *options: str) -> Iterable[object]:
        files = [f"--{name}={self._folder / file}" for name, file in _FILES.items()]
        network = (f"--port={self.port}", f"--bind-address={processes.HOST}", "--skip-name-resolve")
        return _binary("mariadbd"), "--no-defaults", *files, *network, *_FAST, *_UNLIKE_OURS, *options

    def _initialize(self) -> None:
        command = processes.unprivileged(
            *(_binary("mariadb-install-db"), "--no-defaults", f"--datadir={self._folder / 'data'}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True)
        # Of the password the hash alone, since the server would read this file by its own sql_mode and character set.
        twice = sha1(sha1(PASSWORD.encode()).digest()).hexdigest().upper()
        (self._folder / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS peekaping IDENTIFIED VIA mysql_native_password USING '*{twice}';\n"
            "GRANT ALL ON *.* TO peekaping WITH GRANT OPTION;\n"
        )


class MysqlDatabase(SqlDatabase):
    """One connection to a MySQL database."""

    all_tables = """
        SELECT concat('`', replace(table_name, '`', '``'), '`') FROM information_schema.tables
        WHERE table_schema = database() AND table_type = 'BASE TABLE' ORDER BY 1
    """

    def __init__(self, target: DatabaseTarget, connection: Any) -> None:
        self.target = target
        self._connection = connection

    @classmethod
    async def connect(cls, target: DatabaseTarget) -> Self:
        """One whose sql_mode accepts any value."""
        return cls(target, await connect(target))

    async def insert(self, table: str, *rows: Row) -> None:
        """Store the values as they are, but for the offset of times."""
        columns = ", ".join(f"`{name}`" for name in rows[0])
        marks = ", ".join(["%s"] * len(rows[0]))
        cursor = await self._connection.cursor()
        await cursor.executemany(
            f"INSERT INTO `{table}` ({columns}) VALUES ({marks})",
            [tuple(_stored(name, value) for name, value in row.items()) for row in rows],
        )

    async def update(self, table: str, id_: str, **columns: Any) -> None:
        cursor = await self._connection.cursor()
        changes = ", ".join(f"`{name}` = %s" for name in columns)
        values = [_stored(name, value) for name, value in columns.items()]
        await cursor.execute(f"UPDATE `{table}` SET {changes} WHERE id = %s", (*values, id_))

    async def execute(self, statement: str) -> list[Any]:
        """Run one statement without parameters. The driver's cursor would raise the server's warnings."""
        await self._connection.query(statement)
        return list(self._connection._result.rows or ())

    @property
    def columns(self) -> list[str]:
        """The names of the columns of the last result."""
        return [column[0] for column in self._connection._result.description]

    async def schema(self) -> object:
        """Every table as it was made, and when."""
        tables = await self.execute("SELECT table_name, create_time FROM information_schema.tables "
                                    "WHERE table_schema = DATABASE() ORDER BY 1")  # fmt: skip
        return tables, [await self.execute(f"SHOW CREATE TABLE `{name}`") for name, _ in tables]

    async def let_proxies_dangle(self) -> None:
        await self.execute("ALTER TABLE monitors DROP FOREIGN KEY fk_monitors_proxy")

    async def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[DatabaseTarget]:
    """One server for the whole session: MYSQL_URL (of a user that may create databases; the tests keep to one named
    peekaping_tests, which must not be in use, and drop it), else a MariaDB of our own.
    """
    if given := database_in("MYSQL_URL", name=DATABASE):
        without = msgspec.structs.replace(given, name="")
        with borrowed("MYSQL_URL", given, lambda: execute(without, f"DROP DATABASE IF EXISTS {DATABASE}")):
            yield given
        return
    with processes.running(MysqlServer, "--max-connections=200") as server:
        yield server.target


@pytest.fixture
def private_mysql() -> Iterator[MysqlServer]:
    """A server that one test may stop, kill or restart."""
    with processes.running(MysqlServer) as server:
        yield server


@pytest_asyncio.fixture
async def mysql_database(mysql_server: DatabaseTarget) -> DatabaseTarget:
    """An empty database of the shared server; what an earlier test left connected is cut off."""
    database = await MysqlDatabase.connect(msgspec.structs.replace(mysql_server, name=""))
    cut = f"SELECT id FROM information_schema.processlist WHERE db = '{DATABASE}' AND id <> CONNECTION_ID()"
    for (number,) in await database.execute(cut):
        with suppress(OperationalError):  # it has ended meanwhile
            await database.execute(f"KILL {number}")
    await database.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
    await database.execute(f"CREATE DATABASE {DATABASE}")
    await database.close()
    return mysql_server


async def connect(target: DatabaseTarget) -> Any:
    """A connection of the test's own, whose sql_mode accepts any value."""
    connection = await aiomysql.connect(
        host=target.host,
        port=target.port,
        user=target.user,
        password=(target.password or "").encode().decode("latin-1"),
        db=target.name or None,
        charset="utf8mb4",
        autocommit=True,
    )
    await connection.query("SET NAMES utf8mb4, sql_mode = ''")
    return connection


async def execute(target: DatabaseTarget, statement: str) -> list[Any]:
    """Run one statement on a connection of its own, and return its rows."""
    database = await MysqlDatabase.connect(target)
    try:
        async with asyncio.timeout(60):
            return await database.execute(statement)
    finally:
        await database.close()


def _stored(name: str, value: Any) -> Any:
    """Times as MySQL writes them: version 8 would move those with an offset into the session's zone."""
    if name.endswith(("time", "_at")) and isinstance(value, str):
        return value.removesuffix("Z").removesuffix("+00:00")
    return value


def _binary(name: str) -> str:
    """MariaDB's programs, which Debian keeps where only root looks."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    need(path, "MariaDB: apt-get install mariadb-server, brew install mariadb, or MYSQL_URL")
    return str(path)
