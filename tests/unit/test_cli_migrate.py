"""The command migrate: what it prints, and impossible paths, which run and check-config report alike."""

import asyncio
import os
import re
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.migrate import NO_TABLES
from tests.kit.commands import MINIMAL, SECRET, CommandResult, command, start
from tests.kit.processes import free_port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("--check",)])
async def test_migrate_that_waits_for_its_database_ends_at_once_by_a_signal(
    tmp_path: Path, number: signal.Signals, options: tuple[str, ...]
) -> None:
    parts = {"DB_TYPE": "postgres", "DB_HOST": "127.0.0.1", "DB_NAME": "n", "DB_USER": "u", "DB_PASS": SECRET}
    env = {**MINIMAL, **parts, "DB_PORT": str(free_port()), "LOG_LEVEL": "info"}
    process = await start([sys.executable, "-m", "peekaping_producer", "migrate", *options], env, tmp_path)
    assert process.stderr
    async with asyncio.timeout(30):
        while b"producer.waiting" not in (line := await process.stderr.readline()):
            assert line, "it ended"
    sent_at = time.monotonic()
    process.send_signal(number)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert time.monotonic() - sent_at < 20, "STARTUP_TIMEOUT is 60 s"
    assert (process.returncode, out) == (128 + number, b"")
    lines = [line for line in err.decode().splitlines() if "producer.waiting" not in line]
    assert lines == [f"peekaping-producer: ended by {number.name}"]


async def test_migrate_prints_what_it_did(tmp_path: Path) -> None:
    async def migrate(file: str) -> CommandResult:
        return await command(tmp_path, "migrate", DB_TYPE="sqlite", DB_NAME=file)

    with sqlite3.connect(tmp_path / "upstream.db") as upstream:
        for table in ("monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats"):
            upstream.execute(f"CREATE TABLE {table} (id TEXT)")
    upstream.close()
    (tmp_path / "no database").write_text("a letter" * 1000)
    first, theirs, folderless, letter = await asyncio.gather(
        *map(migrate, ("new.db", "upstream.db", "missing/new.db", "no database"))
    )
    assert (first.code, first.out.count("\n")) == (0, 1)
    assert re.fullmatch(r"sqlite:new\.db: created \S+/new\.db; applied 0001_\w+.*\n", first.out)
    assert (theirs.code, theirs.out) == (0, "sqlite:upstream.db: Peekaping's own tables found: nothing to do\n")
    assert (folderless.code, letter.code) == (2, 2)
    assert "/missing does not exist" in folderless.err
    assert "/no database: it is not a SQLite database" in letter.err
    again = await migrate("new.db")
    assert (again.code, again.out) == (0, "sqlite:new.db: up to date: nothing to do\n")


@pytest.mark.parametrize("words", ["migrate", "migrate --check", "migrate --sql", "run", "check-config"])
async def test_an_impossible_database_path_is_one_line_and_exit_code_2_at_once(
    tmp_path: Path, words: str, server: Redis
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "letter").write_text("a letter" * 1000)
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        "folder": "it is a directory",
        "folder/": "it is a directory",
        "letter": "it is not a SQLite database",
        "letter/x.db": "the directory",
        "pipe": "it is not a regular file",
        "missing/x.db": "the directory",
        "x" * 300: "File name too long",
    }
    if words == "check-config":
        del reasons["letter"]  # nothing is opened
    redis = {
        "LOG_LEVEL": "info",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(server.connection_pool.connection_kwargs["port"]),
    }
    ended = await asyncio.gather(
        *(
            command(tmp_path, *words.split(), DB_TYPE="sqlite", DB_NAME=name, METRICS_ADDR="off", **redis)
            for name in reasons
        )
    )
    for result, (name, reason) in zip(ended, reasons.items(), strict=True):
        lines = [line for line in result.err.splitlines() if line.startswith("peekaping-producer:")]
        assert (result.code, len(lines)) == (2, 1), (name, result)
        assert re.search(rf"DB_NAME: expected .*{re.escape(name.rstrip('/'))}: .*{reason}", lines[0]), lines
        assert "producer.waiting" not in result.err


@pytest.mark.parametrize("words", ["migrate", "migrate --check", "check-config"])
async def test_an_impossible_path_of_a_new_sqlite_file_is_reported_with_its_setting(tmp_path: Path, words: str) -> None:
    (tmp_path / "letter").write_text("a letter")
    in_memory = "a database in memory cannot be shared with the API server"
    reasons = {
        ":memory:": in_memory,
        "file::memory:?cache=shared": in_memory,
        "file:x.db": "URIs are not supported; write the path alone",
        "~/x.db": "~ is not expanded; write the home directory's path",
        "letter/x.db": "/letter is a file",
    }
    for name, reason in reasons.items():
        settings = {"DB_NAME": {"DB_TYPE": "sqlite", "DB_NAME": name}}
        if "?" not in name:
            settings["DATABASE_URL"] = {"DATABASE_URL": f"sqlite:///{name}"}
        for setting, environ in settings.items():
            ended = await command(tmp_path, *words.split(), LOG_LEVEL="info", **environ)
            assert ended.code == 2, (name, ended)
            assert f"peekaping-producer: {setting}: expected the path of a SQLite file, got /" in ended.err
            assert reason in ended.err


async def test_migrate_check_reports_and_migrate_sql_prints_what_is_missing(tmp_path: Path) -> None:
    async def migrate(*options: str) -> CommandResult:
        return await command(tmp_path, "migrate", *options, DB_TYPE="sqlite", DB_NAME="new.db")

    behind, printed = await asyncio.gather(migrate("--check"), migrate("--sql"))
    assert (behind.code, behind.out) == (1, f"sqlite:new.db: {NO_TABLES}\n")
    assert not (tmp_path / "new.db").exists()
    assert (printed.code, printed.err) == (0, "")
    with sqlite3.connect(tmp_path / "new.db") as database:
        database.executescript(printed.out)
    database.close()
    done, nothing = await asyncio.gather(migrate("--check"), migrate("--sql"))
    assert (done.code, done.out) == (0, "sqlite:new.db: up to date: nothing to do\n")
    assert (nothing.code, nothing.out) == (0, "")


async def test_an_unreachable_database_of_migrate_is_exit_code_3(tmp_path: Path) -> None:
    port = str(free_port())
    parts = {"DB_TYPE": "postgres", "DB_HOST": "127.0.0.1", "DB_NAME": "n", "DB_USER": "u", "DB_PASS": SECRET}
    ended = await command(tmp_path, "migrate", **parts, DB_PORT=port, STARTUP_TIMEOUT="0.5")
    assert ended.code == 3
    assert "given up after STARTUP_TIMEOUT=0.5 s" in ended.err
    assert port in ended.err
    assert "h0rse" not in ended.err
