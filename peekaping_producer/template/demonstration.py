"""Runs a project once, and prints how a request passes through its processes."""

import os
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from peekaping_producer.errors import TemplateError
from peekaping_producer.service import child_processes

_HOST = "127.0.0.1"
_PACKAGES = ("flask", "peekaping_producer", "waitress", "watchfiles", "werkzeug")
_FIND_MISSING = (
    "import importlib.util, sys; print(*(name for name in sys.argv[1:] if not importlib.util.find_spec(name)))"
)
_START_S = 30.0
_STOP_GRACE_S = 15.0
_POLL_S = 0.05
_SUCCESS = range(200, 300)


def run_project(folder: Path, path: str) -> int:
    """Start the project on a free port, request `path`, stop it, and print all that. Returns 1 for an error status.

    Raises TemplateError if the project cannot be started.
    """
    python = _python_of(folder)
    with socket.create_server((_HOST, 0)) as probe:
        port = probe.getsockname()[1]
    variables = {"DEBUG": "0", "WAITRESS_HOST": _HOST, "WAITRESS_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    _print(f"start     python src/main.py with DEBUG=0 WAITRESS_HOST={_HOST} WAITRESS_PORT={port}")
    process = child_processes.start(
        [python, "src/main.py"], output=subprocess.PIPE, env={**os.environ, **variables}, cwd=folder
    )
    assert process.stdout
    output = threading.Thread(target=_print_lines, args=(process.stdout,), daemon=True)
    output.start()
    try:
        status, body = _get(port, path, process)
    finally:
        code = child_processes.end(process, grace=_STOP_GRACE_S)
        # Log lines take a while through the processes. A process that the service left behind may hold the pipe open.
        output.join(_STOP_GRACE_S)
    _print(f"response  {status} {body}")
    _print(f"stop      exit code {code}")
    return 0 if status in _SUCCESS and code == 0 else 1


def _python_of(folder: Path) -> str:
    """The interpreter of the project's own environment, if it has one. Raises TemplateError if packages are missing."""
    if not (folder / "src" / "main.py").is_file():
        raise TemplateError(
            f"DIR: expected a project of `template new`, got {str(folder)!r} without src/main.py; name its folder"
        )
    own = folder.absolute() / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    found = subprocess.run([python, "-c", _FIND_MISSING, *_PACKAGES], capture_output=True, text=True, check=False)  # noqa: S603
    if missing := found.stdout.split() or found.stderr.splitlines()[-1:]:
        raise TemplateError(
            f"{python}: expected the packages of requirements.txt, got none of these: {', '.join(missing)}; in "
            f"{folder}, run `python3 -m venv .venv` and `.venv/bin/pip install --find-links wheels -r requirements.txt`"
        )
    return python


def _get(port: int, path: str, process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """Send a GET request as soon as the port is open; return the status and the body."""
    connection = HTTPConnection(_HOST, port, timeout=_START_S)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            connection.connect()
            break
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise _not_answered(path, error) from None
            time.sleep(_POLL_S)
    _print(f"request   GET http://{_HOST}:{port}{path}")
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace").rstrip()
    except (OSError, HTTPException, ValueError) as error:
        raise _not_answered(path, error) from None
    finally:
        connection.close()


def _not_answered(path: str, error: Exception) -> TemplateError:
    return TemplateError(f"GET {path}: expected a response, got {error!r}; see the output of the project above")


def _print_lines(stream: IO[bytes]) -> None:
    for line in stream:
        _print(f"  {line.decode(errors='replace').rstrip()}")


def _print(line: str) -> None:
    print(line, flush=True)
