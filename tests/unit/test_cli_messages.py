"""`relay`, `serve` and `consume`: settings as options."""

import re
import subprocess
import sys

import pytest

from peekaping_producer.cli.main import main
from peekaping_producer.settings.texts import FROM_FILES
from tests.kit.commands import MINIMAL, ROOT

FILE = ("--from", "file", "--path", "input.txt")


def option(setting: str) -> str:
    return f"--{setting.lower().replace('_', '-')}"


@pytest.mark.parametrize("command", [["relay", *FILE], ["serve"], ["consume", "--to-stdout"]], ids=lambda argv: argv[0])
def test_each_setting_but_a_secret_is_an_option(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command[0], "--help"])
    names = re.findall(r"^  ([A-Z_]+)  ", capsys.readouterr().out, re.MULTILINE)
    secrets = set(names) & set(FROM_FILES)
    assert {"RABBITMQ_PASS", "RABBITMQ_URL"} <= secrets
    for secret in secrets:
        with pytest.raises(SystemExit, match="2"):
            main([*command, option(secret), "x"])
        assert f"got '{option(secret)}'" in capsys.readouterr().err
    assert main([*command, *(word for name in names if name not in secrets for word in (option(name), "\x07"))]) == 2
    refused = set(re.findall(r"^peekaping-producer: ([A-Z_]+): expected", capsys.readouterr().err, re.MULTILINE))
    assert {"METRICS_ADDR", "SHUTDOWN_GRACE", "BROKER", "LOG_LEVEL", "ASYNQ_QUEUE"} <= refused


def test_an_option_takes_precedence_over_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_PORT", "70000")
    monkeypatch.setenv("CONSUME_DELAY", "1")
    assert main(["consume", "--to-stdout", "--rabbitmq-port", "5672", "--consume-delay=-1"]) == 2
    assert capsys.readouterr().err == "peekaping-producer: CONSUME_DELAY: expected 0 to 3600 seconds, got '-1'\n"


FAILING = """
import sys, threading
from peekaping_producer.cli.main import main
from peekaping_producer.pipeline import wiring

class Failing:
    async def run(self):
        threading.Thread(target=threading.Event().wait).start()  # as that of a handler that hangs
        raise RuntimeError("unforeseen")

wiring.consume_to_stdout = lambda settings: Failing()
sys.exit(main(["consume", "--to-stdout"]))
"""


def test_an_unforeseen_error_ends_the_process_although_a_handler_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], cwd=ROOT, env=MINIMAL, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr.count(b"process.uncaught")) == (1, 1), done.stderr.decode()
    assert b"RuntimeError: unforeseen" in done.stderr


@pytest.mark.parametrize(("command", "is_read"), [(["relay", "--help"], False), (["consume", "--help"], True)])
def test_only_consume_reads_the_settings_of_handlers(
    capsys: pytest.CaptureFixture[str], command: list[str], is_read: bool
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(command)
    assert ("CONSUME_ATTEMPTS" in capsys.readouterr().out) is is_read


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--from", "clock", "--path", "x"], "--path: requires --from file"),
        (["--from", "clock", "--dead-letters", "x"], "--dead-letters: requires --from file"),
        ([*FILE, "--every", "5"], "--every: requires --from clock"),
    ],
)
def test_an_option_of_another_source_is_refused(
    capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    assert main(["relay", *options]) == 2
    assert capsys.readouterr().err == f"peekaping-producer: {problem}; see peekaping-producer relay --help\n"


def test_an_empty_handler_is_an_error_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["consume", "--handler", ""]) == 2
    assert capsys.readouterr().err == "peekaping-producer: handler: expected module:function, got ''\n"
