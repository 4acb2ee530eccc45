"""HTTP: the URL rules as a Flask application, and the two servers that serve it."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from peekaping_producer.errors import WorkersUnavailableError
from waitress import create_server, wasyncore
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

THREADS = 16
"""Requests that are answered at the same time; further ones wait."""
STOP_S = 5.0
"""How long requests in progress may last after SIGTERM. `docker stop` kills after 10 s."""
log = logging.getLogger(__name__)


class UrlRule(NamedTuple):
    """A path as in Flask, and the function that answers requests for it."""

    path: str
    view: Callable[..., ResponseReturnValue]
    methods: tuple[str, ...] = ("GET",)


def create_app(url_rules: Iterable[UrlRule]) -> Flask:
    """Return the application. Errors are answered as JSON."""
    app = Flask(__name__, static_folder=None)
    for rule in url_rules:
        app.add_url_rule(rule.path, rule.view.__name__, rule.view, methods=rule.methods)
    app.register_error_handler(HTTPException, lambda error: (jsonify(error=error.description), error.code or 500))
    app.register_error_handler(TimeoutError, lambda _: (jsonify(error="no worker has replied in time"), 504))
    app.register_error_handler(
        WorkersUnavailableError, lambda _: (jsonify(error="no worker process is ready"), 503, {"Retry-After": "1"})
    )
    return app


def serve_in_development(app: Flask, listener: socket.socket) -> None:
    """Serve with werkzeug's development server until SIGTERM. Reload is up to the main process."""
    host, port = listener.getsockname()[:2]
    server = make_server(host, port, app, threaded=True, fd=listener.fileno())
    # shutdown() waits for serve_forever() to end, which the signal interrupts.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("werkzeug serves %s", _url(listener))
    server.serve_forever(poll_interval=0.1)


def serve_with_waitress(app: Flask, listener: socket.socket) -> None:
    """Serve with waitress until SIGTERM; then refuse connections, and answer the requests in progress."""
    sockets: dict[int, Any] = {}
    server = create_server(app, sockets, sockets=[listener], threads=THREADS)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        server.pull_trigger()  # ends the wait for requests

    signal.signal(signal.SIGTERM, stop)
    log.info("waitress serves %s", _url(listener))
    while not stopping.is_set():
        wasyncore.loop(timeout=1, map=sockets, count=1)
    wasyncore.dispatcher.close(server)  # the listening socket only
    deadline = time.monotonic() + STOP_S
    while _in_progress(server) and time.monotonic() < deadline:
        wasyncore.loop(timeout=0.1, map=sockets, count=1)
    server.task_dispatcher.shutdown(timeout=1)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _in_progress(server: Any) -> bool:
    return any(channel.requests or channel.total_outbufs_len for channel in server.active_channels.values())
