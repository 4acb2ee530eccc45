"""Keeps one session: opened when it is needed, and again once it is lost."""

import asyncio
from collections.abc import Awaitable, Callable

from peekaping_producer.errors import BrokerError
from peekaping_producer.service.net import ssl_context
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq.connection import Session, open_session
from peekaping_producer.transports.rabbitmq.failures import translated
from peekaping_producer.transports.rabbitmq.undecodable import is_undecodable


class Connector:
    """The session of a publisher or a receiver: opened when it is needed, and again once it is lost."""

    def __init__(
        self, target: RabbitMqTarget, name: str, prepare: Callable[[Session], Awaitable[None]] | None = None
    ) -> None:
        """`name`: of the connection, in RabbitMQ's lists. `prepare`: what to do with each new session.

        Raises ConfigError for TLS files that cannot be used.
        """
        self.target = target
        self._name = name
        self._prepare = prepare
        self._tls = ssl_context(target.tls, "RABBITMQ_TLS") if target.tls else None
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._repair = False
        """Once a frame could not be decoded."""

    async def session(self) -> Session:
        """Return the open session; connect if there is none. Raises BrokerError."""
        if (session := self._session) and session.usable:
            return session
        async with self._lock:
            if self._session:
                if self._session.usable:
                    return self._session
                await self.drop(self._session)
            session = await open_session(self.target, self._tls, self._name, repair=self._repair)
            session.on_lost(self._look_at)
            try:
                with translated(self.target):
                    if self._prepare:
                        await self._prepare(session)
            except BaseException:  # also if it is canceled
                await session.end()
                raise
            self._session = session
            return session

    async def check(self, *, keep: bool = False) -> None:
        """As `session`, and require an answer on one that was open already. Raises BrokerError.

        A frozen broker is noticed so: with heartbeats of 600 s, the library needs 30 minutes. A session without an
        answer is ended, unless `keep`.
        """
        session = self._session
        if session is None or not session.usable:
            await self.session()
            return
        try:
            with translated(self.target):
                await session.ping()
        except BrokerError:
            if not keep:
                await self.drop(session)
            raise

    @property
    def blocked(self) -> bool:
        """Whether the broker blocks the open session."""
        return self._session is not None and self._session.usable and self._session.blocked

    def _look_at(self, error: BaseException | None) -> None:
        self._repair = self._repair or is_undecodable(error)

    async def drop(self, session: Session) -> None:
        """End a session that failed."""
        if self._session is session:
            self._session = None
        await session.end()

    async def close(self) -> None:
        """Close the connection; never raises."""
        session, self._session = self._session, None
        if session:
            await session.close()
