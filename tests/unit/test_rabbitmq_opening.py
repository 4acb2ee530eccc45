"""Connecting to what is no RabbitMQ."""

import asyncio

import pytest

from peekaping_producer.errors import BrokerUnavailableError
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq.connection import open_session


async def test_a_server_that_closes_the_connection_without_a_reply_is_probably_at_another_port() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerUnavailableError, match=r"RABBITMQ_HOST and RABBITMQ_PORT, got no reply$"):
            await open_session(RabbitMqTarget(host="127.0.0.1", port=port), None, "test")
