"""Starts the server process, which starts the worker processes; stops them on SIGTERM or Ctrl-C."""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peekaping_producer.processes import ThreadedPool, collect_logs, end_with_parent, send_logs

SRC = Path(__file__).resolve().parent
sys.path[:0] = [str(SRC.parent), str(SRC)]  # for `from src.meta import ...` and `from meta import ...`

from src.settings import Settings, SettingsError, load_settings  # noqa: E402

if TYPE_CHECKING:
    from src.worker import Worker

WORKERS = 2
SPAWN = multiprocessing.get_context("spawn")
log = logging.getLogger("main")


def start_worker(connection: Any, log_queue: Any) -> "Worker":
    """In each worker process: construct the worker. Pass more arguments here if its constructor requires them."""
    from src.worker import Worker  # not above: the other processes do not use it

    return Worker(connection, log_queue)


def start_server(settings: Settings, listener: socket.socket, log_queue: "Queue[Any]") -> None:
    """In the server process: start the workers, and answer requests until SIGTERM."""
    from src.server import Server
    from src.web import create_app, serve_in_development, serve_with_waitress

    pool = ThreadedPool("src.main:start_worker", processes=WORKERS)
    pool.open()
    try:
        app = create_app(Server(pool, log_queue).url_rules)
        if settings.debug:
            serve_in_development(app, listener)
        else:
            serve_with_waitress(app, listener)
    finally:
        pool.close(drain_s=0)  # the requests have ended before


def main() -> int:
    """Read the settings, and run until SIGTERM or Ctrl-C; returns the exit code."""
    try:
        settings = load_settings(os.environ)
        listener = listen(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return run_with_reload(settings, listener) if settings.debug else run(settings, listener)


def listen(settings: Settings) -> socket.socket:
    """Open the port, before any process is started. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise SettingsError(
            f"WAITRESS_HOST, WAITRESS_PORT: expected an address and a free port, got {settings.host} and "
            f"{settings.port} ({reason}); stop the program that uses the port, or set other values"
        ) from None


def run(settings: Settings, listener: socket.socket) -> int:
    """Start the server process, and wait until it ends; returns the exit code."""
    log_queue = SPAWN.Queue()
    server = SPAWN.Process(target=_server_process, args=(settings, listener, log_queue), name="server")
    is_stopping = False

    def stop(*_: object) -> None:
        nonlocal is_stopping
        is_stopping = True
        if server.pid:
            server.terminate()

    with collect_logs(log_queue, level=_log_level(settings)):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        server.start()
        listener.close()  # the server process has its own copy
        if is_stopping:
            server.terminate()
        server.join()
        if is_stopping:
            log.info("stopped")
            return 0
        log.error("the server process has ended with exit code %s", server.exitcode)
        if settings.debug:
            log.info("the processes start again when a file below src changes")
        return 1


def run_with_reload(settings: Settings, listener: socket.socket) -> int:
    """Run all processes, and start them again when a file below src has changed."""
    from watchfiles import run_process

    logging.basicConfig(format="%(asctime)s %(levelname)s reload %(name)s: %(message)s", level=logging.INFO)
    with contextlib.suppress(KeyboardInterrupt):  # a signal while the processes are being started again
        run_process(SRC, target=_run_once, args=(settings, listener))
    return 0


def _run_once(settings: Settings, listener: socket.socket) -> None:
    end_with_parent()
    run(settings, listener)


def _server_process(settings: Settings, listener: socket.socket, log_queue: "Queue[Any]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main process stops this one
    end_with_parent()
    send_logs(log_queue, _log_level(settings))
    try:
        start_server(settings, listener, log_queue)
    except Exception:  # whatever it is: logged like all other lines, before the process ends
        log.exception("the server has failed")
        sys.exit(1)


def _log_level(settings: Settings) -> int:
    return logging.DEBUG if settings.debug else logging.INFO


if __name__ == "__main__":
    sys.exit(main())
