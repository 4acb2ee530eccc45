"""The permissions of the Redis user, checked at start, so that a refusal is reported before anything depends on it."""

from collections.abc import Sequence
from typing import NamedTuple

from redis import exceptions as driver
from redis.asyncio import Redis

from peekaping_producer.redis_client.connection import RedisConnection
from peekaping_producer.redis_client.failures import in_words, not_allowed, translated


class TriedRights(NamedTuple):
    """The result of trying rights."""

    refused: list[str]
    """The uses of commands, and the channels, that the server refuses to the user, each with the reason."""
    is_complete: bool
    """False if transactions are refused: then only the channels were tried."""


async def forbidden(redis: Redis, uses: Sequence[str], channels: Sequence[str]) -> list[str]:
    """Return what the server refuses of the rights that could be tried; see try_rights."""
    return (await try_rights(redis, uses, channels)).refused


@translated
async def try_rights(redis: Redis, uses: Sequence[str], channels: Sequence[str]) -> TriedRights:
    """Try these `uses` of commands, and subscriptions to the channels.

    Nothing is written: a command in a transaction is checked when it is queued, and this transaction is never executed.
    Raises RedisError for all other errors.
    """
    connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        refused = []
        begins = await _transaction_begins(connection)
        if begins:
            refused = await _refusals(connection, [use.split() for use in uses])
            await connection.disconnect(nowait=True)
        refused += await _refusals(connection, [["SUBSCRIBE", channel] for channel in channels])
        return TriedRights(refused, begins)
    finally:
        await connection.disconnect(nowait=True)
        await redis.connection_pool.release(connection)


async def _transaction_begins(connection: RedisConnection) -> bool:
    """Whether MULTI is allowed and begins a transaction: a proxy might execute the commands."""
    if await _refusals(connection, [["MULTI"]]):
        return False
    try:
        return bool(await connection.ask("PING") == b"QUEUED")
    except driver.ResponseError as error:
        return not_allowed(error)


async def _refusals(connection: RedisConnection, commands: list[list[str]]) -> list[str]:
    """Send all at once; return those that the server does not allow, each with the reason."""
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    refused = []
    for words in commands:
        try:
            await connection.read_response()
        except driver.ResponseError as error:
            if not_allowed(error):
                refused.append(f"{' '.join(words[:2])} ({in_words(error)})")
    return refused
