"""Child processes and temporary directories that do not outlive this process, however it ends (SIGKILL included).

On Linux the kernel kills the child (PR_SET_PDEATHSIG, which applies to the thread that forked, so it is used in the
main thread only). Elsewhere a watchdog reads a pipe that ends with this process. This file is also the program that
runs between this process and the child, so it imports little at its top.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Mechanism = Literal["signal", "pipe"]
_REMOVE_FOR_S = 10.0
_PR_SET_PDEATHSIG = 1


def start(
    argv: Sequence[str],
    *,
    output: IO[bytes] | int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    mechanism: Mechanism | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` as a child that dies with this process. The returned pid is that of the program itself.

    The child has its own session, so that Ctrl-C in the terminal reaches this process only, which then stops its
    children in order. `output` receives the child's stdout and stderr. Exit code 127: the program could not be run.
    """
    if mechanism is None:
        main = threading.current_thread() is threading.main_thread()
        mechanism = "signal" if sys.platform == "linux" and main else "pipe"
    stdin = subprocess.PIPE if mechanism == "pipe" else subprocess.DEVNULL
    return _run_self(mechanism, *argv, stdin=stdin, stdout=output, env=env, cwd=cwd)


def end(process: subprocess.Popen[bytes], *, grace: float, kill: bool = False) -> int:
    """Stop a child with SIGTERM, then with SIGKILL after `grace` seconds (or at once); return its exit code. Blocks."""
    process.kill() if kill else process.terminate()
    process.send_signal(signal.SIGCONT)  # a frozen one cannot act on SIGTERM
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()
    return process.returncode


@contextmanager
def directory(prefix: str) -> Iterator[Path]:
    """A temporary directory. A process of its own removes it at the end, also after SIGKILL."""
    path = tempfile.mkdtemp(prefix=prefix)
    remover = _run_self("directory", path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield Path(path)
    finally:
        if remover.stdin:
            remover.stdin.close()
        remover.wait()


def _run_self(mechanism: str, *args: str, **options: Any) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-I", "-S", __file__, mechanism, str(os.getpid()), *args]
    return subprocess.Popen(argv, stderr=subprocess.STDOUT, start_new_session=True, **options)  # noqa: S603


def _main() -> None:
    mechanism, parent, *rest = sys.argv[1:]
    if mechanism == "directory":
        _remove_at_the_end(rest[0])
        return
    die_with(int(parent)) if mechanism == "signal" else _watch_from_a_fork()
    try:
        os.execvp(rest[0], rest)  # noqa: S606 - no shell needed
    except OSError as error:
        os.write(2, f"{rest[0]} cannot be run: {error.strerror}\n".encode())
        os._exit(127)


def die_with(parent: int) -> None:
    """Let the kernel kill this process with its parent, on Linux; the setting survives exec."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before prctl was called
        os._exit(1)


def _watch_from_a_fork() -> None:
    """Return in this process, which becomes the child; a fork of it reads stdin and kills the child at its end."""
    child = os.getpid()
    nothing = os.open(os.devnull, os.O_RDWR)
    if os.fork():
        os.dup2(nothing, 0)
        os.close(nothing)
        return
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    while os.getppid() == child:  # otherwise it has ended, and its pid may be in use again
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable:
            os.kill(child, signal.SIGKILL)
            break
    os._exit(0)


def _remove_at_the_end(path: str) -> None:
    """Wait for the end of stdin, then remove `path`; repeat, since dying children may still write there."""
    import shutil

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    with suppress(OSError):
        while os.read(0, 1024):
            pass  # the parent writes nothing: the end is what is waited for
    deadline = time.monotonic() + _REMOVE_FOR_S
    while os.path.exists(path) and time.monotonic() < deadline:
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.02)


if __name__ == "__main__":
    _main()
