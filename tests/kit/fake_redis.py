"""A server that speaks just enough RESP to act as one that is not at hand: an old version, a cluster, a broken one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from peekaping_producer.targets import RedisTarget
from tests.kit.processes import HOST


def info(**fields: str) -> bytes:
    """A reply to INFO."""
    text = "".join(f"{name}:{value}\r\n" for name, value in fields.items())
    return f"${len(text)}\r\n{text}\r\n".encode()


def hello(version: str, mode: str = "standalone", role: str = "master") -> bytes:
    """A reply to HELLO 2."""
    words = ("server", "redis", "version", version, "mode", mode, "role", role)
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)


@asynccontextmanager
async def fake_redis(replies: Mapping[str, bytes | None]) -> AsyncIterator[RedisTarget]:
    """Answers each command by its first word with `replies`, or OK; closes the connection where the reply is None."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while reply := replies.get(await _command(reader), b"+OK\r\n"):
                writer.write(reply)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield RedisTarget(host=HOST, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()


@asynccontextmanager
async def mute_server(host: str = HOST, port: int = 0) -> AsyncIterator[tuple[int, list[int]]]:
    """Accept connections and never answer; yield the port, and a list that gets an entry for each connection."""
    taken: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(1)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, host, port)
    try:
        yield server.sockets[0].getsockname()[1], taken
    finally:
        server.close()


async def _command(reader: asyncio.StreamReader) -> str:
    """The first word of the next command, which is an array of bulk strings."""
    words = []
    for _ in range(int((await _line(reader))[1:])):
        length = int((await _line(reader))[1:])
        words.append((await reader.readexactly(length + 2))[:-2].decode())
    return words[0].upper()


async def _line(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(b"\r\n"))[:-2]
