"""docs/template.md: its commands run as they are printed, and the service that they make is edited and stopped."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.processes import free_port
from tests.kit.requirements import need
from tests.kit.template import blocks, checkout, environment
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # its commands install packages, and run linters and tests
VARYING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}|(?<=[=:, ])\d{2,7}\b|worker-[12]")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The service, and what the commands of "Try it" have printed."""
    folder = tmp_path_factory.mktemp("template")
    (commands,) = blocks("Try it")
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=checkout(folder), env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "my-service", done.stdout


def test_tests_linters_and_the_demonstration_print_what_the_page_shows(shown: tuple[Path, str]) -> None:
    folder, printed = shown
    assert re.search(r"^\d+ passed in ", printed, re.MULTILINE)
    assert "Success: no issues found in " in printed
    assert "All checks passed!" in printed
    assert list((folder / "wheels").glob("peekaping_producer-*.whl"))
    assert "\nresponse  200 " in printed
    (example,) = blocks("Try it", "text")
    example_lines, shown_lines = (
        VARYING.sub("#", text).splitlines() for text in (example, printed[printed.index("start     ") :])
    )
    # In between, several processes write at the same time.
    assert (shown_lines[0], shown_lines[-2:]) == (example_lines[0], example_lines[-2:])
    assert sorted(shown_lines) == sorted(example_lines)


@contextmanager
def in_development(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The service as on the page, on another port."""
    start, _ = blocks("Develop")
    assert "=8000 " in start
    command = "exec env " + start.replace("=8000 ", f"={port} ")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        if is_running(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def logged(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")


def is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def add_a_field(source: Path) -> None:
    """Edit the constructor of MultiProcessWorker as the README of the service describes."""
    for name, old, new in (
        ("meta/multi_process_worker.py", "queue: Any) -> None:", "queue: Any, word: str) -> None:"),
        ("meta/multi_process_worker.py", "(connection, queue)\n", "(connection, queue)\n        self.word = word\n"),
        ("main.py", "Worker(connection, log_queue)", 'Worker(connection, log_queue, word="Welcome")'),
        ("main.py", "Server(pool, log_queue)", 'Server(pool, log_queue, word="Welcome")'),
        ("worker.py", "Hello, ", "{self.word}, "),
    ):
        text = (source / name).read_text()
        assert text.count(old) == 1
        (source / name).write_text(text.replace(old, new))


def test_a_changed_file_is_served_anew_and_no_process_is_left(shown: tuple[Path, str]) -> None:
    need(shutil.which("curl"), "curl")
    folder, _ = shown
    port = free_port()
    _, request = blocks("Develop")

    def answer() -> str:
        done = subprocess.run(
            ["bash", "-c", request.replace(":8000", f":{port}")], capture_output=True, text=True, check=False
        )
        return done.stdout

    with in_development(folder, port) as process:
        wait_until(lambda: "Hello, world!" in answer(), "the service answers")
        worker = folder / "src" / "worker.py"
        original = worker.read_text()
        worker.write_text(original.replace("Hello", "Goodbye"))
        wait_until(lambda: "Goodbye, world!" in answer(), "the changed worker answers")
        worker.write_text("this is no Python")
        waits = "main: the processes start again when a file below src changes"
        # Also half a change may have been an error.
        wait_until(lambda: waits in logged(folder).partition("SyntaxError")[2], "the error is logged")
        worker.write_text(original)
        wait_until(lambda: "Hello, world!" in answer(), "the original answers again")
        add_a_field(folder / "src")
        wait_until(lambda: "Welcome, world!" in answer(), "the worker with one more field answers")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        wait_until(lambda: not is_running(process.pid), "all processes have ended")
    log = logged(folder)
    assert " DEBUG server " in log
    assert "werkzeug serves http://127.0.0.1:" in log


def test_the_main_process_is_killed_and_no_process_is_left(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    port = free_port()
    with in_development(folder, port) as process:
        wait_until(lambda: "werkzeug serves" in logged(folder), "the service answers")
        process.kill()
        process.wait()
        wait_until(lambda: not is_running(process.pid), "all processes have ended")
