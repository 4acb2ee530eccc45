"""Clients of a real RabbitMQ: a publisher, a receiver, and a connection for what neither of them does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio

from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq.connection import Session, open_session
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from peekaping_producer.transports.rabbitmq.receiver import RabbitMqReceiver


def numbered(*numbers: int, size: int = 0) -> list[Message]:
    """Messages with the ids `m<number>`; their bodies are the numbers, padded to `size` bytes."""
    return [Message(f"m{number}", f"{number}".ljust(size).encode(), "text/plain") for number in numbers]


@asynccontextmanager
async def publisher_on(target: RabbitMqTarget) -> AsyncIterator[RabbitMqPublisher]:
    """An open publisher."""
    publisher = RabbitMqPublisher(target)
    await publisher.open()
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def receiver_on(target: RabbitMqTarget, prefetch: int = 500) -> AsyncIterator[RabbitMqReceiver]:
    """An open receiver."""
    receiver = RabbitMqReceiver(target, prefetch=prefetch)
    await receiver.open()
    try:
        yield receiver
    finally:
        await receiver.close()


@asynccontextmanager
async def session_on(target: RabbitMqTarget) -> AsyncIterator[Session]:
    """A connection of the library."""
    session = await open_session(target, None, "test")
    try:
        yield session
    finally:
        await session.close()


async def ready(session: Session, queue: str = "messages") -> int:
    """The messages in a queue that are not with a consumer."""
    channel = await session.new_channel()
    declared = await channel.queue_declare(queue, passive=True)
    await channel.close()
    return int(declared.message_count or 0)


@pytest_asyncio.fixture
async def publisher(rabbitmq: RabbitMqTarget) -> AsyncIterator[RabbitMqPublisher]:
    """An open publisher on the virtual host of the test; the queue exists."""
    async with publisher_on(rabbitmq) as opened:
        yield opened


@pytest_asyncio.fixture
async def receiver(rabbitmq: RabbitMqTarget) -> AsyncIterator[RabbitMqReceiver]:
    """An open receiver on the virtual host of the test."""
    async with receiver_on(rabbitmq) as opened:
        yield opened


@pytest_asyncio.fixture
async def session(rabbitmq: RabbitMqTarget) -> AsyncIterator[Session]:
    """A connection of the library to the virtual host of the test."""
    async with session_on(rabbitmq) as opened:
        yield opened
