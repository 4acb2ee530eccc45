"""Connections to RabbitMQ: how one is opened, and a session on it, which ends with its first error.

aiormq is used without aio-pika, whose robust connection does not repeat its first attempt, cannot acknowledge what it
held before, and does not notice a canceled consumer (mosquito/aio-pika#231, #312, #334).
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from aiormq.channel import Channel
from aiormq.connection import Connection, TransportFactory

from peekaping_producer.errors import BrokerUnavailableError
from peekaping_producer.service.net import ssl_context
from peekaping_producer.targets import RabbitMqTarget, Tls
from peekaping_producer.transports.rabbitmq.failures import closed_at_once, needs_tls, refused_opening
from peekaping_producer.transports.rabbitmq.undecodable import Reader, RepairingReader

CONNECT_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 10.0
"""For a declaration, and for other calls that the broker answers at once."""
_PING_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_BUFFERED_FRAMES = 256
"""Between the library's reading of a connection and of a channel: with its 10, three messages arrive at a time."""
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}
"""A dead peer is noticed in 2 minutes: with heartbeats of 600 s, the library needs 30."""

# It logs each failed attempt, and at debug each frame. The errors that it raises contain the same.
logging.getLogger("aiormq").setLevel(logging.CRITICAL + 1)


class Session:
    """An open connection with one channel. After an error on either, it is lost."""

    def __init__(self, connection: Connection, channel: Channel, transport: asyncio.Transport) -> None:
        self.channel = channel
        self._connection = connection
        self._transport = transport

    @property
    def usable(self) -> bool:
        """Whether neither the channel nor the connection has been closed."""
        return not (self.channel.is_closed or self._connection.is_closed or self._transport.is_closing())

    @property
    def blocked(self) -> bool:
        """Whether the broker has blocked this connection: memory or disk space runs low."""
        waiting = self._connection.ready()
        try:
            waiting.send(None)
        except StopIteration:
            return False
        finally:
            waiting.close()
        return True

    def on_lost(self, call: Callable[[BaseException | None], object]) -> None:
        """Call `call` with the error, or None, when the channel is closed."""
        self.channel.closing.add_done_callback(lambda done: call(None if done.cancelled() else done.exception()))

    async def new_channel(self) -> Channel:
        """Open another channel: one that a refused declaration may close."""
        channel = await self._connection.channel(timeout=CALL_TIMEOUT_S)
        assert isinstance(channel, Channel)
        return channel

    async def ping(self) -> None:
        """Wait for a reply of the broker. Raises TimeoutError, and errors of the library.

        On another channel: the library closes a channel if a call on it is canceled.
        """
        async with asyncio.timeout(_PING_TIMEOUT_S):
            channel = await self.new_channel()
            await channel.close()

    def abort(self) -> None:
        """End the connection at once: without a goodbye, which a broker that blocks does not answer."""
        self._transport.abort()

    async def end(self) -> None:
        """End the connection at once, and let the library close it with the error that it met; never raises."""
        self.abort()
        await asyncio.wait({self.channel.closing}, timeout=_CLOSE_TIMEOUT_S)
        with suppress(Exception):  # the connection has ended, or is about to
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._connection.close()

    async def close(self) -> None:
        """Close the connection; never raises."""
        with suppress(Exception):  # the connection has ended, or is about to
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._connection.close()
        await self.end()


async def open_session(
    target: RabbitMqTarget, tls: ssl.SSLContext | None, name: str, *, repair: bool = False
) -> Session:
    """Connect and log in once. `repair`: make undecodable frames decodable. Raises BrokerError."""
    transports = _Transports(target, tls, repair)
    user, password = quote(target.user, safe=""), quote(target.password, safe="")
    options = f"heartbeat={round(target.heartbeat_s)}&name={quote(name)}"
    connection = Connection(f"amqp://{user}:{password}@broker?{options}", transport_factory=transports)
    connection.vhost = target.vhost  # as it is: the library decodes that of a URL only in part
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await connection.connect()
            channel = await connection.channel(frame_buffer_size=_BUFFERED_FRAMES)
    except BaseException as error:  # also if it is canceled; translated below
        transports.abort()
        with suppress(Exception):  # what was raised before counts
            await connection.close()
        if isinstance(error, TimeoutError):
            message = f"RabbitMQ at {target}: not connected within {CONNECT_TIMEOUT_S:g} s"
            raise BrokerUnavailableError(message) from error
        if not isinstance(error, Exception):
            raise
        reader = transports.reader
        if reader and not reader.first and not tls and await _speaks_tls(target):
            raise needs_tls(target) from error
        if reader and not reader.first and not tls:
            raise closed_at_once(error, target) from error
        first, last = (reader.first, reader.last) if reader else (b"", b"")
        raise refused_opening(error, first, last, target) from error
    assert isinstance(channel, Channel)
    assert transports.transport is not None
    return Session(connection, channel, transports.transport)


async def _speaks_tls(target: RabbitMqTarget) -> bool:
    """Whether the server that closed a plain connection without an answer accepts TLS."""
    context = ssl_context(Tls(verify=False), "RABBITMQ_TLS")
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    except OSError:
        return False
    writer.transport.abort()
    return True


class _Transports(TransportFactory):
    """Makes the library's TCP or TLS connection, and keeps hold of it."""

    def __init__(self, target: RabbitMqTarget, tls: ssl.SSLContext | None, repair: bool) -> None:
        self._repair = repair
        self.transport: asyncio.Transport | None = None
        self.reader: Reader | None = None
        self._target = target
        self._tls = tls

    def abort(self) -> None:
        """End the connection, if there is one."""
        if self.transport:
            self.transport.abort()

    async def create(self, url: object, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address of the host that answers. Raises OSError."""
        loop = asyncio.get_running_loop()
        reader = (RepairingReader if self._repair else Reader)(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, self._target.host, self._target.port, ssl=self._tls, happy_eyeballs_delay=0.25
        )
        self.transport, self.reader = transport, reader
        _keep_alive(transport.get_extra_info("socket"))
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if option := getattr(socket, name, None):  # macOS has others
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
