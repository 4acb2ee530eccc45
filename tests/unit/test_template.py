"""`template new` and `template run`: what is written, and what is refused. Its project at work: tests/e2e."""

import errno
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from peekaping_producer.errors import TemplateError
from peekaping_producer.template import demonstration
from peekaping_producer.template.creation import create_project, project_name
from peekaping_producer.template.demonstration import run_project
from tests.kit.commands import ROOT, command

PROJECT = ROOT / "peekaping_producer" / "template" / "project"


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_new_writes_every_file_without_a_placeholder(tmp_path: Path) -> None:
    done = await command(tmp_path, "template", "new", "a/my-service")
    assert (done.code, done.err) == (0, "")
    folder = tmp_path / "a" / "my-service"
    tracked = {name for name in written(PROJECT) if not re.search(r"__pycache__|_cache/", name)}
    assert written(folder) == tracked
    assert {"Dockerfile", ".dockerignore", ".gitignore", "src/meta/multi_process_worker.py"} < tracked
    texts = "\n".join((folder / name).read_text() for name in tracked)
    assert not re.search(r"PROJECT_NAME|PEEKAPING_PRODUCER_VERSION", texts)
    assert "docker build -t my-service ." in texts
    assert re.search(r"^peekaping-producer==\d+\.\d+\.\d+$", texts, re.MULTILINE)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    create_project(tmp_path)
    assert (tmp_path / "src" / "main.py").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("my-service", "my-service"), ("2nd Service!", "2nd-service"), ("Ünter_wegs", "nter-wegs"), ("…", "service")],
)
def test_a_folder_may_have_any_name(folder: str, name: str, tmp_path: Path) -> None:
    create_project(tmp_path / folder)
    assert project_name(tmp_path / folder) == name
    assert (tmp_path / folder / "README.md").read_text().startswith(f"# {name}\n")


async def test_a_folder_that_is_not_empty_is_refused_and_not_changed(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).touch()
    done = await command(tmp_path, "template", "new", ".")
    assert done.code == 1
    assert done.err == (
        "peekaping-producer: DIR: expected a new or an empty folder, got '.' with 'a', 'b', 'c', … in it; "
        "choose another folder\n"
    )
    assert written(tmp_path) == {*"abcd"}
    with pytest.raises(TemplateError, match="Not a directory"):
        create_project(tmp_path / "a")
    with pytest.raises(TemplateError, match="Not a directory"):
        create_project(tmp_path / "a" / "b")
    assert written(tmp_path) == {*"abcd"}


def test_a_folder_that_cannot_be_created_is_refused() -> None:
    with pytest.raises(TemplateError, match=r"DIR: expected a folder that can be written, got '/proc/x/y' \(No such"):
        create_project(Path("/proc/x/y"))


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_left_after_an_error(exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    if exists:
        folder.mkdir(parents=True)
    write_text = Path.write_text

    def fail_at_last(path: Path, *args: object, **options: object) -> int:
        if path.name == "worker.py":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", fail_at_last)
    with pytest.raises(TemplateError, match="No space left on device"):
        create_project(folder)
    assert list(tmp_path.rglob("*")) == ([tmp_path / "a", folder] if exists else [])


def test_run_requires_a_project_and_its_packages(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"without src/main\.py"):
        run_project(tmp_path, "/")
    create_project(tmp_path / "service")
    python = tmp_path / "service" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} -I -S "$@"\n')  # type: ignore[attr-defined]
    python.chmod(0o755)
    with pytest.raises(
        TemplateError, match=r"none of these: flask, peekaping_producer, .*; in .*service, run `python3 "
    ):
        run_project(tmp_path / "service", "/")


def test_run_reports_a_project_that_does_not_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    create_project(tmp_path)
    (tmp_path / "src" / "main.py").write_text("raise SystemExit('it does not start')")
    with pytest.raises(TemplateError, match="GET /: expected a response, got ConnectionRefusedError"):
        run_project(tmp_path, "/")
    assert "it does not start" in capfd.readouterr().out


LEAVES_A_PROCESS = """
import http.server, os, pathlib, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path("pid").write_text(str(left.pid))
address = "127.0.0.1", int(os.environ["WAITRESS_PORT"])
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_run_ends_although_a_process_was_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "_STOP_GRACE_S", 0.5)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text(LEAVES_A_PROCESS)
    try:
        assert run_project(tmp_path, "/") == 1  # the exit code of SIGTERM
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_an_action_is_required_in_one_line() -> None:
    from peekaping_producer.cli.main import main

    with pytest.raises(SystemExit) as exited:
        main(["template"])
    assert exited.value.code == 2


def test_a_path_without_a_slash_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from peekaping_producer.cli.main import main

    with pytest.raises(SystemExit, match="2"):
        main(["template", "run", str(tmp_path), "--path", "health"])
    assert "--path: expected a path that begins with /, got 'health'" in capsys.readouterr().err


def test_the_pinned_versions_are_those_of_the_lock_file() -> None:
    """They are the versions that the tests use: after `make lock`, set these."""
    locked = dict(re.findall(r"^([a-z-]+)==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    for name in ("requirements.txt", "requirements-dev.txt"):
        pins = dict(re.findall(r"^([a-z-]+)==(\S+)$", (PROJECT / name).read_text(), re.MULTILINE))
        pins.pop("peekaping-producer", None)
        assert pins == {package: locked[package] for package in pins}


def test_the_entry_point_of_the_image_is_a_list_that_can_be_edited() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    assert len(lines) <= 12
    assert json.loads(lines[-1].removeprefix("ENTRYPOINT ")) == ["python", "src/main.py"]
