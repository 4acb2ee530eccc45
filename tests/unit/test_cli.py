"""The commands: what they print, how they end, and that no traceback is printed."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from peekaping_producer.cli.main import main
from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import NO_TABLES
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.commands import MINIMAL, Ended, command, run, start
from tests.kit.fake_redis import fake_redis, info
from tests.kit.processes import free_port
from tests.kit.redis import target_of

SECRET = "h0rse battery/staple"
COMMANDS = ["run", "migrate", "status", "probe", "check-config", "demo", "completion"]
DEBUG_IN_PRODUCTION = "peekaping-producer: LOG_LEVEL: debug with MODE=prod logs every batch. Set LOG_LEVEL=info.\n"


def at(redis: RedisTarget, **settings: str) -> dict[str, str]:
    return {"REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port), **settings}


@pytest.fixture
async def server(private_redis: RedisServer) -> Redis:
    return redis_for(target_of(private_redis), connections=5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", "run one replica until"),
        ("demo", "run two replicas"),
        ("migrate", "create the tables"),
        ("status", "checks do not run as they should"),
        ("check-config", "print every setting"),
    ],
)
def test_help_describes_each_command(capsys: pytest.CaptureFixture[str], name: str, words: str) -> None:
    for argv in (["--help"], [name, "--help"]):
        with pytest.raises(SystemExit, match="0"):
            main(argv)
        text = " ".join(capsys.readouterr().out.split())
        assert name in text
        assert words in text.lower()


@pytest.mark.parametrize(
    ("name", "read", "not_read"),
    [
        ("run", ["DB_TYPE", "REDIS_HOST", "LEASE_TTL", "LOG_LEVEL"], []),
        ("migrate", ["DB_TYPE", "STARTUP_TIMEOUT"], ["REDIS_HOST", "LEASE_TTL"]),
        ("status", ["REDIS_HOST", "LEASE_TTL"], ["DB_TYPE", "CLAIM_BATCH"]),
        ("probe", ["METRICS_ADDR"], ["LOG_LEVEL"]),
        ("check-config", ["DB_TYPE", "REDIS_HOST", "LEASE_TTL", "LOG_LEVEL"], []),
    ],
)
def test_help_of_a_command_lists_its_settings_with_an_example(
    capsys: pytest.CaptureFixture[str], name: str, read: list[str], not_read: list[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out
    listed = re.findall(r"^  ([A-Z_]+)  ", text, re.MULTILINE)
    assert set(read) <= set(listed)
    assert set(not_read).isdisjoint(listed)
    assert re.search(rf"example:\n  .*peekaping-producer .*{name}", text)
    if "LEASE_TTL" in read:
        assert re.search(r"LEASE_TTL +10 +\w", text)


def test_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert re.findall(r"^  ([0-9]+)  [\w ]+", text, re.MULTILINE) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "argv", [[], ["fly"], ["status", "--max-overdue-seconds", "soon"], ["demo", "--seconds", "soon"], ["run", "--fast"]]
)
def test_an_unknown_command_or_option_is_a_usage_error(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "usage: peekaping-producer" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "check-config"])
def test_all_bad_settings_are_reported_at_once_with_secrets_masked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    bad = {
        "DB_TYPE": "oracle",
        "DB_PORT": "70000",
        "DB_HOST": f"postgres://u:{SECRET}@db",
        "DB_PASS_FILE": "/nonexistent/password",
        "REDIS_HOST": f"redis://:{SECRET}@redis",
        "REDIS_DB": "16",
        "PRODUCER_CONCURRENCY": "many",
        "LEASE_TTL": "-1",
        "MODE": "loud",
        "METRICS_ADDR": "everywhere",
    }
    monkeypatch.chdir(tmp_path)
    for setting, text in (bad | {"REDIS_PASSWORD": SECRET, "DB_NAME": "n", "DB_USER": "u"}).items():
        monkeypatch.setenv(setting, text)
    assert main([name]) == 2
    out, err = capsys.readouterr()
    assert bool(out) == (name == "check-config")
    lines = err.splitlines()
    assert all(line.startswith("peekaping-producer: ") and "expected" in line for line in lines)
    assert sorted(line.split()[1].rstrip(":") for line in lines) == sorted(bad)
    assert "'oracle'" in err
    assert "h0rse" not in out + err


async def test_without_a_command_it_prints_help_and_the_first_commands_to_run(tmp_path: Path) -> None:
    ended = await command(tmp_path)
    assert (ended.code, ended.out) == (2, "")
    names = re.findall(r"^    ([a-z-]+)\b", ended.err, re.MULTILINE)
    assert names == COMMANDS
    assert ended.err.splitlines()[-1].startswith("peekaping-producer: expected a COMMAND, got none; begin with")


async def test_the_version_is_printed_with_the_name(tmp_path: Path) -> None:
    ended = await command(tmp_path, "--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"peekaping-producer {version('peekaping-producer')}\n"


@pytest.mark.parametrize("seconds", ["-5", "0", "nan", "inf", "soon", "4", "86401"])
async def test_the_length_of_the_demo_is_checked_before_the_start(tmp_path: Path, seconds: str) -> None:
    ended = await command(tmp_path, "demo", f"--seconds={seconds}")
    assert (ended.code, ended.out) == (2, "")
    assert re.search(r"--seconds: expected .*, got '?" + re.escape(seconds), ended.err)


async def test_check_config_prints_the_table_also_with_problems(tmp_path: Path) -> None:
    parts = {"DB_TYPE": "mysql", "DB_HOST": "db", "DB_PORT": "0", "DB_NAME": "n"}
    ended = await command(tmp_path, "check-config", **parts, LOG_LEVEL="info", DB_PASWORD=SECRET)
    assert ended.code == 2
    shown = {line.split()[0]: line.split(maxsplit=2) for line in ended.out.splitlines()}
    assert shown["DB_PORT"] == ["DB_PORT", "'0'", "environment, invalid"]
    assert shown["DB_HOST"][1:] == ["db", "environment"]
    warned, port, user, password = ended.err.splitlines()
    assert warned == "peekaping-producer: DB_PASWORD: not a setting, so it is not read. Did you mean DB_PASS?"
    assert port.startswith("peekaping-producer: DB_PORT: expected a port (1-65535), got '0'")
    assert "DB_USER: required; set it, or DATABASE_URL" in user
    assert "DB_PASS: required; set it, or DATABASE_URL" in password
    assert "h0rse" not in ended.out + ended.err


async def test_check_config_shows_the_parts_of_urls(tmp_path: Path) -> None:
    database = f"mongodb+srv://peeka:{quote(SECRET, safe='')}@cluster.example/?w=majority"
    redis = f"rediss://:{quote(SECRET, safe='')}@[::1]:7000/3"
    ended = await command(tmp_path, "check-config", DATABASE_URL=database, REDIS_URL=redis, DB_NAME="n", REDIS_DB="4")
    assert ended.code == 0, ended.err
    shown = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
    assert shown["DB_TYPE"] == ["mongo", "DATABASE_URL"]
    assert shown["DB_HOST"] == ["cluster.example", "DATABASE_URL"]
    assert shown["DB_NAME"] == ["n", "environment"]
    assert shown["DB_USER"] == ["peeka", "DATABASE_URL"]
    assert shown["DB_PASS"] == ["***", "DATABASE_URL"]
    assert shown["REDIS_HOST"] == ["::1", "REDIS_URL"]
    assert shown["REDIS_PORT"] == ["7000", "REDIS_URL"]
    assert shown["REDIS_DB"] == ["3", "REDIS_URL"]
    assert shown["REDIS_PASSWORD"] == ["***", "REDIS_URL"]
    assert "REDIS_DB: not read, because REDIS_URL is set and has another value" in ended.err
    assert "LOG_LEVEL: debug with MODE=prod" in ended.err
    assert "h0rse" not in ended.out + ended.err


async def test_check_config_connect_tries_both_servers(tmp_path: Path, private_redis: RedisServer) -> None:
    sqlite = {"DB_TYPE": "sqlite", "DB_NAME": "new.db"}
    await command(tmp_path, "migrate", **sqlite)
    away = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port())}
    postgres = {"DB_TYPE": "postgres", "DB_HOST": "127.0.0.1", "DB_PORT": str(free_port()), "DB_NAME": "n"}
    both, database, neither, bad, unasked = await asyncio.gather(
        command(tmp_path, "check-config", "--connect", **at(target_of(private_redis), **sqlite)),
        command(tmp_path, "check-config", "--connect", **away, **sqlite),
        command(tmp_path, "check-config", "--connect", **away, **postgres, DB_USER="u", DB_PASS=SECRET),
        command(tmp_path, "check-config", "--connect", **away, DB_TYPE="sqlite"),
        command(tmp_path, "check-config", **away, **sqlite),
    )
    assert [each.code for each in (both, database, neither, bad, unasked)] == [0, 3, 3, 2, 0]
    assert re.fullmatch(r"Redis: works: redis://\S+ answers, version [\d.]+", both.out.splitlines()[-2])
    assert both.out.splitlines()[-1] == "The database: works: sqlite:new.db answers, and the tables exist"
    assert database.out.splitlines()[-2].startswith("Redis: fails: Redis at redis://127.0.0.1:")
    assert database.out.splitlines()[-1].startswith("The database: works: ")
    assert neither.out.splitlines()[-1].startswith("The database: fails: postgres://127.0.0.1:")
    assert "works" not in unasked.out
    assert "h0rse" not in neither.out + neither.err


async def test_check_config_connect_reports_a_missing_right(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await server.execute_command("ACL", "SETUSER", "few", "on", f">{SECRET}", "~*", "&*", "+@all", "-evalsha")  # type: ignore[no-untyped-call]
    sqlite = {"DB_TYPE": "sqlite", "DB_NAME": "new.db"}
    await command(tmp_path, "migrate", **sqlite)
    where = at(target_of(private_redis), **sqlite, REDIS_USERNAME="few", REDIS_PASSWORD=SECRET)
    ended = await command(tmp_path, "check-config", "--connect", **where)
    assert ended.code == 3
    assert "Redis: fails: " in ended.out
    assert "evalsha" in ended.out.lower()
    assert "h0rse" not in ended.out + ended.err


@pytest.mark.parametrize("scheme", ["postgres", "mysql", "mongodb"])
def test_check_config_refuses_unsupported_parameters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:{quote(SECRET, safe='')}@db/n?pool_size=h0rse")
    assert main(["check-config"]) == 2
    out, err = capsys.readouterr()
    assert "got pool_size=..." in err
    assert "h0rse" not in out + err


async def test_each_command_reads_only_what_it_needs(tmp_path: Path, private_redis: RedisServer) -> None:
    status, migrated = await asyncio.gather(
        command(tmp_path, "status", **at(target_of(private_redis), DB_TYPE="oracle", TZ="Mars/Olympus")),
        command(tmp_path, "migrate", DB_TYPE="sqlite", DB_NAME="new.db", REDIS_PORT="none", CLAIM_BATCH="0"),
    )
    assert status.out.startswith("leader")  # exit code 1: no replica leads
    assert (status.code, migrated.code) == (1, 0)


async def test_check_config_shows_every_setting_its_origin_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"REDIS_PASSWORD={SECRET}\nREDIS_DB=3\nUNKNOWN={SECRET}\n")
    (tmp_path / "password").write_text(SECRET + "\n")
    ended = await command(
        tmp_path,
        "check-config",
        DB_TYPE="postgres",
        DB_HOST="db",
        DB_PORT="5432",
        DB_NAME="n",
        DB_USER="u",
        DB_PASS_FILE=str(tmp_path / "password"),
    )
    assert ended.code == 0
    shown = {line.split()[0]: line.split() for line in ended.out.splitlines()}
    assert shown["DB_HOST"] == ["DB_HOST", "db", "environment"]
    assert shown["DB_PASS"] == ["DB_PASS", "***", "file"]
    assert shown["REDIS_PASSWORD"] == ["REDIS_PASSWORD", "***", ".env"]
    assert shown["REDIS_DB"] == ["REDIS_DB", "3", ".env"]
    assert shown["CLAIM_BATCH"] == ["CLAIM_BATCH", "500", "default"]
    assert "h0rse" not in ended.out + ended.err


async def test_env_files_replace_dotenv_and_the_last_one_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DB_TYPE=mongo\nREDIS_HOST=unread\nLEASE_TTL=99\n")
    (tmp_path / "base.env").write_text("\ufeffDB_TYPE=sqlite\nDB_NAME='base.db'\nREDIS_HOST=base\n")
    (tmp_path / "more.env").write_text("DB_NAME=more.db\nREDIS_HOST=more\n")
    files = ("--env-file", "base.env", "--env-file", str(tmp_path / "more.env"))
    ended = await command(tmp_path, *files, "check-config", REDIS_HOST="environment")
    assert (ended.code, ended.err) == (0, DEBUG_IN_PRODUCTION)
    shown = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
    assert shown["DB_TYPE"] == ["sqlite", "base.env"]
    assert shown["DB_NAME"] == ["more.db", str(tmp_path / "more.env")]
    assert shown["REDIS_HOST"] == ["environment", "environment"]
    assert shown["LEASE_TTL"] == ["10", "default"]


async def test_env_files_may_stand_before_and_after_the_command(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DB_NAME=unread.db\n")
    (tmp_path / "base.env").write_text("DB_TYPE=sqlite\nDB_NAME=base.db\nREDIS_HOST=base\n")
    (tmp_path / "more.env").write_text("DB_NAME=more.db\n")
    ended = await command(tmp_path, "--env-file", "base.env", "check-config", "--env-file", "more.env")
    shown = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
    assert (shown["DB_NAME"], shown["REDIS_HOST"]) == (["more.db", "more.env"], ["base", "base.env"])


async def test_every_command_reads_env_files(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "x.env").write_text(f"DB_TYPE=sqlite\nDB_NAME=new.db\nMETRICS_ADDR=127.0.0.1:{port}\nREDIS_PORT=x\n")
    migrated, probed, status, run = await asyncio.gather(
        *(command(tmp_path, name, "--env-file", "x.env") for name in ("migrate", "probe", "status", "run"))
    )
    assert migrated.out.startswith("sqlite:new.db: created")
    assert (probed.code, f"http://127.0.0.1:{port}/livez" in probed.err) == (1, True)
    for ended in (status, run):
        assert (ended.code, ended.err) == (2, "peekaping-producer: REDIS_PORT: expected a port (1-65535), got 'x'\n")


@pytest.mark.parametrize("name", ["run", "status", "check-config"])
def test_an_env_file_that_cannot_be_read_is_a_usage_error(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--env-file", "/nonexistent/x.env", name])
    assert "--env-file: expected a readable file, got '/nonexistent/x.env'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shell", "script", "expected"),
    [
        (
            "bash",
            'eval "$(cat)"; COMP_WORDS=(peekaping-producer check); COMP_CWORD=1; "$(complete -p | sed "s/.*-F //; '
            's/ .*//")" peekaping-producer check; echo "${COMPREPLY[@]}"',
            "check-config",
        ),
        (
            "zsh",
            'autoload -Uz compinit; compinit -D; eval "$(cat)"; echo "$_comps[peekaping-producer]"',
            "_shtab_peekaping_producer",
        ),
        ("fish", "cat | source; complete -C 'peekaping-producer check' | cut -f 1", "check-config"),
    ],
)
def test_completion_prints_a_script_for_each_shell(
    capsys: pytest.CaptureFixture[str], shell: str, script: str, expected: str
) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    words = {word.lstrip("-") for word in re.findall(r"[\w-]+", printed)}
    assert set(COMMANDS) <= words
    for name in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert set(re.findall(r"--([a-z-]+)", capsys.readouterr().out)) <= words
    path = shutil.which(shell)
    assert path or shell != "bash"
    if path:
        done = subprocess.run([path, "-c", script], input=printed, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1:] == [expected], done.stdout + done.stderr


INTERRUPTED_IMPORT = """
import os, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupts())
sys.argv = ["peekaping-producer", "{name}"]
from peekaping_producer.cli.entry import main
sys.exit(main())
"""
"""The command with a signal that arrives while a module is imported."""


@pytest.mark.parametrize(
    ("name", "module", "number", "code"),
    [
        ("run", "pydantic", signal.SIGINT, 130),
        ("run", "peekaping_producer.producer.wiring", signal.SIGINT, 130),
        ("run", "pydantic", signal.SIGTERM, 0),
        ("run", "peekaping_producer.producer.wiring", signal.SIGTERM, 0),
        ("run", "pydantic", signal.SIGHUP, 0),
        ("migrate", "pydantic", signal.SIGINT, 130),
        ("migrate", "pydantic", signal.SIGTERM, -signal.SIGTERM),
        ("status", "pydantic", signal.SIGINT, 130),
    ],
)
async def test_a_signal_during_the_imports_ends_without_a_traceback(
    tmp_path: Path, name: str, module: str, number: signal.Signals, code: int
) -> None:
    script = INTERRUPTED_IMPORT.format(module=module, number=int(number), name=name)
    env = {**MINIMAL, "DB_TYPE": "sqlite", "DB_NAME": "x.db", "LOG_LEVEL": "info"}
    assert await run([sys.executable, "-c", script], env, tmp_path) == Ended(code, "", "")


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
        while b"producer.waiting" not in await process.stderr.readline():
            pass
    sent_at = time.monotonic()
    process.send_signal(number)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert time.monotonic() - sent_at < 3
    assert (process.returncode, out) == (128 + number, b"")
    lines = [line for line in err.decode().splitlines() if "producer.waiting" not in line]
    assert lines == [f"peekaping-producer: ended by {number.name}"]


async def test_migrate_prints_what_it_did(tmp_path: Path) -> None:
    async def migrate(file: str) -> Ended:
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
    for each, (name, reason) in zip(ended, reasons.items(), strict=True):
        lines = [line for line in each.err.splitlines() if line.startswith("peekaping-producer:")]
        assert (each.code, len(lines)) == (2, 1), (name, each)
        assert re.search(rf"DB_NAME: expected .*{re.escape(name.rstrip('/'))}: .*{reason}", lines[0]), lines
        assert "producer.waiting" not in each.err


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


async def test_check_config_prints_no_warning_of_a_library(tmp_path: Path) -> None:
    url = "mongodb://u:p@x.mongo.cosmos.azure.com:10255/n?ssl=true&replicaSet=globaldb&retrywrites=false"
    ended = await command(tmp_path, "check-config", DATABASE_URL=url, LOG_LEVEL="info")
    assert (ended.code, ended.err) == (0, "")


async def test_a_login_that_redis_refuses_is_explained(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await server.execute_command("ACL", "SETUSER", "known", "on", f">{SECRET}", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]
    where = at(target_of(private_redis), DB_TYPE="sqlite", DB_NAME="x.db")
    by_url = {name: text for name, text in where.items() if not name.startswith("REDIS_")}
    url = f"redis://{{}}@127.0.0.1:{private_redis.port}"
    cases = [
        (where | {"REDIS_USERNAME": "known", "REDIS_PASSWORD": f"{SECRET}\n"}, "around the password were sent"),
        (where | {"REDIS_USERNAME": "known", "REDIS_PASSWORD": f'"{SECRET}"'}, "around the password were sent"),
        (where | {"REDIS_USERNAME": "known"}, "REDIS_USERNAME is set without a password: set REDIS_PASSWORD too"),
        (where | {"REDIS_USERNAME": "x", "REDIS_PASSWORD": SECRET}, "(REDIS_USERNAME, REDIS_PASSWORD)"),
        (by_url | {"REDIS_URL": url.format("h0rse")}, "without a user name as redis://:password@host"),
    ]
    for environ, words in cases:
        ended = await command(tmp_path, "check-config", "--connect", **environ)
        assert ended.code == 3
        [line] = [each for each in ended.out.splitlines() if each.startswith("Redis: fails: ")]
        assert words in line
        assert "REDIS_USERNAME" in line
        assert "h0rse" not in line


async def test_migrate_check_reports_and_migrate_sql_prints_what_is_missing(tmp_path: Path) -> None:
    async def migrate(*options: str) -> Ended:
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


async def test_status_of_an_idle_schedule(tmp_path: Path, private_redis: RedisServer) -> None:
    text, as_json = await asyncio.gather(
        command(tmp_path, "status", **at(target_of(private_redis))),
        command(tmp_path, "status", "--json", **at(target_of(private_redis))),
    )
    assert (text.code, as_json.code) == (1, 1)  # no replica leads
    rows = dict(re.split(r" {2,}|(?<=max overdue) ", line, maxsplit=1) for line in text.out.splitlines())
    assert rows.keys() == {"leader", "replicas", "due", "leased", "overdue", "max overdue", "queue", "failing", "note"}
    assert rows["leader"] == "none"
    assert rows["max overdue"].strip() == "none"
    assert rows["failing"].startswith("no_leader: ")
    found = json.loads(as_json.out)
    assert (found["version"], found["healthy"], found["due"], found["queue"]["pending"]) == (1, False, 0, 0)
    assert [each["code"] for each in found["conditions"]] == ["no_leader", "schedule_empty"]


async def test_status_prints_the_longest_overdue_and_exits_1_if_it_is_too_late(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    now_ms = time.time() * 1000
    await server.zadd(KEYS.due, {"late": now_ms - 90_000, "later": now_ms - 10_000, "coming": now_ms + 60_000})
    await server.zadd(KEYS.lease, {"leased": now_ms + 10_000})
    await server.set(KEYS.leader, "here-1-ab/cd", px=9000)
    await server.lpush("asynq:{healthcheck}:pending", "one", "two")
    where = at(target_of(private_redis))
    late, patient, as_json = await asyncio.gather(
        command(tmp_path, "status", **where),
        command(tmp_path, "status", "--max-overdue-seconds", "3600", **where),
        command(tmp_path, "status", "--json", "--max-overdue-seconds", "30.5", **where),
    )
    assert (late.code, patient.code, as_json.code) == (1, 0, 1)
    assert re.search(r"failing +schedule_late: Monitor late has waited for its check for 9\d s", late.out), late.out
    assert "failing" not in patient.out
    for expected in (
        r"leader +here-1-ab/cd \(key expires in \d\.\d s\)",
        r"due +3 ",
        r"leased +1 ",
        r"overdue +2",
        r"max overdue +9\d\.\d s",
        r"queue +2 pending, 0 active",
    ):
        assert re.search(expected, late.out), late.out
    found = json.loads(as_json.out)
    assert (found["due"], found["leased"], found["overdue"], found["healthy"]) == (3, 1, 2, False)
    assert 0 < found["leader_ttl_ms"] <= 9000
    assert found["oldest_due_monitor"] == "late"
    assert found["queue"]["pending"] == 2


async def test_status_judges_leases_by_lease_ttl(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    await server.zadd(KEYS.lease, {"leased": time.time() * 1000 + 50_000})
    where = at(target_of(private_redis))
    by_default, longer = await asyncio.gather(
        command(tmp_path, "status", **where), command(tmp_path, "status", **where, LEASE_TTL="60")
    )
    assert "lease_too_long" in by_default.out
    assert "lease_too_long" not in longer.out


async def test_status_without_redis_is_one_clear_line(tmp_path: Path) -> None:
    port = str(free_port())
    dying = {"INFO": info(redis_version="7.2.0", redis_mode="standalone"), "EVALSHA": None, "EVAL": None}
    async with (
        embedded.redis_server(args=("--requirepass", "another")) as closed,
        fake_redis(dying) as half,
        fake_redis({"INFO": None}) as mute,
    ):
        away, refused, bare, dies, hangs_up = await asyncio.gather(
            command(tmp_path, "status", REDIS_HOST="127.0.0.1", REDIS_PORT=port),
            command(tmp_path, "status", **at(target_of(closed), REDIS_PASSWORD=SECRET)),
            command(tmp_path, "status", **at(target_of(closed))),
            command(tmp_path, "status", **at(half)),
            command(tmp_path, "status", **at(mute)),
        )
    assert [each.code for each in (away, refused, bare, dies, hangs_up)] == [3, 1, 1, 3, 3]
    for ended in (away, refused, bare, dies, hangs_up):
        assert ended.out == ""
        assert len(ended.err.splitlines()) == 1, ended.err
        assert "h0rse" not in ended.err
    assert port in away.err
    assert "REDIS_PASSWORD" in refused.err
    assert "REDIS_PASSWORD" in bare.err


async def test_keys_of_another_type_are_one_clear_line(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await server.set(KEYS.due, "of another program")
    ended = await command(tmp_path, "status", **at(target_of(private_redis)))
    assert ended.code == 1
    assert re.search(rf"unready +redis_keys_unusable: .*{KEYS.due}.*WRONGTYPE", ended.out), ended.out


async def test_a_closed_pipe_on_stdout_is_reported_by_the_exit_code_only(
    tmp_path: Path, private_redis: RedisServer
) -> None:
    """As in `status | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peekaping_producer", "status"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **at(target_of(private_redis))},
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    _, err = await process.communicate()
    assert err == b""
    assert process.returncode == 1


async def test_a_name_that_resembles_a_missing_setting_is_printed_before_the_error(tmp_path: Path) -> None:
    environ = {
        "DB_TYPE": "postgres",
        "DB_HOST": "h",
        "DB_PORT": "1",
        "DB_NAME": "n",
        "DB_USER": "u",
        "DB_PASSWORD": "p",
    }
    ended = await command(tmp_path, "run", **environ)
    assert ended.code == 2
    hint, error = ended.err.splitlines()
    assert "Did you mean DB_PASS?" in hint
    assert "DB_PASS: required" in error
