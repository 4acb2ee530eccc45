"""The command line: help, usage errors, exit codes, env files, signals."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from peekaping_producer.cli.main import main
from peekaping_producer.demo.embedded import RedisServer
from tests.kit.commands import MINIMAL, SECRET, CommandResult, command, run, settings_of
from tests.kit.processes import free_port
from tests.kit.redis import target_of

COMMANDS = [
    "run",
    "migrate",
    "status",
    "explain",
    "run-now",
    "hold",
    "release",
    "events",
    "top",
    "doctor",
    "reconcile",
    "probe",
    "check-config",
    "relay",
    "serve",
    "consume",
    "send",
    "demo",
    "demo-queue",
    "template",
    "completion",
]

DEBUG_IN_PRODUCTION = "peekaping-producer: LOG_LEVEL: debug with MODE=prod logs every batch. Set LOG_LEVEL=info.\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", "run one replica until"),
        ("demo", "run two replicas"),
        ("demo-queue", "send lines and http messages"),
        ("migrate", "create the tables"),
        ("status", "checks do not run as they should"),
        ("check-config", "print every setting"),
        ("relay", "send the lines of a file"),
        ("serve", "accept messages over http"),
        ("consume", "receive messages until"),
        ("send", "post the time to an api"),
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
        ("run", ["DB_TYPE", "REDIS_HOST", "LEASE_TTL", "BROKER", "RABBITMQ_URL", "LOG_LEVEL"], ["CONSUME_DELAY"]),
        ("migrate", ["DB_TYPE", "STARTUP_TIMEOUT"], ["REDIS_HOST", "LEASE_TTL"]),
        ("status", ["REDIS_HOST", "LEASE_TTL"], ["DB_TYPE", "CLAIM_BATCH", "STARTUP_TIMEOUT"]),
        ("probe", ["METRICS_ADDR"], ["LOG_LEVEL"]),
        ("relay", ["BROKER", "RABBITMQ_HOST", "HTTP_URL", "MAX_LINE_BYTES"], ["DB_TYPE", "CLAIM_BATCH"]),
        ("serve", ["BROKER", "RABBITMQ_HOST", "PORT", "API_TOKEN", "RATE_LIMIT"], ["DB_TYPE", "CLAIM_BATCH"]),
        ("consume", ["BROKER", "RABBITMQ_HOST", "CONSUME_DELAY"], ["DB_TYPE", "CLAIM_BATCH", "HTTP_URL"]),
        ("send", ["API_URL", "ENVIRONMENT", "SEND_ATTEMPTS", "LOG_FILE", "LOG_LEVEL"], ["DB_TYPE", "BROKER", "MODE"]),
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
    ("argv", "error"),
    [
        (["fly"], "COMMAND: expected '?run'?, '?migrate'?, .*, got 'fly'; see peekaping-producer --help"),
        (["run", "--fast"], "argument: expected one that `.* run` accepts, got '--fast'; see .* run --help"),
        (
            ["run", "--redis-password=h0rse"],
            "argument: expected one that `.* run` accepts, got '--redis-password'; see .*",
        ),
        (["run", "--password", "h0rse"], "argument: expected one that `.* run` accepts, got '--password'; see .*"),
        (["run", "a\nb"], r"argument: expected one that `.* run` accepts, got 'a\\\\?nb'; see .* run --help"),
        (["--fast", "run"], "argument: expected one that `.*` accepts, got '--fast'; see peekaping-producer --help"),
        (
            ["status", "--max-overdue-seconds", "soon"],
            "--max-overdue-seconds: expected a positive number of seconds, got 'soon'; see .* status --help",
        ),
        (["demo", "--seconds"], "--seconds: expected a value, got none; see .* demo --help"),
        (["status", "--json=yes"], "--json: expected no value, got 'yes'; see .* status --help"),
        (["migrate", "--check", "--sql"], "--sql: expected without --check, got both; see .* migrate --help"),
        (
            ["consume"],
            "arguments: expected one of --handler --to-file --to-stdout, got none; see .* consume --help",
        ),
        (["completion"], "shell: expected a value, got none; see .* completion --help"),
        (["completion", "csh"], "shell: expected '?bash'?, '?zsh'?, '?fish'?, got 'csh'; see .* completion --help"),
    ],
)
def test_a_usage_error_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], error: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    printed = capsys.readouterr().err
    assert re.fullmatch(f"peekaping-producer: {error}\n", printed), printed
    assert "h0rse" not in printed


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
    assert ended.err.splitlines()[-1].startswith("peekaping-producer: COMMAND: expected one of these, got none; try")


async def test_the_version_is_printed_with_the_name(tmp_path: Path) -> None:
    ended = await command(tmp_path, "--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"peekaping-producer {version('peekaping-producer')}\n"


@pytest.mark.parametrize("seconds", ["-5", "0", "nan", "inf", "soon", "4", "86401"])
async def test_the_length_of_the_demo_is_checked_before_the_start(tmp_path: Path, seconds: str) -> None:
    ended = await command(tmp_path, "demo", f"--seconds={seconds}")
    assert (ended.code, ended.out) == (2, "")
    assert re.search(r"--seconds: expected .*, got '?" + re.escape(seconds), ended.err)


async def test_each_command_reads_only_what_it_needs(tmp_path: Path, private_redis: RedisServer) -> None:
    status, migrated = await asyncio.gather(
        command(tmp_path, "status", **settings_of(target_of(private_redis), DB_TYPE="oracle", TZ="Mars/Olympus")),
        command(tmp_path, "migrate", DB_TYPE="sqlite", DB_NAME="new.db", REDIS_PORT="none", CLAIM_BATCH="0"),
    )
    assert status.out.startswith("No replica runs: ")  # exit code 1
    assert (status.code, migrated.code) == (1, 0)


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
        options, _, _ = capsys.readouterr().out.partition("\nsettings (")
        assert set(re.findall(r"--([a-z-]+)", options)) <= words
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
sys.argv = ["peekaping-producer", *"{name}".split()]
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
        ("migrate", "pydantic", signal.SIGTERM, 143),
        ("status", "pydantic", signal.SIGINT, 130),
        ("template run", "peekaping_producer.template.demonstration", signal.SIGTERM, 143),
    ],
)
async def test_a_signal_during_the_imports_ends_without_a_traceback(
    tmp_path: Path, name: str, module: str, number: signal.Signals, code: int
) -> None:
    script = INTERRUPTED_IMPORT.format(module=module, number=int(number), name=name)
    env = {**MINIMAL, "DB_TYPE": "sqlite", "DB_NAME": "x.db", "LOG_LEVEL": "info"}
    assert await run([sys.executable, "-c", script], env, tmp_path) == CommandResult(code, "", "")


async def test_a_closed_pipe_on_stdout_is_reported_by_the_exit_code_only(
    tmp_path: Path, private_redis: RedisServer
) -> None:
    """As in `status | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peekaping_producer", "status"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **settings_of(target_of(private_redis))},
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
    assert "DB_PASS: expected any text, got nothing" in error


async def test_a_port_that_another_program_uses_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = await command(tmp_path, "serve", PORT=port, METRICS_ADDR="off", LOG_LEVEL="info")
    assert ended.code == 2
    got = f"got 127.0.0.1:{port}, which is in use; set another PORT"
    assert ended.err == f"peekaping-producer: PORT: expected a free host:port, {got}\n"


async def test_an_address_of_another_host_is_one_clear_line(tmp_path: Path) -> None:
    ended = await command(tmp_path, "serve", API_HOST="192.0.2.1", PORT="3000", METRICS_ADDR="off", LOG_LEVEL="error")
    assert ended.code == 2
    got = "got 192.0.2.1:3000, which cannot be used (Cannot assign requested address)"
    assert ended.err == f"peekaping-producer: API_HOST, PORT: expected an address of this host and a port, {got}\n"
