"""The server: all web logic."""

from typing import Any

from flask.typing import ResponseReturnValue
from peekaping_producer import processes
from peekaping_producer.processes import ThreadedPool

from src.meta import MessageCommand, MultiProcessWorker, logger_setup
from src.web import UrlRule

REPLY_TIMEOUT_S = 30.0
"""A worker process that needs longer is killed and replaced."""


@logger_setup
class Server(MultiProcessWorker, processes.Server):
    """Turns HTTP requests into commands for the workers, and their replies into responses."""

    _connection: ThreadedPool

    @property
    def url_rules(self) -> list[UrlRule]:
        """Each path, and the method that answers requests for it. Threads call the methods at the same time."""
        return [
            UrlRule("/greet/<name>", self.greet),
            UrlRule("/health", self.health),
        ]

    def greet(self, name: str) -> ResponseReturnValue:
        """Let a worker greet `name`."""
        text, pid = self._ask(MessageCommand("greet", [name]))
        return {"text": text, "worker": pid}

    def health(self) -> ResponseReturnValue:
        """Return the ids of the worker processes; status 503 if none is ready."""
        pids = self._connection.stats().pids
        return {"status": "healthy" if pids else "unhealthy", "workers": pids}, 200 if pids else 503

    def _ask(self, command: MessageCommand) -> list[Any]:
        """Send a command to a worker; return the arguments of its reply."""
        self._logger.info("send %s", command.to_json())
        reply = self.request(command, timeout_s=REPLY_TIMEOUT_S)
        if reply is None:
            raise LookupError(f"{command.command}: expected a reply of the worker, got none")
        self._logger.info("reply %s", reply.to_json())
        return reply.arguments
