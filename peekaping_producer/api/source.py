"""The source that gets its messages from the HTTP API."""

import asyncio
import errno
import socket
from collections.abc import Sequence

import structlog
from aiohttp import web

from peekaping_producer.api.app import Api
from peekaping_producer.errors import ConfigError
from peekaping_producer.service.loop import Loop
from peekaping_producer.web.listening import listen, refusal

log = structlog.stdlib.get_logger()


class ApiSource:
    """Serves the API on a port."""

    loops: Sequence[Loop] = ()

    def __init__(self, api: Api, host: str, port: int, *, grace_s: float = 1.0) -> None:
        """Bind `host`:`port`; "::" means all interfaces. `grace_s`: how long requests may take after a stop.

        Raises ConfigError if the port cannot be bound.
        """
        self._api = api
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        try:
            self._socket: socket.socket = listen(host, port)
        except OSError as error:
            got = refusal(host, port, error)
            if error.errno == errno.EADDRINUSE:
                raise ConfigError([f"PORT: expected a free host:port, got {got}; set another PORT"]) from None
            raise ConfigError([f"API_HOST, PORT: expected an address of this host and a port, got {got}"]) from None
        self.port: int = self._socket.getsockname()[1]

    async def run(self) -> None:
        """See Source. After `stop` no connection is accepted, and the requests that wait are answered."""
        runner = self._api.runner(self._grace_s)
        await runner.setup()
        try:
            await web.SockSite(runner, self._socket).start()
            host = self._socket.getsockname()[0]
            log.info("api.listening", message="Accepting messages over HTTP.", host=host, port=self.port)
            await self._stopping.wait()
        finally:
            await runner.cleanup()
            self._socket.close()

    def stop(self) -> None:
        """See Source."""
        self._api.stopping = True
        self._stopping.set()
