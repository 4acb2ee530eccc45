"""Finds out why a server does not answer, without sending it a secret."""

import asyncio
from contextlib import suppress

from peekaping_producer.redis_client.failures import refusal
from peekaping_producer.service.net import ssl_context
from peekaping_producer.targets import RedisTarget, Tls

_TIMEOUT_S = 1.0
_SILENCE_S = 0.3
"""How long an alert may take after a handshake: with TLS 1.3 a missing certificate is reported afterwards."""


async def diagnose(target: RedisTarget) -> str | None:
    """Return what is permanently wrong with REDIS_TLS; None if nothing is found, and with sentinels.

    The client itself may see only the end of the connection after its first command.
    """
    if target.sentinels:
        return None
    if target.tls:
        if why := await _handshake(target, target.tls):
            return why
        if await _answers_in_clear(target):
            return "REDIS_TLS: expected false, got true: the server does not use TLS"
    elif await _handshake(target, Tls(verify=False)) == "":
        return "REDIS_TLS: expected true, got false: the server uses TLS"
    return None


async def _handshake(target: RedisTarget, tls: Tls) -> str | None:
    """Return "" if it succeeds, the reason if it never will, None if that is unknown."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(target.host, target.port, ssl=ssl_context(tls, "REDIS_TLS"))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_S):
                    await reader.read(1)
        finally:
            writer.transport.abort()
    except OSError as error:
        return refusal(error)
    return ""


async def _answers_in_clear(target: RedisTarget) -> bool:
    with suppress(OSError):
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in {b"+", b"-"}
            finally:
                writer.transport.abort()
    return False
